package layer

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// spool is a file without a name that is written in order and read anywhere; blocks of zeros are left out of it.
type spool struct {
	f   *os.File
	end int64
}

const spoolBlock = 4096

func newSpool(dir string) (*spool, error) {
	f, err := unlinked(dir)
	if err != nil {
		return nil, err
	}
	return &spool{f: f}, nil
}

// unlinked makes a file without a name in dir ("" is the temporary directory): nothing is left behind, however the process ends.
func unlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "cloister-layer-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *spool) Write(p []byte) (int, error) {
	if !zeros(p) {
		if n, err := s.f.WriteAt(p, s.end); err != nil {
			s.end += int64(n)
			return n, err
		}
	}
	s.end += int64(len(p))
	return len(p), nil
}

// copy appends size bytes of r and returns where they start.
func (s *spool) copy(r io.Reader, size int64) (int64, error) {
	start := s.end
	buf := make([]byte, 256<<10)
	for left := size; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		for p := buf[:n]; len(p) > 0; {
			some := min(len(p), spoolBlock)
			if _, err := s.Write(p[:some]); err != nil {
				return 0, err
			}
			p = p[some:]
		}
		if left -= int64(n); err != nil {
			return 0, fmt.Errorf("read content: %w", err)
		}
	}
	return start, nil
}

// ReadAt reads what was written; a hole at the end of the file, which the file does not know of, is zeros.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.end {
		return 0, io.EOF
	}
	want := int(min(int64(len(p)), s.end-off))
	n, err := s.f.ReadAt(p[:want], off)
	if err == io.EOF {
		clear(p[n:want])
		n, err = want, nil
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (s *spool) Close() error { return s.f.Close() }

var zeroPage [spoolBlock]byte

// zeros tells whether p is all zeros.
func zeros(p []byte) bool {
	for len(p) > len(zeroPage) {
		if !bytes.Equal(p[:len(zeroPage)], zeroPage[:]) {
			return false
		}
		p = p[len(zeroPage):]
	}
	return bytes.Equal(p, zeroPage[:len(p)])
}
