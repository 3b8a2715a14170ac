package layer

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Root returns the root hash of one layer, in the format of opts, without keeping its disk. The tar may be plain or compressed
// with gzip or zstd. The disk is made in a file of the temporary directory that has no name any more, so that nothing is left
// behind however the process ends.
func Root(ctx context.Context, tar io.Reader, opts Options) (Result, error) {
	f, err := unlinked("")
	if err != nil {
		return Result{}, fmt.Errorf("layer root: %w", err)
	}
	defer f.Close()
	return Convert(ctx, tar, f, opts)
}

// unlinked makes a file without a name in dir ("" is the temporary directory).
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
