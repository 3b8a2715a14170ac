package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
)

// errOtherDiffer is for whoever configured containerd.
var errOtherDiffer = fmt.Errorf("no layer was unpacked into it by cloister-snapshotter: put its diff plugin first in containerd's configuration "+
	"(default = [\"cloister-diff\", \"walking\"] in [plugins.\"io.containerd.service.v1.diff-service\"]); what a container wrote cannot be made an image, it is in its VM: %w",
	errdefs.ErrFailedPrecondition)

// Commit makes a snapshot that our differ unpacked a layer into a layer of an image. With containerd's parallel unpacking its parent is known only now.
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return s.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		id, info, _, err := storage.GetInfo(ctx, key)
		if err != nil {
			return err
		}
		if info.Kind != snapshots.KindActive {
			return fmt.Errorf("commit snapshot %q: it is not active: %w", key, errdefs.ErrFailedPrecondition)
		}
		diffID, err := s.reference(id)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("commit snapshot %q: %w", key, errOtherDiffer)
		}
		if err != nil {
			return fmt.Errorf("commit snapshot %q: %w", key, err)
		}
		usage, err := usageOf(s.layers.path(diffID))
		if err != nil {
			return fmt.Errorf("commit snapshot %q: %w", key, err)
		}
		_, err = storage.CommitActive(ctx, key, name, usage, opts...)
		return err
	})
}

// Remove takes a snapshot's record away. What it had on the disk goes with the next Cleanup, which containerd asks for when it has removed all it wants.
func (s *Snapshotter) Remove(ctx context.Context, key string) error {
	return s.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, _, err := storage.Remove(ctx, key)
		if err != nil {
			return fmt.Errorf("remove snapshot %q: %w", key, err)
		}
		return nil
	})
}

// Cleanup removes what no snapshot refers to any more: directories of snapshots, and layers.
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	// Within a writable transaction no snapshot is created or committed.
	err := s.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		ids, err := storage.IDMap(ctx)
		if err != nil && !errdefs.IsNotFound(err) { // there was never a snapshot
			return err
		}
		if err := s.removeOrphans(ids); err != nil {
			return err
		}
		return s.layers.sweep(func() (map[string]bool, error) { return s.referred(ids) })
	})
	if err != nil {
		return fmt.Errorf("clean up snapshots: %w", err)
	}
	return s.layers.empty()
}

// removeOrphans moves directories out of the way that no snapshot has. One that is being made has another form of name.
func (s *Snapshotter) removeOrphans(ids map[string]string) error {
	names, err := readNames(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := ids[name]; ok || strings.HasPrefix(name, "new-") {
			continue
		}
		if err := s.layers.trash(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// referred are the diff ids that snapshots stand for.
func (s *Snapshotter) referred(ids map[string]string) (map[string]bool, error) {
	used := map[string]bool{}
	for id := range ids {
		diffID, err := s.reference(id)
		switch {
		case err == nil:
			used[diffID] = true
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errDamaged): // no container can be made of a damaged one
		default:
			return nil, err
		}
	}
	return used, nil
}

// removeUnfinished removes what an earlier process was making when it ended.
func (s *Snapshotter) removeUnfinished() error {
	left, err := filepath.Glob(filepath.Join(s.dir, "new-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range left {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
