package layer

import (
	"bufio"
	"bytes"
	"errors"
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

// compression tells gzip, zstd and plain tar apart by the first bytes: media types are the registry's word. A file name at the
// start of a tar cannot pass for either by accident, and the diff id would not match.
func compression(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		return "gzip"
	case bytes.HasPrefix(magic, zstdMagic):
		return "zstd"
	}
	return ""
}

// decompress returns the uncompressed stream and what counts the compressed bytes, which is nil when they are not.
func decompress(r io.Reader) (io.Reader, *counter, func(), error) {
	taken := &counter{r: r}
	in := bufio.NewReaderSize(taken, readAhead)
	magic, err := in.Peek(len(zstdMagic))
	if err != nil && len(magic) == 0 {
		if err == io.EOF {
			err = errors.New("it is empty")
		}
		return nil, nil, nil, fmt.Errorf("read layer: %w", err)
	}
	switch compression(magic) {
	case "gzip":
		gz, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("read layer: gzip: %w", err)
		}
		return gz, taken, func() { gz.Close() }, nil
	case "zstd":
		zs, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, nil, fmt.Errorf("read layer: zstd: %w", err)
		}
		return zs, taken, zs.Close, nil
	}
	return in, nil, func() {}, nil
}
