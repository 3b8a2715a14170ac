package verity

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity/dm"
)

// blockNumber returns the number of an open block device.
func blockNumber(f *os.File) (dm.Number, error) {
	info, err := f.Stat()
	if err != nil {
		return dm.Number{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return dm.Number{}, fmt.Errorf("open %q: not a block device: %w", f.Name(), ErrChanged)
	}
	return dm.Number{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, nil
}
