package verity

import (
	"io"
	"os"
)

// readSize is how much is read at a time: little enough to be in a near cache still when it is hashed.
const readSize = 64 << 10

// source is the data that a tree is built over.
type source struct {
	data io.ReaderAt
	size int64
	// sparse, if set, is a second description of the same regular file, for finding its holes: doing that moves the offset.
	sparse *os.File
}

func newSource(data io.ReaderAt, size int64) *source {
	s := &source{data: data, size: size}
	if f, ok := data.(*os.File); ok {
		s.sparse = reopenRegular(f, size)
	}
	return s
}

func (s *source) close() {
	if s.sparse != nil {
		s.sparse.Close() // only read
	}
}

// hole says that there is nothing but zeros from off to end.
func (s *source) hole(off, end int64) bool {
	return s.sparse != nil && nextData(s.sparse, off, s.size) >= end
}

func (s *source) scratch() []byte { return make([]byte, readSize) }

// read returns whole blocks from off on, at most up to end.
func (s *source) read(scratch []byte, off, end int64) ([]byte, error) {
	data := scratch[:min(int64(len(scratch)), end-off)]
	return data, readBlock(s.data, data, off, s.size)
}
