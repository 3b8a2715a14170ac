package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow bounds what a zstd frame may make us allocate; 128 MiB is the largest window that the zstd tool writes.
	maxWindow = 128 << 20
	readAhead = 1 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress tells gzip, zstd and plain tar apart by the first bytes: media types are the registry's word. A file name at the
// start of a tar cannot pass for either by accident, and the diff id would not match.
func decompress(r io.Reader) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(r, readAhead)
	magic, err := in.Peek(len(zstdMagic))
	if err != nil && len(magic) == 0 {
		if err == io.EOF {
			return nil, nil, fmt.Errorf("read layer: it is empty")
		}
		return nil, nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		gz, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("read layer: gzip: %w", err)
		}
		return gz, func() { gz.Close() }, nil
	case bytes.HasPrefix(magic, zstdMagic):
		zs, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("read layer: zstd: %w", err)
		}
		return zs, zs.Close, nil
	}
	return in, func() {}, nil
}
