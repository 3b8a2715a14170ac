package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
)

// mountLayers makes the request's layers available and returns their names, top first. Each disk is read, judged and mounted
// on its own; one that is already in use is counted, and not asked about again (docs/architecture.md).
func (s *Sandbox) mountLayers(ctx context.Context, req CreateRequest, c *Container, u *undo) ([]string, error) {
	opened, err := s.openLayers(ctx, req.Layers)
	defer func() {
		for _, c := range opened {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	var targets []string
	for _, a := range req.Layers {
		d := s.devices[a]
		if d == nil {
			if d, err = s.mountLayer(ctx, a, opened[a], u); err != nil {
				return nil, err
			}
		}
		d.users++
		c.layers = append(c.layers, a)
		u.push(func(context.Context) error { d.users--; return nil })
		targets = append(targets, d.target)
	}
	return targets, nil
}

// openersAtOnce bounds how many disks are waited for and read at the same time.
const openersAtOnce = 4

// openLayers reads the disks that are not in use yet, side by side: a read changes nothing, and each waits for its device. What was opened is
// returned with an error too, for closing.
func (s *Sandbox) openLayers(ctx context.Context, layers []storage.Address) (map[storage.Address]Candidate, error) {
	var mu sync.Mutex
	opened := map[storage.Address]Candidate{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(openersAtOnce)
	seen := map[storage.Address]bool{}
	for _, a := range layers {
		if s.devices[a] != nil || seen[a] {
			continue
		}
		seen[a] = true
		group.Go(func() error {
			c, err := s.cfg.Storage.Open(ctx, a)
			if err != nil {
				return invalid("layer at %s: %v", a, err)
			}
			mu.Lock()
			defer mu.Unlock()
			opened[a] = c
			return nil
		})
	}
	err := group.Wait()
	return opened, err
}

func (s *Sandbox) mountLayer(ctx context.Context, a storage.Address, candidate Candidate, u *undo) (*device, error) {
	target := layerName(s.layers)
	s.layers++
	decision, err := s.cfg.Gate.Decide(ctx, createMessage, enforcer.MountDeviceInput{
		Target: target, DeviceHash: candidate.RootHash(), MountPathRegex: LayerPathRegex,
	})
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.Storage.MountLayer(ctx, candidate, s.fs(target))
	if err != nil {
		return nil, s.mountFailed(target, err)
	}
	d := &device{target: target, root: candidate.RootHash(), mount: m}
	u.push(func(ctx context.Context) error {
		s.mu.Lock()
		delete(s.devices, a)
		s.mu.Unlock()
		return s.unmounted(target, m.Unmount(ctx))
	})
	back, err := decision.Commit()
	if err != nil {
		return nil, fmt.Errorf("commit mount_device: %w", err)
	}
	u.pushPolicy(back)
	s.mu.Lock()
	s.devices[a] = d
	s.mu.Unlock()
	return d, nil
}

// mountFailed is a mount that did not happen; when it left something behind the sandbox is poisoned.
func (s *Sandbox) mountFailed(what string, err error) error {
	if errors.Is(err, storage.ErrStateUnknown) {
		s.setPoison(what + " may or may not be mounted")
	}
	return internal("mount %s: %v", what, err)
}

// mountRootfs asks for and makes the writable layer and the overlay over the layers.
func (s *Sandbox) mountRootfs(ctx context.Context, c *Container, targets []string, size int64, u *undo) error {
	scratch, rootfs := scratchName(c.Key), rootfsName(c.Key)
	err := s.mountStep(ctx, c, u, enforcer.ScratchMountInput{Target: scratch, Encrypted: true}, scratch, func() (Mount, error) {
		return s.cfg.Storage.MountScratch(ctx, s.fs(scratch), size)
	})
	if err != nil {
		return err
	}
	upper, work := filepath.Join(s.fs(scratch), "upper"), filepath.Join(s.fs(scratch), "work")
	for _, dir := range []string{upper, work, s.fs(rootfs)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make overlay directory: %w", err)
		}
	}
	var lowers []string
	for _, t := range targets {
		lowers = append(lowers, s.fs(t))
	}
	in := enforcer.MountOverlayInput{ContainerID: c.Key, LayerPaths: targets, Target: rootfs}
	return s.mountStep(ctx, c, u, in, rootfs, func() (Mount, error) {
		return s.cfg.Storage.MountOverlay(ctx, lowers, upper, work, s.fs(rootfs))
	})
}

// mountStep is decide, mount, commit, for one mount of a container.
func (s *Sandbox) mountStep(ctx context.Context, c *Container, u *undo, in enforcer.Input, target string, act func() (Mount, error)) error {
	d, err := s.cfg.Gate.Decide(ctx, createMessage, in)
	if err != nil {
		return err
	}
	m, err := act()
	if err != nil {
		return s.mountFailed(target, err)
	}
	c.mounts = append(c.mounts, m)
	u.push(func(ctx context.Context) error { return s.unmounted(target, m.Unmount(ctx)) })
	back, err := d.Commit()
	if err != nil {
		return fmt.Errorf("commit %s: %w", in.Point(), err)
	}
	u.pushPolicy(back)
	return nil
}

// removeTree removes the agent's own directory of a container. It refuses to cross into a mount that is still there: that
// would delete what is mounted.
func removeTree(dir string) error {
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	defer root.Close()
	if err := checkNoMounts(dir); err != nil {
		return err
	}
	if err := root.RemoveAll(filepath.Base(dir)); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	return nil
}

// checkNoMounts looks for mounts beneath a directory in the kernel's own list.
func checkNoMounts(dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		// The fifth field is the mount point; the agent's own paths have no characters that are escaped there.
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4]+"/", dir+"/") {
			return fmt.Errorf("remove container directory: %s is still mounted", strings.TrimPrefix(fields[4], dir+"/"))
		}
	}
	return nil
}
