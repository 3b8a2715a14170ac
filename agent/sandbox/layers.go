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

// mountLayers makes the request's layers available and returns their names, top first. Each disk is read, then each is judged in
// turn, then those that were all allowed are mounted side by side; one that is already in use is counted, and not asked about
// again (docs/architecture.md).
func (s *Sandbox) mountLayers(ctx context.Context, req CreateRequest, c *Container, u *undo) ([]string, error) {
	for _, a := range req.Layers {
		if err := s.notWritable(a); err != nil {
			return nil, err
		}
	}
	opened, err := s.openLayers(ctx, req.Layers)
	defer func() {
		for _, c := range opened {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	claims, err := s.claimLayers(ctx, req.Layers, opened, u)
	if err != nil {
		return nil, err
	}
	if err := s.mountClaims(ctx, claims, u); err != nil {
		return nil, err
	}
	var targets []string
	for _, a := range req.Layers {
		d := s.devices[a]
		d.users++
		c.layers = append(c.layers, a)
		u.push(func(context.Context) error { d.users--; return nil })
		targets = append(targets, d.target)
	}
	return targets, nil
}

// claim is a disk that the policy allowed at a name and that is not mounted yet.
type claim struct {
	address   storage.Address
	candidate Candidate
	target    string
	mount     Mount
}

// claimLayers asks the policy about each disk that is not in use, in the request's order. The policy state has a disk at its name
// before it is mounted there: requests that change state are taken one at a time, so nothing is decided in between, and when the
// mount fails the state is taken back with everything else.
func (s *Sandbox) claimLayers(ctx context.Context, layers []storage.Address, opened map[storage.Address]Candidate, u *undo) ([]*claim, error) {
	var claims []*claim
	claimed := map[storage.Address]bool{}
	for _, a := range layers {
		if s.devices[a] != nil || claimed[a] {
			continue
		}
		claimed[a] = true
		cl := &claim{address: a, candidate: opened[a], target: layerName(s.layers)}
		s.layers++
		decision, err := s.cfg.Gate.Decide(ctx, createMessage, enforcer.MountDeviceInput{
			Target: cl.target, DeviceHash: cl.candidate.RootHash(), MountPathRegex: LayerPathRegex,
		})
		if err != nil {
			return nil, err
		}
		back, err := decision.Commit()
		if err != nil {
			return nil, fmt.Errorf("commit mount_device: %w", err)
		}
		u.pushPolicy(back)
		claims = append(claims, cl)
	}
	return claims, nil
}

// mountClaims mounts the disks side by side: mapping one and reading its file system through the mapping takes longer than
// everything else about a layer. All are waited for, whatever becomes of one, so that each is either mounted or not.
func (s *Sandbox) mountClaims(ctx context.Context, claims []*claim, u *undo) error {
	var group errgroup.Group
	var panics panicked
	group.SetLimit(disksAtOnce)
	failed := make([]error, len(claims))
	for i, cl := range claims {
		group.Go(func() error {
			defer panics.keep()
			if cl.mount, failed[i] = s.cfg.Storage.MountLayer(ctx, cl.candidate, s.fs(cl.target)); failed[i] == nil {
				warmUserFiles(s.fs(cl.target))
			}
			return nil
		})
	}
	_ = group.Wait()
	panics.again()
	var first error
	for i, cl := range claims {
		if failed[i] != nil {
			err := s.mountFailed(cl.target, failed[i])
			if first == nil {
				first = err
			}
			continue
		}
		u.push(func(ctx context.Context) error {
			s.mu.Lock()
			delete(s.devices, cl.address)
			s.mu.Unlock()
			return s.unmounted(cl.target, cl.mount.Unmount(ctx))
		})
		s.mu.Lock()
		s.devices[cl.address] = &device{target: cl.target, root: cl.candidate.RootHash(), mount: cl.mount}
		s.mu.Unlock()
	}
	return first
}

// disksAtOnce bounds how many disks are waited for, read or mounted at the same time.
const disksAtOnce = 4

// openLayers reads the disks that are not in use yet, side by side: a read changes nothing, and each waits for its device. What was opened is
// returned with an error too, for closing.
func (s *Sandbox) openLayers(ctx context.Context, layers []storage.Address) (map[storage.Address]Candidate, error) {
	var mu sync.Mutex
	var panics panicked
	opened := map[storage.Address]Candidate{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(disksAtOnce)
	seen := map[storage.Address]bool{}
	for _, a := range layers {
		if s.devices[a] != nil || seen[a] {
			continue
		}
		seen[a] = true
		group.Go(func() error {
			defer panics.keep()
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
	panics.again()
	return opened, err
}

// panicked carries a panic from a goroutine of a request to the request's own, where it poisons the sandbox like any other. Left where it
// happened it would end the agent, which is PID 1.
type panicked struct {
	mu    sync.Mutex
	value any
}

func (p *panicked) keep() {
	if r := recover(); r != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.value = r
	}
}

// again panics if one of the goroutines did; all of them have ended.
func (p *panicked) again() {
	if p.value != nil {
		panic(p.value)
	}
}

// mountFailed is a mount that did not happen; when it left something behind the sandbox is poisoned.
func (s *Sandbox) mountFailed(what string, err error) error {
	if errors.Is(err, storage.ErrStateUnknown) {
		s.setPoison(poisonMount, what+" may or may not be mounted")
	}
	return internal("mount %s: %v", what, err)
}

// mountRootfs asks for and makes the writable layer and the overlay over the layers.
func (s *Sandbox) mountRootfs(ctx context.Context, req CreateRequest, c *Container, targets []string, u *undo) error {
	scratch, rootfs := scratchName(c.Key), rootfsName(c.Key)
	if err := s.mountScratch(ctx, req, c, u); err != nil {
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
