package snapshotter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	apitypes "github.com/containerd/containerd/api/types"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestContainerdsSuite runs containerd's suite for snapshotters, all of it. The suite writes into mounts on the host and commits what it wrote; that
// is what nobody does with this snapshotter. So a [guest] stands between: it mounts the disks as a VM would, and turns what was written into a layer
// that is unpacked and committed as containerd does with an image's. What the suite then compares went through a tar, a disk and the kernel's EROFS (ext4 has a lost+found that the suite would find).
//
// Not shown by it: directories renamed over layers (the suite leaves that out for overlay file systems, under whose name it is run).
func TestContainerdsSuite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting layers needs root: run the tests as root")
	}
	if testing.Short() {
		t.Skip("the suite waits for the clock: run it without -short")
	}
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		blobs := newBlobs()
		s, err := snapshotter.New(ctx, snapshotter.Config{Root: filepath.Join(root, "s"), Content: blobs, Format: layer.EROFS})
		if err != nil {
			return nil, nil, err
		}
		g := &guest{Snapshotter: s, blobs: blobs, dir: root, mounted: map[string]string{}}
		return g, g.cleanup, nil
	})
}

// guest is a snapshotter whose snapshots can be written on the host.
type guest struct {
	*snapshotter.Snapshotter
	blobs *blobs
	dir   string

	mu      sync.Mutex
	mounted map[string]string // mount point by disk
	commits int
}

func (g *guest) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := g.Snapshotter.Prepare(ctx, key, parent, opts...)
	if err != nil {
		return nil, err
	}
	return g.stack(mounts, true)
}

func (g *guest) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := g.Snapshotter.View(ctx, key, parent, opts...)
	if err != nil {
		return nil, err
	}
	return g.stack(mounts, false)
}

func (g *guest) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	info, err := g.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	mounts, err := g.Snapshotter.Mounts(ctx, key)
	if err != nil {
		return nil, err
	}
	return g.stack(mounts, info.Kind == snapshots.KindActive)
}

// stack makes of our mounts what the guest makes of the disks.
func (g *guest) stack(ours []mount.Mount, writable bool) ([]mount.Mount, error) {
	r, err := rootfs.Read([]*apitypes.Mount{{Type: ours[0].Type, Source: ours[0].Source, Options: ours[0].Options}})
	if err != nil {
		return nil, err
	}
	var lower []string
	for _, l := range r.Layers {
		at, err := g.mount(l.EROFS.Path)
		if err != nil {
			return nil, err
		}
		lower = append(lower, at)
	}
	slices.Reverse(lower)
	scratch := filepath.Join(g.dir, "rw", filepath.Base(filepath.Dir(ours[0].Source)))
	upper, work := filepath.Join(scratch, "u"), filepath.Join(scratch, "w")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	switch {
	case len(lower) == 0 && writable:
		return []mount.Mount{{Type: "bind", Source: upper, Options: []string{"rw", "rbind"}}}, nil
	case len(lower) == 0:
		return []mount.Mount{{Type: "bind", Source: upper, Options: []string{"ro", "rbind"}}}, nil
	case len(lower) == 1 && !writable:
		return []mount.Mount{{Type: "bind", Source: lower[0], Options: []string{"ro", "rbind"}}}, nil
	}
	options := []string{"lowerdir=" + strings.Join(lower, ":")}
	if writable {
		options = append(options, "upperdir="+upper, "workdir="+work)
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

// mount mounts a layer's disk, once.
func (g *guest) mount(disk string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, ok := g.mounted[disk]; ok {
		return at, nil
	}
	at := filepath.Join(g.dir, "l", fmt.Sprint(len(g.mounted)))
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	m := mount.Mount{Type: "erofs", Source: disk, Options: []string{"ro", "loop"}}
	if err := m.Mount(at); err != nil {
		return "", err
	}
	g.mounted[disk] = at
	return at, nil
}

// Commit unpacks what was written as a layer of its own, whose parent is named when it is committed: containerd's parallel way.
func (g *guest) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	info, err := g.Stat(ctx, key)
	if err != nil || info.Kind != snapshots.KindActive {
		return g.Snapshotter.Commit(ctx, name, key, opts...)
	}
	tar, err := g.diff(ctx, key, info.Parent)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.commits++
	unpack := fmt.Sprintf("extract-%d layer", g.commits)
	g.mu.Unlock()
	mounts, err := g.Snapshotter.Prepare(ctx, unpack, "")
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: g.blobs.put(ctx, tar), Size: int64(len(tar))}
	applied, err := g.Apply(ctx, desc, mounts)
	if err == nil && applied.Digest != digest.FromBytes(tar) {
		err = fmt.Errorf("applied %s, want %s", applied.Digest, digest.FromBytes(tar))
	}
	if err == nil && info.Parent != "" {
		opts = append(slices.Clone(opts), snapshots.WithParent(info.Parent))
	}
	if err == nil {
		err = g.Snapshotter.Commit(ctx, name, unpack, opts...)
	}
	if err != nil {
		return errors.Join(err, g.Snapshotter.Remove(ctx, unpack))
	}
	return g.Snapshotter.Remove(ctx, key)
}

// diff is the tar of what was written to a snapshot.
func (g *guest) diff(ctx context.Context, key, parent string) ([]byte, error) {
	upper, err := g.Mounts(ctx, key)
	if err != nil {
		return nil, err
	}
	view := "diff of " + key
	lower, err := g.View(ctx, view, parent)
	if err != nil {
		return nil, err
	}
	var tar bytes.Buffer
	err = mount.WithTempMount(ctx, lower, func(a string) error {
		return mount.WithTempMount(ctx, upper, func(b string) error { return archive.WriteDiff(ctx, &tar, a, b) })
	})
	return tar.Bytes(), errors.Join(err, g.Snapshotter.Remove(ctx, view))
}

func (g *guest) cleanup() error {
	var errs []error
	for _, at := range g.mounted {
		errs = append(errs, mount.UnmountAll(at, 0))
	}
	return errors.Join(append(errs, g.Close())...)
}
