package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity/layer"
)

// Disk returns a layer's disk in one format. One that is missing is made once, of the layer's blob, if a namespace that unpacked it still has that; this
// goes on when the context ends before it is done, for the next who asks.
func (s *Snapshotter) Disk(ctx context.Context, diffID string, format layer.Format) (rootfs.Disk, error) {
	if err := rootfs.CheckDiffID(diffID); err != nil {
		return rootfs.Disk{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if _, err := layer.ParseFormat(string(format)); err != nil || format == "" {
		return rootfs.Disk{}, fmt.Errorf("layer format %.40q: want ext4 or erofs: %w", format, errdefs.ErrInvalidArgument)
	}
	made, err := s.making.do(ctx, diffID+" "+string(format), func(ctx context.Context) (disk, error) { return s.diskOf(ctx, diffID, format) })
	if err != nil {
		return rootfs.Disk{}, fmt.Errorf("layer %s as %s: %w", diffID, format, err)
	}
	return rootfs.Disk{Path: filepath.Join(s.layers.path(diffID), made.File), Root: made.Root, Format: string(format)}, nil
}

func (s *Snapshotter) diskOf(ctx context.Context, diffID string, format layer.Format) (disk, error) {
	unpin := s.layers.pin(diffID)
	defer unpin()
	known, err := s.layers.get(diffID)
	if errors.Is(err, fs.ErrNotExist) {
		return disk{}, fmt.Errorf("no image on this node has it: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return disk{}, err
	}
	if made, ok := known.Disks[string(format)]; ok {
		return made, nil
	}
	if known.Native && format != layer.EROFS {
		return disk{}, fmt.Errorf("it is an EROFS image itself and has no other format: %w", errdefs.ErrFailedPrecondition)
	}
	return s.makeOther(ctx, known, format)
}

// makeOther makes a disk of a layer that has one in another format, or had it.
func (s *Snapshotter) makeOther(ctx context.Context, known *facts, format layer.Format) (_ disk, err error) {
	started := time.Now()
	defer func() { s.numbers.converted(format, started, err) }()
	in, from, ctx, err := s.reopen(ctx, known)
	if err != nil {
		return disk{}, err
	}
	defer in.Close()
	if err := s.turns.Acquire(ctx, 1); err != nil {
		return disk{}, err
	}
	defer s.turns.Release(1)
	d, err := s.layers.newDraft()
	if err != nil {
		return disk{}, err
	}
	defer d.discard()
	if known.Native {
		var how form
		if how, err = formOf(ctx, from.MediaType); err == nil {
			err = s.takeNative(ctx, d, content.NewReader(in), how.compressed, known.DiffID)
		}
	} else {
		err = s.makeDisk(ctx, d, content.NewReader(in), format, known.DiffID)
	}
	if err != nil {
		return disk{}, err
	}
	if err := d.finish(); err != nil {
		return disk{}, err
	}
	if err := s.layers.add(d); err != nil {
		return disk{}, err
	}
	made := d.facts.Disks[string(format)]
	s.config.Log.Info("layer converted once more", zap.String("layer", known.DiffID), zap.String("format", string(format)),
		zap.String("root_hash", made.Root), zap.Int64("size", made.Size), zap.Duration("duration", time.Since(started)))
	return made, nil
}

// reopen finds a blob that the layer can be made of, the newest first, and the context to read it with.
func (s *Snapshotter) reopen(ctx context.Context, known *facts) (content.ReaderAt, blob, context.Context, error) {
	var errs []error
	for i := len(known.Blobs) - 1; i >= 0; i-- {
		b := known.Blobs[i]
		ctx := namespaces.WithNamespace(ctx, b.Namespace)
		in, err := s.config.Content.ReaderAt(ctx, ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size})
		if err == nil {
			return in, b, ctx, nil
		}
		errs = append(errs, fmt.Errorf("blob %s in namespace %q: %w", b.Digest, b.Namespace, err))
	}
	return nil, blob{}, nil, fmt.Errorf("its blob is no longer in containerd's content store (discard_unpacked_layers must be false): %w: pull the image again: %w",
		errors.Join(errs...), errdefs.ErrNotFound)
}
