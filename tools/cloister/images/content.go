package images

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd frame may make us allocate, as where roots are made.
const maxWindow = 128 << 20

// Content opens the layers of an image that Image found, base first, for who has to look into them: /etc/passwd says who a
// container runs as. The image is looked for once more, since a lock file has no content, and has to be the same. The readers
// give the uncompressed bytes, which nobody has compared with the diff ids yet: who reads them has to. An image whose lock
// entry has no diff ids is refused. With Options.Locked it is ErrLocked.
func (r *Resolver) Content(ctx context.Context, img *Image) ([]func() (io.ReadCloser, error), error) {
	if r.opts.Locked {
		return nil, fmt.Errorf("image %s: its content: %w", quote(img.Reference), ErrLocked)
	}
	ref, err := parseReference(img.Reference)
	if err != nil {
		return nil, err
	}
	c, err := r.search(ctx, ref)
	if err != nil {
		return nil, err
	}
	var want []string
	for _, l := range img.Layers {
		want = append(want, l.DiffID)
	}
	if !slices.Equal(c.diffIDs(), want) {
		return nil, fmt.Errorf("image %s: %s has other layers than were found before: %w", quote(img.Reference), c.place, errContent)
	}
	var out []func() (io.ReadCloser, error)
	for _, l := range c.layers {
		out = append(out, func() (io.ReadCloser, error) {
			stored, err := l.open(ctx)
			if err != nil {
				return nil, err
			}
			return uncompressed(newChecked(ctx, stored, l.blob), stored)
		})
	}
	return out, nil
}

// unpacked is a stream with what has to be closed behind it.
type unpacked struct {
	io.Reader
	close func() error
}

func (u *unpacked) Close() error { return u.close() }

// uncompressed tells the compression by the first bytes: media types are the registry's word.
func uncompressed(in io.Reader, stored io.Closer) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 1<<20)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, stored.Close())
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, errors.Join(err, stored.Close())
		}
		return &unpacked{z, func() error { return errors.Join(z.Close(), stored.Close()) }}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(err, stored.Close())
		}
		return &unpacked{z, func() error {
			z.Close()
			return stored.Close()
		}}, nil
	}
	return &unpacked{buffered, stored.Close}, nil
}
