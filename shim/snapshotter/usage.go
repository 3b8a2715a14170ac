package snapshotter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// sectorSize is the unit of st_blocks, in bytes.
const sectorSize = 512

// usageOf counts what lies below a directory. What goes away meanwhile does not count.
func usageOf(dir string) (snapshots.Usage, error) {
	var u snapshots.Usage
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		u.Inodes++
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			u.Size += st.Blocks * sectorSize
		}
		return nil
	})
	return u, err
}
