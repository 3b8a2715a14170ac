package container

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// Bounds of a request. They are far above what Kubernetes produces and far below what would hurt the guest.
const (
	maxStrings     = 4096    // args, environment entries, mounts
	maxStringBytes = 1 << 20 // one string
	maxGroups      = 1024
)

// Annotations that the agent reads; all others are ignored.
const (
	AnnotationType       = "io.kubernetes.cri.container-type"
	AnnotationSandboxID  = "io.kubernetes.cri.sandbox-id"
	AnnotationPrivileged = "io.cloister.privileged"

	annotationName      = "io.kubernetes.cri.container-name"
	annotationPod       = "io.kubernetes.cri.sandbox-name"
	annotationNamespace = "io.kubernetes.cri.sandbox-namespace"
	annotationImage     = "io.kubernetes.cri.image-name"
)

var (
	hostnameForm = form{255, regexp.MustCompile(`^[a-zA-Z0-9_.-]*$`)}
	capForm      = form{64, regexp.MustCompile(`^CAP_[A-Z0-9_]+$`)}
	rlimitForm   = form{32, regexp.MustCompile(`^RLIMIT_[A-Z]+$`)}
	cpusetForm   = form{255, regexp.MustCompile(`^[0-9,-]*$`)}
	pageForm     = form{8, regexp.MustCompile(`^[1-9][0-9]*[KMG]B$`)}
)

// form is an expression with a bound on the length beside it: a bound inside the expression is compiled to as many states, which cost the guest
// memory and time at each start.
type form struct {
	max int
	re  *regexp.Regexp
}

func (f form) MatchString(s string) bool { return len(s) <= f.max && f.re.MatchString(s) }

// Capabilities are the five sets of a process, as names with the CAP_ prefix.
type Capabilities struct {
	Bounding, Effective, Inheritable, Permitted, Ambient []string
}

// ProcessRequest is what a host may ask of one process, init or exec, after the form check.
type ProcessRequest struct {
	Args, Env       []string
	Cwd             string
	UID, GID        uint32
	AdditionalGIDs  []uint32
	Username        string
	Capabilities    Capabilities
	NoNewPrivileges bool
	Rlimits         []specs.POSIXRlimit
	OOMScoreAdj     int
	Terminal        bool
	Rows, Columns   uint
}

// Request is what a host may ask of a container, after the form check and before the policy.
type Request struct {
	Process      ProcessRequest
	Hostname     string
	RootPath     string // the host's word for the root file system; compared with its storage, then replaced
	Readonly     bool
	Mounts       []specs.Mount
	Seccomp      *specs.LinuxSeccomp
	Sysctl       map[string]string
	Resources    *specs.LinuxResources
	Privileged   bool
	IsSandbox    bool   // container type "sandbox"
	SandboxID    string // "" when the request does not say
	HasSandboxID bool
	// Names and ImageName are what the host calls the container, for evidence to repeat as its word: container, pod and namespace, those that it
	// says.
	Names     []string
	ImageName string
}

// Parse checks the form of an OCI spec on the wire (docs/architecture.md). A nil process, root or
// linux section, and every field that the table refuses, is an error that names the field.
func Parse(s *api.Spec) (*Request, error) {
	switch {
	case s == nil:
		return nil, refuse("OCI", "is missing")
	case s.Process == nil:
		return nil, refuse("OCI.Process", "is missing")
	case s.Root == nil:
		return nil, refuse("OCI.Root", "is missing")
	case s.Linux == nil:
		return nil, refuse("OCI.Linux", "is missing")
	}
	if err := refuseForbidden(s); err != nil {
		return nil, err
	}
	p, err := ParseProcess(s.Process)
	if err != nil {
		return nil, err
	}
	r := &Request{Process: *p, Hostname: s.Hostname, RootPath: s.Root.Path, Readonly: s.Root.Readonly}
	if !hostnameForm.MatchString(s.Hostname) {
		return nil, refuse("OCI.Hostname", "is not a host name")
	}
	if r.Mounts, err = parseMounts(s.Mounts); err != nil {
		return nil, err
	}
	if r.Seccomp, err = parseSeccomp(s.Linux.Seccomp); err != nil {
		return nil, err
	}
	if r.Sysctl, err = parseSysctl(s.Linux.Sysctl); err != nil {
		return nil, err
	}
	if r.Resources, err = ParseResources(s.Linux.Resources, true); err != nil {
		return nil, err
	}
	r.Privileged = isPrivileged(s, r)
	switch t := s.Annotations[AnnotationType]; t {
	case "", "container":
	case "sandbox":
		r.IsSandbox = true
	default:
		return nil, refuse("OCI.Annotations["+AnnotationType+"]", "is neither sandbox nor container")
	}
	r.SandboxID, r.HasSandboxID = s.Annotations[AnnotationSandboxID]
	for _, a := range []string{annotationName, annotationPod, annotationNamespace} {
		if n := s.Annotations[a]; n != "" {
			r.Names = append(r.Names, n)
		}
	}
	r.ImageName = s.Annotations[annotationImage]
	return r, nil
}

// isPrivileged: our shim says so by annotation; other shims are known by empty masked paths with a writable /sys or cgroup mount.
func isPrivileged(s *api.Spec, r *Request) bool {
	if s.Annotations[AnnotationPrivileged] == "true" {
		return true
	}
	if len(s.Linux.MaskedPaths) != 0 {
		return false
	}
	return slices.ContainsFunc(r.Mounts, func(m specs.Mount) bool {
		return (m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup") && slices.Contains(m.Options, "rw")
	})
}

// refuseForbidden refuses what a request may not hold at all: code that runs outside the policy (hooks), devices beyond the
// agent's own, id mappings and the sections of other systems.
func refuseForbidden(s *api.Spec) error {
	if h := s.Hooks; h != nil {
		n := len(h.Prestart) + len(h.Poststart) + len(h.Poststop) + len(h.CreateRuntime) + len(h.CreateContainer) + len(h.StartContainer)
		if n > 0 {
			return refuse("OCI.Hooks", "hooks are never run")
		}
	}
	switch {
	case len(s.Linux.Devices) > 0:
		return refuse("OCI.Linux.Devices", "host devices are not given to containers")
	case len(s.Linux.UIDMappings) > 0:
		return refuse("OCI.Linux.UIDMappings", "id mappings are not supported")
	case len(s.Linux.GIDMappings) > 0:
		return refuse("OCI.Linux.GIDMappings", "id mappings are not supported")
	case s.Solaris != nil:
		return refuse("OCI.Solaris", "must be empty")
	case s.Windows != nil:
		return refuse("OCI.Windows", "must be empty")
	}
	return nil
}

// checkEnv refuses a variable with two values: which of them counts is for the program and its libraries, so a rule that fixes the
// value would hold only until a host adds a second one that a wider rule allows. Nobody sends such a list: containerd's merge
// keeps one entry a name. The same entry twice is harmless.
func checkEnv(env []string) error {
	values := make(map[string]string, len(env))
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return refuse("Process.Env", "an entry is not NAME=VALUE")
		}
		if before, again := values[name]; again && before != value {
			return refuse("Process.Env", "a variable has two values")
		}
		values[name] = value
	}
	return nil
}

// ParseProcess checks the form of a process on the wire, of a create or an exec request.
func ParseProcess(p *api.Process) (*ProcessRequest, error) {
	if p == nil {
		return nil, refuse("Process", "is missing")
	}
	if err := checkStrings("Process.Args", p.Args); err != nil {
		return nil, err
	}
	if err := checkStrings("Process.Env", p.Env); err != nil {
		return nil, err
	}
	if err := checkEnv(p.Env); err != nil {
		return nil, err
	}
	if len(p.Args) == 0 {
		return nil, refuse("Process.Args", "is empty")
	}
	if err := checkPath("Process.Cwd", p.Cwd); err != nil {
		return nil, err
	}
	out := &ProcessRequest{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		NoNewPrivileges: p.NoNewPrivileges, Terminal: p.Terminal,
	}
	if u := p.User; u != nil {
		if len(u.AdditionalGids) > maxGroups {
			return nil, refuse("Process.User.AdditionalGids", "has too many entries")
		}
		if len(u.Username) > 256 || strings.ContainsAny(u.Username, "\x00\n:") {
			return nil, refuse("Process.User.Username", "is not a user name")
		}
		out.UID, out.GID, out.AdditionalGIDs, out.Username = u.UID, u.GID, u.AdditionalGids, u.Username
	}
	if c := p.Capabilities; c != nil {
		out.Capabilities = Capabilities{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient}
		for _, set := range [][]string{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient} {
			if len(set) > 64 || slices.ContainsFunc(set, func(s string) bool { return !capForm.MatchString(s) }) {
				return nil, refuse("Process.Capabilities", "holds what is not a capability name")
			}
		}
	}
	for _, l := range p.Rlimits {
		if !rlimitForm.MatchString(l.GetType()) || l.GetSoft() > l.GetHard() || len(p.Rlimits) > 32 {
			return nil, refuse("Process.Rlimits", "is not a resource limit")
		}
		out.Rlimits = append(out.Rlimits, specs.POSIXRlimit{Type: l.Type, Hard: l.Hard, Soft: l.Soft})
	}
	if p.OOMScoreAdj < 0 || p.OOMScoreAdj > 1000 {
		return nil, refuse("Process.OOMScoreAdj", "is outside 0..1000")
	}
	out.OOMScoreAdj = int(p.OOMScoreAdj)
	if b := p.ConsoleSize; b != nil {
		if b.Height > 65535 || b.Width > 65535 {
			return nil, refuse("Process.ConsoleSize", "is outside 0..65535")
		}
		out.Rows, out.Columns = uint(b.Height), uint(b.Width)
	}
	return out, nil
}

func parseMounts(in []*api.Mount) ([]specs.Mount, error) {
	if len(in) > maxStrings {
		return nil, refuse("OCI.Mounts", "has too many entries")
	}
	var out []specs.Mount
	for _, m := range in {
		if m == nil {
			return nil, refuse("OCI.Mounts", "holds an empty entry")
		}
		if err := checkPath("OCI.Mounts.destination", m.Destination); err != nil {
			return nil, err
		}
		if m.Destination == "/" {
			return nil, refuse("OCI.Mounts.destination", "is the root")
		}
		if err := checkStrings("OCI.Mounts.options", append([]string{m.Source, m.Type}, m.Options...)); err != nil {
			return nil, err
		}
		out = append(out, specs.Mount{Destination: m.Destination, Source: m.Source, Type: m.Type, Options: m.Options})
	}
	return out, nil
}

// sysctls are the two that only widen what an unprivileged workload may do with its own sockets.
var sysctls = map[string]form{
	"net.ipv4.ip_unprivileged_port_start": {5, regexp.MustCompile(`^[0-9]+$`)},
	"net.ipv4.ping_group_range":           {21, regexp.MustCompile(`^[0-9]+[ \t][0-9]+$`)},
}

func parseSysctl(in map[string]string) (map[string]string, error) {
	for k, v := range in {
		form, ok := sysctls[k]
		if !ok {
			return nil, refuse(fmt.Sprintf("OCI.Linux.Sysctl[%.64q]", k), "is not on the list of sysctls")
		}
		if !form.MatchString(v) {
			return nil, refuse("OCI.Linux.Sysctl["+k+"]", "has a value of another form")
		}
	}
	return in, nil
}

// checkPath demands an absolute path without "." and ".." elements, so that nothing downstream can clean it into another one.
func checkPath(field, p string) error {
	if len(p) > 4095 || !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) {
		return refuse(field, "is not an absolute path")
	}
	for e := range strings.SplitSeq(p[1:], "/") {
		if e == "." || e == ".." {
			return refuse(field, "holds a . or .. element")
		}
	}
	return nil
}

func checkStrings(field string, in []string) error {
	if len(in) > maxStrings {
		return refuse(field, "has too many entries")
	}
	for _, s := range in {
		if len(s) > maxStringBytes {
			return refuse(field, "has an entry that is too long")
		}
		if strings.ContainsRune(s, 0) {
			return refuse(field, "has an entry with a zero byte")
		}
	}
	return nil
}
