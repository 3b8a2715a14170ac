package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity/layer"
)

var (
	_ diff.Applier  = (*Snapshotter)(nil)
	_ diff.Comparer = (*Snapshotter)(nil)
)

// Apply unpacks a layer into a snapshot: its disk is made, or found, and the snapshot made to stand for it. What it returns has the layer's diff id as
// its digest, which containerd compares with the image's; the size, which nobody needs, is not given. Snapshots that are not ours are left to the next differ.
func (s *Snapshotter) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	id, ok := s.unpacked(mounts)
	if !ok {
		return ocispec.Descriptor{}, fmt.Errorf("the snapshot is not cloister-snapshotter's: %w", errdefs.ErrNotImplemented)
	}
	out, err := s.apply(ctx, desc, id)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
	return out, err
}

// Compare is refused: what a container writes never leaves its VM. Snapshots that are not ours are left to the next differ.
func (s *Snapshotter) Compare(_ context.Context, lower, upper []mount.Mount, _ ...diff.Opt) (ocispec.Descriptor, error) {
	for _, mounts := range [][]mount.Mount{lower, upper} {
		if len(mounts) == 1 && filepath.Dir(filepath.Dir(mounts[0].Source)) == s.dir {
			return ocispec.Descriptor{}, fmt.Errorf("compare snapshots: a container of this snapshotter writes in its VM, and the host has nothing of it: %w",
				errdefs.ErrFailedPrecondition)
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("cloister-snapshotter compares no snapshots: %w", errdefs.ErrNotImplemented)
}

// unpacked returns the id of the snapshot that mounts are to unpack into.
func (s *Snapshotter) unpacked(mounts []mount.Mount) (string, bool) {
	if len(mounts) != 1 || mounts[0].Type != unpackType {
		return "", false
	}
	dir, view := filepath.Split(mounts[0].Source)
	dir = filepath.Clean(dir)
	return filepath.Base(dir), view == rootfs.ViewDir && filepath.Dir(dir) == s.dir
}

func (s *Snapshotter) apply(ctx context.Context, desc ocispec.Descriptor, id string) (ocispec.Descriptor, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ctx = namespaces.WithNamespace(ctx, ns) // for calls that go out: it came with the request
	how, err := formOf(ctx, desc.MediaType)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	want, err := s.wanted(ctx, id)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := desc.Digest.Validate(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %.100q: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	// The namespace has to have the blob, also where its layer is here already.
	in, err := s.config.Content.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	defer in.Close()
	from := blob{Namespace: ns, MediaType: desc.MediaType, Digest: desc.Digest, Size: in.Size()}
	known, unpin, err := s.obtain(ctx, in, from, how, want)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	defer unpin()
	if want != "" && known.DiffID != want {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: diff id: got %s, want %s: %w", desc.Digest, known.DiffID, want, errdefs.ErrInvalidArgument)
	}
	if err := s.refer(id, known.DiffID); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.Digest(known.DiffID)}, nil
}

// wanted returns the diff id that containerd expects of a snapshot's layer, or "" from an older one, which compares only afterwards.
func (s *Snapshotter) wanted(ctx context.Context, id string) (string, error) {
	var info snapshots.Info
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		ids, err := storage.IDMap(ctx)
		if err != nil {
			return err
		}
		key, ok := ids[id]
		if !ok {
			return fmt.Errorf("snapshot %q: %w", id, errdefs.ErrNotFound)
		}
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	if err != nil {
		return "", err
	}
	if !unpacks(info) {
		return "", fmt.Errorf("snapshot %q is not one to unpack a layer into: %w", info.Name, errdefs.ErrFailedPrecondition)
	}
	want := info.Labels[snapshots.LabelSnapshotDiffID]
	if want != "" {
		if err := rootfs.CheckDiffID(want); err != nil {
			return "", fmt.Errorf("label %s: %w: %w", snapshots.LabelSnapshotDiffID, err, errdefs.ErrInvalidArgument)
		}
	}
	return want, nil
}

// obtain finds the layer of a blob, or makes it, and returns it pinned.
func (s *Snapshotter) obtain(ctx context.Context, in content.ReaderAt, from blob, how form, want string) (*facts, func(), error) {
	unlock, err := s.busy.lock(ctx, from.Digest.String())
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if known, unpin := s.find(from); known != nil {
		s.numbers.reused.Inc()
		return known, unpin, nil
	}
	started := time.Now()
	d, err := s.convert(ctx, in, from, how, want)
	s.numbers.converted(s.formatOf(how), started, err)
	if err != nil {
		return nil, nil, err
	}
	defer d.discard()
	unpin := s.layers.pin(d.facts.DiffID)
	if err := s.layers.add(d); err != nil {
		unpin()
		return nil, nil, err
	}
	for format, made := range d.facts.Disks {
		s.config.Log.Info("layer converted", zap.String("layer", d.facts.DiffID), zap.String("blob", from.Digest.String()), zap.String("format", format),
			zap.String("root_hash", made.Root), zap.Int64("size", made.Size), zap.Duration("duration", time.Since(started)))
	}
	return &d.facts, unpin, nil
}

// formatOf is what a layer becomes when it is unpacked.
func (s *Snapshotter) formatOf(how form) layer.Format {
	if how.native {
		return layer.EROFS
	}
	return s.config.Format
}

// find returns the layer of a blob that was converted before, pinned; nil if there is none, or it lacks the format that new ones get.
func (s *Snapshotter) find(from blob) (*facts, func()) {
	diffID := s.layers.diffIDOf(from.Digest)
	if diffID == "" {
		return nil, nil
	}
	unpin := s.layers.pin(diffID)
	known, err := s.layers.get(diffID)
	if err == nil {
		if _, ok := known.Disks[string(s.formatOf(form{native: known.Native}))]; !ok {
			err = fs.ErrNotExist
		} else {
			err = s.layers.seen(diffID, from)
		}
	}
	if err != nil {
		unpin()
		return nil, nil
	}
	return known, unpin
}
