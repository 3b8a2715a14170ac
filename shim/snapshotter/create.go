package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/shim/rootfs"
)

// Prepare makes a snapshot to unpack a layer into, or a container's.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindActive, key, parent, opts)
}

// View makes a snapshot to look at: the same as a container's.
func (s *Snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindView, key, parent, opts)
}

// Mounts returns what Prepare or View returned.
func (s *Snapshotter) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	var snap storage.Snapshot
	var info snapshots.Info
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) (err error) {
		if snap, err = storage.GetSnapshot(ctx, key); err != nil {
			return err
		}
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.mounts(snap.ID, info), nil
}

// unpackType is the type of mount of a snapshot that a layer is unpacked into. No kernel knows it: only our differ can do it, another one fails before
// it has written anything, and containerd's message has the type and the option in it.
const (
	unpackType   = "cloister-layer"
	unpackOption = "unpack-with=the-diff-plugin-of-cloister-snapshotter"
)

func (s *Snapshotter) mounts(id string, info snapshots.Info) []mount.Mount {
	view := filepath.Join(s.path(id), rootfs.ViewDir)
	if unpacks(info) {
		return []mount.Mount{{Type: unpackType, Source: view, Options: []string{unpackOption}}}
	}
	return []mount.Mount{{Type: "bind", Source: view, Options: []string{"ro", "rbind"}}}
}

// unpacks tells a snapshot that containerd made to unpack a layer into: by a label, or, where its client unpacks, by the key alone, before which
// containerd's metadata puts namespace and number. A read-only mount would tell containerd that there is nothing to unpack.
func unpacks(info snapshots.Info) bool {
	key := info.Name[strings.LastIndexByte(info.Name, '/')+1:]
	return info.Kind == snapshots.KindActive && (info.Labels[snapshots.LabelSnapshotRef] != "" || strings.HasPrefix(key, snapshots.UnpackKeyPrefix+"-"))
}

// create makes a snapshot. A layer below it whose disk is of an earlier version, or damaged, is made again first.
func (s *Snapshotter) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) ([]mount.Mount, error) {
	for tries := 0; ; tries++ {
		mounts, err := s.record(ctx, kind, key, parent, opts)
		var missing *missingError
		if !errors.As(err, &missing) || tries == rootfs.MaxLayers {
			return mounts, err
		}
		format := missing.format
		if format == "" {
			format = s.config.Format
		}
		s.config.Log.Warn("a layer's disk is made again", zap.String("layer", missing.diffID))
		if _, again := s.Disk(ctx, missing.diffID, format); again != nil {
			return nil, fmt.Errorf("%w: %w", err, again)
		}
	}
}

// record records a snapshot and makes its directory, which gets its name before the record is final: a record without a directory is never seen, and
// a directory without a record is removed by Cleanup.
func (s *Snapshotter) record(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) (_ []mount.Mount, err error) {
	tmp, err := os.MkdirTemp(s.dir, "new-")
	if err != nil {
		return nil, fmt.Errorf("create snapshot %q: %w", key, err)
	}
	defer os.RemoveAll(tmp) // nothing is left of it once it was renamed
	var snap storage.Snapshot
	var info snapshots.Info
	dir := ""
	err = s.meta.WithTransaction(ctx, true, func(ctx context.Context) (err error) {
		if snap, err = storage.CreateSnapshot(ctx, kind, key, parent, opts...); err != nil {
			return err
		}
		if _, info, _, err = storage.GetInfo(ctx, key); err != nil {
			return err
		}
		if err := s.fill(tmp, snap.ParentIDs); err != nil {
			return fmt.Errorf("create snapshot %q: %w", key, err)
		}
		dir = s.path(snap.ID)
		return os.Rename(tmp, dir)
	})
	if err != nil {
		if dir != "" {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return nil, err
	}
	return s.mounts(snap.ID, info), nil
}

// fill makes a container's directory: the list of its layers, and what the host may see of them. parents are ids from the top down.
func (s *Snapshotter) fill(dir string, parents []string) error {
	r := rootfs.Rootfs{Layers: []rootfs.Layer{}}
	view := newView()
	for _, id := range parents {
		diffID, err := s.reference(id)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("parent snapshot %s has no layer disk: %w", id, errdefs.ErrFailedPrecondition)
		}
		if err != nil {
			return err
		}
		l, err := s.layers.describe(diffID)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: remove the image and pull it again", err)
		}
		if err != nil {
			return err
		}
		r.Layers = append([]rootfs.Layer{l}, r.Layers...)
		if err := view.add(s.layers, diffID); err != nil {
			return err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, rootfs.Manifest), text, 0o600); err != nil {
		return err
	}
	return view.write(filepath.Join(dir, rootfs.ViewDir))
}
