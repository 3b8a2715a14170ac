package sandbox

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
)

// bindMounts makes each bind in the agent's own mount table first, from a descriptor that was opened beneath its root without
// following links: crun follows whatever it finds on a path, and the workload may have put a link there.
func (s *Sandbox) bindMounts(ctx context.Context, r *container.Request, c *Container, planned []plannedMount, u *undo) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, p := range planned {
		m := p.spec
		switch {
		case p.grant == grantDevice:
			continue // a node, not a mount
		case p.grant == grantAttest:
			dir, err := s.listen(ctx, r, c, u)
			if err != nil {
				return nil, err
			}
			m.Source, m.Options = dir, dead(m.Options)
		case p.file != "":
			if err := s.writeOwn(p, u); err != nil {
				return nil, err
			}
			m.Source = p.file
			if m.Type != "bind" {
				m.Type, m.Options = "bind", []string{"rbind", "rprivate", "rw"}
			}
			m.Options = dead(m.Options)
		case p.root != "":
			target := s.fs(containerDir(c.Key) + "/binds/" + strconv.Itoa(i))
			if err := s.bind(ctx, c, p, target, u); err != nil {
				return nil, err
			}
			m.Source = target
			m.Options = append(slices.Clone(m.Options), "nosuid", "nodev")
			if p.staged {
				m.Options = dead(m.Options)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// writeOwn writes a file of the container's that was only planned until now.
func (s *Sandbox) writeOwn(p plannedMount, u *undo) error {
	if p.text == nil {
		return nil
	}
	if err := os.WriteFile(p.file, p.text, 0o644); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	u.push(func(context.Context) error { return os.Remove(p.file) })
	return nil
}

// dead adds what makes a mount hold nothing but data. The runtime mounts binds anew with the options it is given, and what the agent's own mount
// had besides is lost then.
func dead(options []string) []string {
	return append(slices.Clone(options), "nosuid", "nodev", "noexec")
}

func (s *Sandbox) bind(ctx context.Context, c *Container, p plannedMount, target string, u *undo) error {
	if p.make {
		if err := makeBeneath(p.root, p.name); err != nil {
			return internal("mount at %.128q: %v", p.spec.Destination, err)
		}
	}
	m, err := s.cfg.Storage.Bind(ctx, p.root, p.name, target)
	if err != nil {
		return s.mountFailed(p.spec.Destination, err)
	}
	c.mounts = append(c.mounts, m)
	u.push(func(ctx context.Context) error { return s.unmounted(target, m.Unmount(ctx)) })
	return nil
}

// makeBeneath makes a directory of the pod that every user of the pod may write to, as an emptyDir is.
func makeBeneath(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open sandbox directory: %w", err)
	}
	defer root.Close()
	if st, err := root.Lstat(name); err == nil && st.IsDir() {
		return nil
	}
	if err := root.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return root.Chmod(name, 0o777)
}

// listen opens the container's own evidence socket and returns the directory it is in.
func (s *Sandbox) listen(ctx context.Context, r *container.Request, c *Container, u *undo) (string, error) {
	if s.cfg.Broker == nil {
		return "", invalid("OCI.Mounts: %s: the guest has no report device", grantAttest)
	}
	id, err := s.identityOf(c, r)
	if err != nil {
		return "", internal("open evidence socket: %v", err)
	}
	dir := s.fs(containerDir(c.Key) + "/attest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make evidence directory: %w", err)
	}
	_, stop, err := s.cfg.Broker.Listen(ctx, id, dir)
	if err != nil {
		return "", internal("open evidence socket: %v", err)
	}
	c.stopBroker = stop
	u.push(func(context.Context) error { stop(); c.stopBroker = nil; return nil })
	return dir, nil
}

// deviceNode describes a node for the runtime to make in the container.
func deviceNode(guest, destination string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(guest, &st); err != nil {
		return specs.LinuxDevice{}, fmt.Errorf("stat %s: %w", guest, err)
	}
	mode := os.FileMode(0o666)
	var root uint32
	return specs.LinuxDevice{
		Path: destination, Type: "c", Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &root, GID: &root,
	}, nil
}
