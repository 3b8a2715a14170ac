package sandbox

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
)

// Prefixes of mount sources (design section 2.2).
const (
	sandboxPrefix   = "sandbox://"
	hugePagesPrefix = "hugepages://"
	grantPrefix     = "cloister://"

	grantAttest = "cloister://attest"
	grantDevice = "cloister://sev-guest"
)

// plannedMount is a mount of the request after its source was mapped to the agent's own name.
type plannedMount struct {
	spec   specs.Mount // as crun gets it, but for the source of binds
	judged string      // the source as the policy is told
	root   string      // bind: the agent's directory beneath which name is opened
	name   string
	make   bool   // bind: a directory that comes to be when it is first used
	grant  string // one of the grants, literally
	file   string // bind of an agent's own file or directory
}

// planMounts maps every mount of a request, in order: the agent's fixed entries, the pod's files, then the workload's own.
func (s *Sandbox) planMounts(r *container.Request) ([]plannedMount, error) {
	fixed, own := container.SplitMounts(r.Mounts, r.Privileged)
	var out []plannedMount
	for _, m := range fixed {
		p := plannedMount{spec: m, judged: m.Source}
		if m.Destination == "/dev/shm" {
			p.file = s.pod.shm
		}
		out = append(out, p)
	}
	for _, m := range networkMounts(s.pod.key) {
		out = append(out, plannedMount{
			spec:   specs.Mount{Destination: m.Destination, Type: "bind", Options: m.Options},
			judged: m.Source, file: s.fs(m.Source),
		})
	}
	for _, m := range own {
		if slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, m.Destination) && !strings.HasPrefix(m.Source, sandboxPrefix) {
			continue // the agent's own are in place; the host's bytes are never used
		}
		p, err := s.planMount(m)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// bindOptions are the options a bind may have; whatever else changes how the kernel sees a mount is refused, for the policy
// compares options as words and does not know what they do.
var bindOptions = []string{
	"bind", "rbind", "private", "rprivate", "shared", "rshared", "slave", "rslave", "ro", "rw", "nosuid", "nodev", "noexec", "relatime", "noatime",
}

// tmpfsOptions are those of a tmpfs of the workload's own.
var tmpfsOptions = []string{"nosuid", "nodev", "noexec", "strictatime", "relatime", "rw", "ro", "rprivate", "tmpcopyup"}

func (s *Sandbox) planMount(m specs.Mount) (plannedMount, error) {
	if m.Type == "tmpfs" {
		for _, o := range m.Options {
			if !slices.Contains(tmpfsOptions, o) && !strings.HasPrefix(o, "size=") && !strings.HasPrefix(o, "mode=") {
				return plannedMount{}, invalid("OCI.Mounts: option %.32q of the tmpfs at %.128q is not on the list", o, m.Destination)
			}
		}
		return plannedMount{spec: m, judged: m.Source}, nil
	}
	if m.Type != "bind" {
		return plannedMount{}, invalid("OCI.Mounts: type %.32q of the mount at %.128q is not supported", m.Type, m.Destination)
	}
	for _, o := range m.Options {
		if !slices.Contains(bindOptions, o) {
			return plannedMount{}, invalid("OCI.Mounts: option %.32q of the bind at %.128q is not on the list", o, m.Destination)
		}
	}
	p := plannedMount{spec: m, judged: m.Source}
	switch {
	case strings.HasPrefix(m.Source, sandboxPrefix):
		name, err := beneath(strings.TrimPrefix(m.Source, sandboxPrefix))
		if err != nil {
			return p, err
		}
		p.root, p.name, p.make = s.fs(sandboxDir(s.pod.key)), name, true
		p.judged = path.Join(sandboxDir(s.pod.key), name)
	case m.Source == grantAttest, m.Source == grantDevice:
		p.grant = m.Source
	case strings.HasPrefix(m.Source, grantPrefix):
		return p, invalid("OCI.Mounts: grant %.64q is not one this agent gives", m.Source)
	case strings.HasPrefix(m.Source, hugePagesPrefix):
		return p, invalid("OCI.Mounts: this guest has no hugepages for the mount at %.128q", m.Destination)
	default:
		entry, name, ok := sharedName(m.Source)
		if !ok || s.cfg.Staging == nil {
			return p, invalid("OCI.Mounts: source %.128q is none of the agent's names", m.Source)
		}
		file, err := s.cfg.Staging.Resolve(entry)
		if err != nil {
			return p, invalid("OCI.Mounts: copied file %.128q: %v", entry, err)
		}
		p.root, p.name = filepath.Dir(file), filepath.Base(file)
		p.judged = path.Join(sandboxDir(s.pod.key), "shared", name)
	}
	return p, nil
}

// beneath is the form of P in sandbox://P: a path of ordinary names.
func beneath(p string) (string, error) {
	p = strings.TrimPrefix(p, "/")
	if p == "" || !filepath.IsLocal(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return "", invalid("OCI.Mounts: source %.128q is not a path beneath the sandbox directory", p)
	}
	return p, nil
}

// bindMounts makes each bind in the agent's own mount table first, from a descriptor that was opened beneath its root without
// following links: crun follows whatever it finds on a path, and the workload may have put a link there.
func (s *Sandbox) bindMounts(ctx context.Context, c *Container, planned []plannedMount, u *undo) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, p := range planned {
		m := p.spec
		switch {
		case p.grant == grantDevice:
			continue // a node, not a mount
		case p.grant == grantAttest:
			dir, err := s.listen(ctx, c, u)
			if err != nil {
				return nil, err
			}
			m.Source = dir
		case p.file != "":
			m.Source = p.file
			if m.Type != "bind" {
				m.Type, m.Options = "bind", []string{"rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"}
			}
		case p.root != "":
			target := s.fs(containerDir(c.Key) + "/binds/" + strconv.Itoa(i))
			if err := s.bind(ctx, c, p, target, u); err != nil {
				return nil, err
			}
			m.Source = target
		}
		out = append(out, m)
	}
	return out, nil
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
func (s *Sandbox) listen(ctx context.Context, c *Container, u *undo) (string, error) {
	if s.cfg.Broker == nil {
		return "", invalid("OCI.Mounts: %s: the guest has no report device", grantAttest)
	}
	dir := s.fs(containerDir(c.Key) + "/attest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make evidence directory: %w", err)
	}
	_, stop, err := s.cfg.Broker.Listen(ctx, c.Key, dir)
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
