package images

import (
	"context"
	"errors"
)

// Resolver finds images by its options. It may be used by several goroutines; an image is looked for once.
type Resolver struct {
	opts Options
}

var _ Source = (*Resolver)(nil)

// Open reads the lock file and opens the layouts and archives. No network is touched before the first image.
func Open(ctx context.Context, opts Options) (*Resolver, error) {
	return &Resolver{opts: opts}, nil
}

// Image finds one image.
func (r *Resolver) Image(ctx context.Context, reference string) (*Image, error) {
	return nil, errors.New("image sources: not built yet")
}

// All finds images together, layers of different images side by side.
func (r *Resolver) All(ctx context.Context, references []string) ([]*Image, error) {
	return nil, errors.New("image sources: not built yet")
}

// WriteLock writes the lock file: the entries that were read and those of the images found since.
func (r *Resolver) WriteLock(path string) error {
	return errors.New("image sources: not built yet")
}

// Close gives archives and connections back.
func (r *Resolver) Close() error { return nil }
