package nodeinstall

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Stale says whether another install would write another drop-in: the user's configuration of a plugin changed, or this program did. Missing says that there is no
// drop-in at all.
func Stale(o Options) (stale, missing bool, err error) {
	t, err := load(o)
	if err != nil {
		return false, false, err
	}
	have, err := os.ReadFile(filepath.Join(o.Root, t.dropIn))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !t.imported {
		return false, true, nil
	}
	if err != nil {
		return false, false, err
	}
	want, err := t.render(o)
	if err != nil {
		return false, false, err
	}
	return !bytes.Equal(have, want.text), false, nil
}
