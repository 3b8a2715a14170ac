package sandbox

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
)

// Prefixes of mount sources (docs/architecture.md).
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
	staged bool   // bind of what the host copied
	text   []byte // content of file, written once the decision is taken
}

// planMounts maps every mount of a request, in order: the agent's fixed entries, the pod's files, then the workload's own.
func (s *Sandbox) planMounts(r *container.Request, c *Container) ([]plannedMount, error) {
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
		if m.Destination == "/etc/hosts" {
			text, err := s.aliases(own)
			if err != nil {
				return nil, err
			}
			if text != nil {
				out[len(out)-1].file, out[len(out)-1].text = s.fs(containerDir(c.Key)+"/hosts.own"), text
			}
		}
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
		p.root, p.name, p.staged = filepath.Dir(file), filepath.Base(file), true
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
