package snapshotter

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"

	"github.com/cloister-cc/cloister/verity/layer"
)

// convert makes a layer's directory of its blob, to be added to the store. want is the diff id it must have, or "".
func (s *Snapshotter) convert(ctx context.Context, in content.ReaderAt, from blob, how form, want string) (_ *draft, err error) {
	if err := s.turns.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.turns.Release(1)
	d, err := s.layers.newDraft()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.discard()
		}
	}()
	stream := content.NewReader(in)
	if how.native {
		err = s.takeNative(ctx, d, stream, how.compressed, want)
	} else {
		err = s.makeDisk(ctx, d, stream, s.config.Format, want)
	}
	if err != nil {
		return nil, err
	}
	d.facts.remember(from)
	return d, d.finish()
}

// makeDisk converts a tar.
func (s *Snapshotter) makeDisk(ctx context.Context, d *draft, stream io.Reader, format layer.Format, want string) error {
	name := fileOf(format, false)
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	res, err := layer.Convert(ctx, stream, f, layer.Options{
		Format: format, DiffID: want, Limits: s.config.Limits, TempDir: s.layers.work, Visit: d.facts.Accounts.visit,
	})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d.facts.DiffID = res.DiffID
	d.facts.Disks[string(format)] = disk{File: name, Root: res.RootHash.String(), Size: res.Size}
	return nil
}

// errUnsuitable wraps what a layer's bytes are refused for.
func errUnsuitable(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}
