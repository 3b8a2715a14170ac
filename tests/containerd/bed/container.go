package bed

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container finds a container of the document.
func (p *Pod) Container(name string) (*corev1.Container, error) {
	for i := range p.Spec.Spec.Containers {
		if c := &p.Spec.Spec.Containers[i]; c.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("pod %q has no container %q", p.Spec.Name, name)
}

// Start pulls the image, creates the container and starts it.
func (p *Pod) Start(ctx context.Context, name string) error {
	if err := p.Create(ctx, name, nil); err != nil {
		return err
	}
	begin := time.Now()
	if err := p.node.Runtime.StartContainer(ctx, p.Created[name]); err != nil {
		return fmt.Errorf("start container %q: %w", name, err)
	}
	p.Starts = append(p.Starts, time.Since(begin))
	return nil
}

// Create creates a container; change may alter kubelet's request, as a host that cannot be trusted would.
func (p *Pod) Create(ctx context.Context, name string, change func(*cri.ContainerConfig)) error {
	c, err := p.Container(name)
	if err != nil {
		return err
	}
	if _, err := p.node.Pull(ctx, c.Image, p.handler, p.config); err != nil {
		return err
	}
	config, err := p.containerConfig(c)
	if err != nil {
		return err
	}
	if change != nil {
		change(config)
	}
	id, err := p.node.Runtime.CreateContainer(ctx, p.ID, config, p.config)
	if err != nil {
		return fmt.Errorf("create container %q: %w", name, err)
	}
	p.Created[name] = id
	return nil
}

// RemoveContainer stops and removes one container.
func (p *Pod) RemoveContainer(ctx context.Context, name string) error {
	id := p.Created[name]
	delete(p.Created, name)
	if err := p.node.Runtime.StopContainer(ctx, id, 0); err != nil {
		return fmt.Errorf("stop container %q: %w", name, err)
	}
	return p.node.Runtime.RemoveContainer(ctx, id)
}

func (p *Pod) containerConfig(c *corev1.Container) (*cri.ContainerConfig, error) {
	mounts, err := p.mounts(c)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: c.Name},
		Image:    &cri.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image, RuntimeHandler: p.handler},
		Command:  c.Command, Args: c.Args, WorkingDir: c.WorkingDir, Envs: p.variables(c), Mounts: mounts,
		Labels: map[string]string{
			"io.kubernetes.container.name": c.Name, "io.kubernetes.pod.name": p.Spec.Name, "io.kubernetes.pod.namespace": p.Spec.Namespace,
			"io.kubernetes.pod.uid": string(p.Spec.UID),
		},
		Annotations: map[string]string{
			"io.kubernetes.container.restartCount": "0", "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
			"io.kubernetes.container.terminationMessagePolicy": "File", "io.kubernetes.pod.terminationGracePeriod": "30",
		},
		LogPath: filepath.Join(c.Name, "0.log"), Stdin: c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &cri.LinuxContainerConfig{Resources: containerResources(c), SecurityContext: p.securityContext(c)},
	}, os.MkdirAll(filepath.Join(p.config.LogDirectory, c.Name), 0o755)
}

// variables are the document's and, as for any pod in a cluster, those of the services it can see.
func (p *Pod) variables(c *corev1.Container) []*cri.KeyValue {
	env := map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443", "KUBERNETES_PORT": "tcp://10.96.0.1:443",
		"KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO": "tcp", "KUBERNETES_PORT_443_TCP_PORT": "443",
		"KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	var out []*cri.KeyValue
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, &cri.KeyValue{Key: name, Value: []byte(env[name])})
	}
	return out
}

// Masked and read-only paths that kubelet asks for.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func (p *Pod) securityContext(c *corev1.Container) *cri.LinuxContainerSecurityContext {
	out := &cri.LinuxContainerSecurityContext{
		NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: p.pidMode(), Ipc: cri.NamespaceMode_POD},
		Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined},
		MaskedPaths:      maskedPaths, ReadonlyPaths: readonlyPaths,
	}
	s := c.SecurityContext
	if s == nil {
		return out
	}
	if s.RunAsUser != nil {
		out.RunAsUser = &cri.Int64Value{Value: *s.RunAsUser}
	}
	if s.RunAsGroup != nil {
		out.RunAsGroup = &cri.Int64Value{Value: *s.RunAsGroup}
	}
	out.ReadonlyRootfs = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
	out.NoNewPrivs = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	out.Privileged = s.Privileged != nil && *s.Privileged
	if s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault {
		out.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	}
	return out
}

// containerResources are kubelet's figures for requests and limits, on a node of its cgroup v2 arithmetic.
func containerResources(c *corev1.Container) *cri.LinuxContainerResources {
	const period = 100_000 // microseconds
	cpu, memory := c.Resources.Limits.Cpu(), c.Resources.Limits.Memory()
	r := &cri.LinuxContainerResources{CpuPeriod: period, CpuShares: 2, OomScoreAdj: 1000, MemoryLimitInBytes: memory.Value()}
	if milli := cpu.MilliValue(); milli > 0 {
		r.CpuShares, r.CpuQuota = max(2, milli*1024/1000), milli*period/1000
	}
	if memory.Value() > 0 {
		r.OomScoreAdj = 985
	}
	return r
}

// mounts are the document's, then what kubelet adds to every container.
func (p *Pod) mounts(c *corev1.Container) ([]*cri.Mount, error) {
	var out []*cri.Mount
	for _, m := range c.VolumeMounts {
		dir, ok := p.volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("container %q: no volume %q", c.Name, m.Name)
		}
		out = append(out, &cri.Mount{ContainerPath: m.MountPath, HostPath: filepath.Join(dir, m.SubPath), Readonly: m.ReadOnly || p.readonly(m.Name)})
	}
	own := filepath.Join(p.dir, "containers", c.Name)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return nil, err
	}
	message := filepath.Join(own, string(uuid.NewUUID())[:8])
	if err := os.WriteFile(message, nil, 0o666); err != nil {
		return nil, err
	}
	if a := p.Spec.Spec.AutomountServiceAccountToken; a == nil || *a {
		out = append(out, &cri.Mount{ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", HostPath: p.volumes[tokenVolume], Readonly: true})
	}
	return append(out,
		&cri.Mount{ContainerPath: "/etc/hosts", HostPath: filepath.Join(p.dir, "etc-hosts")},
		&cri.Mount{ContainerPath: "/dev/termination-log", HostPath: message}), nil
}

// Log is what a container has written so far, from the log file that kubelet would read.
func (p *Pod) Log(name string) ([]LogLine, error) {
	data, err := os.ReadFile(filepath.Join(p.config.LogDirectory, name, "0.log"))
	if err != nil {
		return nil, err
	}
	return parseLog(string(data))
}

// LogLine is one line of a container in CRI's format.
type LogLine struct {
	Stream  string // stdout or stderr
	Partial bool   // the line goes on in the stream's next one
	Text    string
}

func parseLog(text string) ([]LogLine, error) {
	var out []LogLine
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("log line %q: want time, stream, tag and text", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			return nil, fmt.Errorf("log line %q: %w", line, err)
		}
		out = append(out, LogLine{Stream: f[1], Partial: f[2] == "P", Text: f[3]})
	}
	return out, nil
}
