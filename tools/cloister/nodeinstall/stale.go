package nodeinstall

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// State is what became of an installation's drop-in.
type State string

// The states of a drop-in.
const (
	NotInstalled State = "not installed" // by this program
	Missing      State = "missing"       // nobody reads it, or it is gone
	Stale        State = "stale"         // another installation would write another one: the user's configuration of a plugin changed, or this program did
	Current      State = "current"
)

// DropIn says how the drop-in of the node's last installation stands to containerd's configuration as it is now, and to the containerd that runs now (version;
// "" is not known).
func DropIn(root, version string) (State, error) {
	r, err := readRecord(root)
	if err != nil || r == nil {
		return NotInstalled, err
	}
	o := Options{
		Root: root, Containerd: r.Options.Containerd, Version: r.Options.Version, Prefix: r.Options.Prefix, Handler: r.Options.Handler,
		Sandboxer: r.Options.Sandboxer, Socket: r.Options.Socket, LayersRoot: r.Options.LayersRoot,
	}
	if version != "" {
		o.Version = version
	}
	t, err := load(o)
	if err != nil {
		return "", err
	}
	have, err := os.ReadFile(filepath.Join(root, t.dropIn))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !t.imported {
		return Missing, nil
	}
	if err != nil {
		return "", err
	}
	want, err := t.render(o)
	switch {
	case err != nil:
		return "", err
	case !bytes.Equal(have, want.text):
		return Stale, nil
	}
	return Current, nil
}
