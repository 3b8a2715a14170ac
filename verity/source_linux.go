package verity

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// reopenRegular opens a regular file of at least size bytes once more; nil where it is anything else or cannot be opened.
func reopenRegular(f *os.File, size int64) *os.File {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() < size {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	var again *os.File
	if err := conn.Control(func(fd uintptr) {
		again, _ = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // without it holes are read
	}); err != nil {
		return nil
	}
	return again
}

// nextData returns where the next data is, from off on, in a file that must still have size bytes; off itself when the file
// system cannot say.
func nextData(f *os.File, off, size int64) int64 {
	at, err := f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // none up to the end of the file
		if end, err := f.Seek(0, io.SeekEnd); err != nil || end < size {
			return off
		}
		return size
	}
	if err != nil {
		return off
	}
	return at
}
