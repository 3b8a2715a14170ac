package pod

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
)

// Container is one container as it will run: document and image put together, nothing left to resolve.
type Container struct {
	Name        string
	ImageRef    string // as the document writes it
	ImageDigest string // of the image's manifest

	Args           []string
	Env            []string // "NAME=value", in the order containerd would give them
	Cwd            string
	UID, GID       uint32
	AdditionalGIDs []uint32 // the primary group first, as containerd sends them
	Username       string   // of UID in the image, "" when it has none; informational

	Capabilities    Capabilities
	NoNewPrivileges bool
	ReadonlyRootfs  bool
	Privileged      bool
	Terminal        bool
	Stdin           bool
	Mounts          []Mount // volumes and grants; the runtime's own mounts are added by OCI
	Sysctls         map[string]string
	Resources       Resources
	SeccompSHA256   string  // of the profile that the runtime sends, "" for none
	Layers          []Layer // base first

	StopSignal string     // of the image, "" when it names none
	Exec       [][]string // commands the document runs inside: probes, lifecycle handlers, and those it allows
	EnvRules   []EnvRule  // variables the document leaves to run time
	Runtime    []EnvRule  // variables that the cluster makes: Env does not have them
	Grants     []string   // what the agent gives this container
}

// Mount is one entry of the OCI mount list.
type Mount struct {
	Destination, Source, Type string
	Options                   []string
}

// Resources are the limits that the container's cgroup gets; zero is no limit.
type Resources struct {
	MemoryLimit int64 // bytes
	CPUQuota    int64 // microseconds a period
	CPUPeriod   uint64
	CPUShares   uint64
}

// defaultPath is what containerd gives images that set no PATH.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Source finds the images that documents name.
type Source interface {
	// Image finds one by its reference, as the document writes it.
	Image(ctx context.Context, reference string) (*Image, error)
}

// Resolve puts the document and its images together, in the order of the document, init containers first.
func (p *Pod) Resolve(ctx context.Context, images Source) ([]*Container, error) {
	var out []*Container
	for _, spec := range p.containers() {
		c, err := p.resolve(ctx, spec, images)
		if err != nil {
			return nil, fmt.Errorf("container %q: %w", spec.spec.Name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (p *Pod) resolve(ctx context.Context, in located, images Source) (*Container, error) {
	spec := in.spec
	img, err := images.Image(ctx, spec.Image)
	if err != nil {
		return nil, err
	}
	sc := spec.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	c := &Container{
		Name: spec.Name, ImageRef: spec.Image, ImageDigest: img.Digest, Layers: img.Layers, StopSignal: img.Config.StopSignal,
		NoNewPrivileges: sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		ReadonlyRootfs:  isTrue(sc.ReadOnlyRootFilesystem),
		Privileged:      isTrue(sc.Privileged),
		Terminal:        spec.TTY,
		Stdin:           spec.Stdin,
		Sysctls:         p.Sysctls,
		Resources:       resourcesOf(spec.Resources),
	}
	if spec.Lifecycle != nil && spec.Lifecycle.StopSignal != nil {
		c.StopSignal = string(*spec.Lifecycle.StopSignal)
	}
	if c.Capabilities, err = capabilitiesOf(sc); err != nil {
		return nil, fmt.Errorf("securityContext.%w", err)
	}
	if c.SeccompSHA256, err = p.seccompOf(sc); err != nil {
		return nil, err
	}
	annotations := p.annotations[spec.Name]
	c.EnvRules, c.Grants = annotations.env, annotations.grants
	env, err := p.setEnv(spec, img.Config, annotations.env, in.at)
	if err != nil {
		return nil, err
	}
	c.Env, c.Runtime = env.env, env.rules
	if err := c.setCommand(in, img.Config, env); err != nil {
		return nil, err
	}
	if err := c.setUser(ctx, p.spec.SecurityContext, sc, img); err != nil {
		return nil, err
	}
	c.Exec = append(execCommands(spec), annotations.exec...)
	return c, p.setMounts(c, spec)
}

// seccompOf is the profile of a container: its own word wins over the pod's. A privileged one has none.
func (p *Pod) seccompOf(sc *corev1.SecurityContext) (string, error) {
	profile := sc.SeccompProfile
	if podSC := p.spec.SecurityContext; profile == nil && podSC != nil {
		profile = podSC.SeccompProfile
	}
	if isTrue(sc.Privileged) {
		profile = nil
	}
	return p.seccomp(profile, p.at+"spec.securityContext")
}

// setCommand follows Kubernetes: a command in the document replaces the image's entry point and its arguments.
func (c *Container) setCommand(in located, config v1.Config, env *variables) error {
	spec := in.spec
	command, err := env.expandAll(spec.Command, in.at+".command")
	if err != nil {
		return err
	}
	args, err := env.expandAll(spec.Args, in.at+".args")
	if err != nil {
		return err
	}
	switch {
	case len(command) > 0:
		c.Args = slices.Concat(command, args)
	case len(args) > 0:
		c.Args = slices.Concat(config.Entrypoint, args)
	default:
		c.Args = slices.Concat(config.Entrypoint, config.Cmd)
	}
	if len(c.Args) == 0 || c.Args[0] == "" {
		return errors.New("neither the document nor the image names a command")
	}
	c.Cwd = spec.WorkingDir
	if c.Cwd == "" {
		c.Cwd = config.WorkingDir
	}
	if c.Cwd == "" {
		c.Cwd = "/"
	}
	if c.Cwd = path.Clean(c.Cwd); !path.IsAbs(c.Cwd) {
		return fmt.Errorf("working directory %q is not absolute", clip(c.Cwd))
	}
	return nil
}

// setUser resolves the user in the image: the container's security context wins over the pod's, and that over the image.
func (c *Container) setUser(ctx context.Context, podSC *corev1.PodSecurityContext, sc *corev1.SecurityContext, img *Image) error {
	if podSC == nil {
		podSC = &corev1.PodSecurityContext{}
	}
	runAsUser, runAsGroup, nonRoot := firstSet(sc.RunAsUser, podSC.RunAsUser), firstSet(sc.RunAsGroup, podSC.RunAsGroup), podSC.RunAsNonRoot
	if sc.RunAsNonRoot != nil {
		nonRoot = sc.RunAsNonRoot
	}
	user, err := img.identity(ctx, runAsUser, runAsGroup, isStrict(podSC))
	if err != nil {
		return err
	}
	if isTrue(nonRoot) && user.uid == 0 {
		return errors.New("runAsNonRoot is set, and the user is root")
	}
	c.UID, c.GID, c.Username = user.uid, user.gid, user.name
	c.AdditionalGIDs = []uint32{user.gid}
	for _, g := range user.groups {
		c.addGroup(g)
	}
	if podSC.FSGroup != nil {
		c.addGroup(uint32(*podSC.FSGroup))
	}
	for _, g := range podSC.SupplementalGroups {
		if g < 0 || g > maxID {
			return fmt.Errorf("supplementalGroups: %d is not an id", g)
		}
		c.addGroup(uint32(g))
	}
	return nil
}

func (c *Container) addGroup(gid uint32) {
	if !slices.Contains(c.AdditionalGIDs, gid) {
		c.AdditionalGIDs = append(c.AdditionalGIDs, gid)
	}
}

func isStrict(sc *corev1.PodSecurityContext) bool {
	return sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
}

func firstSet(a, b *int64) *int64 {
	if a != nil {
		return a
	}
	return b
}

// grantMounts are what a container may be given by the agent itself. The source is literal in policy and request.
var grantMounts = map[string]Mount{
	"attest": {
		Destination: "/run/cloister/attest", Source: "cloister://attest", Type: "bind",
		Options: []string{"rbind", "rprivate", "ro"},
	},
}

// execCommands are the commands that kubelet runs inside the container. Probes over the network need no permission. Kubelet
// expands the commands of probes, by the values as they are written, and not those of lifecycle handlers.
func execCommands(spec *corev1.Container) [][]string {
	var out [][]string
	add := func(e *corev1.ExecAction) {
		if e != nil && len(e.Command) > 0 {
			out = append(out, e.Command)
		}
	}
	written := map[string]string{}
	for _, e := range spec.Env {
		written[e.Name] = e.Value
	}
	for _, probe := range []*corev1.Probe{spec.LivenessProbe, spec.ReadinessProbe, spec.StartupProbe} {
		if probe != nil && probe.Exec != nil {
			add(&corev1.ExecAction{Command: expandStatic(probe.Exec.Command, written)})
		}
	}
	if spec.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{spec.Lifecycle.PostStart, spec.Lifecycle.PreStop} {
			if h != nil {
				add(h.Exec)
			}
		}
	}
	return out
}

const (
	cpuPeriod = 100_000 // microseconds, kubelet's default
	minQuota  = 1_000
	minShares = 2
)

// resourcesOf is kubelet's arithmetic.
func resourcesOf(r corev1.ResourceRequirements) Resources {
	var out Resources
	if m, ok := r.Limits[corev1.ResourceMemory]; ok {
		out.MemoryLimit = m.Value()
	}
	limit, limited := r.Limits[corev1.ResourceCPU]
	if limited && !limit.IsZero() {
		out.CPUPeriod = cpuPeriod
		out.CPUQuota = max(limit.MilliValue()*cpuPeriod/1000, minQuota)
	}
	request, requested := r.Requests[corev1.ResourceCPU]
	if !requested {
		request, requested = limit, limited
	}
	if requested {
		out.CPUShares = uint64(max(request.MilliValue()*1024/1000, minShares))
	}
	return out
}
