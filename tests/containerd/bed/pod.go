package bed

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// Annotations that carry a policy to the shim.
const (
	AnnotationPolicy     = "io.cloister.policy"
	AnnotationKataPolicy = "io.katacontainers.config.agent.policy"
)

// Pod is a pod on a node, with kubelet's side of it.
type Pod struct {
	Spec    *corev1.Pod
	ID      string            // of the sandbox
	Created map[string]string // container name to id

	// Ready is how long RunPodSandbox took, Starts how long each StartContainer did.
	Ready  time.Duration
	Starts []time.Duration

	node    *Node
	handler string
	dir     string // kubelet's directory of the pod
	config  *cri.PodSandboxConfig
	volumes map[string]string // name to directory on the host
}

// ReadPod reads a Pod document.
func ReadPod(text []byte) (*corev1.Pod, error) {
	var p corev1.Pod
	return &p, yaml.UnmarshalStrict(text, &p)
}

// ForCluster are GeneratePolicy's options for a pod that kubelet starts: it adds variables and mounts of its own.
var ForCluster = []string{"--target", "cluster"}

// GeneratePolicy writes a pod's policy as its owner would, with `cloister policy generate`.
func (p *Programs) GeneratePolicy(ctx context.Context, pod *corev1.Pod, more ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "clpolicy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	document := pod.DeepCopy()
	document.TypeMeta.Kind, document.TypeMeta.APIVersion = "Pod", "v1"
	text, err := yaml.Marshal(document)
	if err != nil {
		return nil, err
	}
	in, out := filepath.Join(dir, "pod.yaml"), filepath.Join(dir, "policy.rego")
	if err := os.WriteFile(in, text, 0o600); err != nil {
		return nil, err
	}
	args := []string{p.cloister(), "policy", "generate", "-f", in, "--images", p.Images, "--cache", filepath.Join(filepath.Dir(p.Images), "layers"), "-o", out}
	if _, err := run(ctx, p.Source, nil, append(args, more...)...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// SetPolicy puts a policy into a pod's annotations.
func SetPolicy(pod *corev1.Pod, policy []byte) {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[AnnotationKataPolicy] = base64.StdEncoding.EncodeToString(policy)
}

// Pull pulls an image for a handler, as kubelet does.
func (n *Node) Pull(ctx context.Context, ref, handler string, config *cri.PodSandboxConfig) (string, error) {
	image := &cri.ImageSpec{Image: ref, UserSpecifiedImage: ref, RuntimeHandler: handler}
	id, err := n.Images.PullImage(ctx, image, nil, config)
	if err != nil {
		return "", fmt.Errorf("pull %q for %q: %w", ref, handler, err)
	}
	return id, nil
}

// RunPod does what kubelet does until the sandbox is ready. Containers come next: Create and Start, or RunAll.
func (n *Node) RunPod(ctx context.Context, spec *corev1.Pod, handler string) (*Pod, error) {
	p, err := n.newPod(spec, handler)
	if err != nil {
		return nil, err
	}
	// The pause image is containerd's to choose, but it is pulled for the handler's snapshotter as any image.
	if _, err := n.Pull(ctx, Ref("pause"), handler, p.config); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	begin := time.Now()
	p.ID, err = n.Runtime.RunPodSandbox(ctx, p.config, handler)
	p.Ready = time.Since(begin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run pod sandbox %q: %w", spec.Name, err), os.RemoveAll(p.dir))
	}
	return p, nil
}

// Run is RunPod and all of its containers.
func (n *Node) Run(ctx context.Context, spec *corev1.Pod, handler string) (*Pod, error) {
	p, err := n.RunPod(ctx, spec, handler)
	if err != nil {
		return nil, err
	}
	for _, c := range spec.Spec.Containers {
		if err := p.Start(ctx, c.Name); err != nil {
			return nil, errors.Join(err, p.Remove(context.WithoutCancel(ctx)))
		}
	}
	return p, nil
}

func (n *Node) newPod(spec *corev1.Pod, handler string) (*Pod, error) {
	spec = spec.DeepCopy()
	if spec.Namespace == "" {
		spec.Namespace = "default"
	}
	if spec.UID == "" {
		spec.UID = uuid.NewUUID()
	}
	p := &Pod{Spec: spec, node: n, handler: handler, Created: map[string]string{}, volumes: map[string]string{}, dir: filepath.Join(n.Dir, "kubelet", "pods", string(spec.UID))}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	if err := p.writeVolumes(); err != nil {
		return nil, err
	}
	p.config = p.sandboxConfig()
	return p, os.MkdirAll(p.config.LogDirectory, 0o755)
}

// Labels kubelet sets, which many tools look at.
func podLabels(p *corev1.Pod) map[string]string {
	labels := map[string]string{
		"io.kubernetes.pod.name": p.Name, "io.kubernetes.pod.namespace": p.Namespace, "io.kubernetes.pod.uid": string(p.UID),
	}
	maps.Copy(labels, p.Labels)
	return labels
}

func (p *Pod) sandboxConfig() *cri.PodSandboxConfig {
	hostname := p.Spec.Spec.Hostname
	if hostname == "" {
		hostname = p.Spec.Name
	}
	annotations := map[string]string{"kubernetes.io/config.seen": "2026-01-01T00:00:00Z", "kubernetes.io/config.source": "api"}
	maps.Copy(annotations, p.Spec.Annotations)
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: p.Spec.Name, Uid: string(p.Spec.UID), Namespace: p.Spec.Namespace},
		Hostname:     hostname,
		LogDirectory: filepath.Join(p.node.Dir, "log", fmt.Sprintf("%s_%s_%s", p.Spec.Namespace, p.Spec.Name, p.Spec.UID)),
		DnsConfig:    &cri.DNSConfig{Servers: []string{p.node.subnet + ".1"}, Searches: []string{p.Spec.Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}, Options: []string{"ndots:5"}},
		PortMappings: p.portMappings(),
		Labels:       podLabels(p.Spec), Annotations: annotations,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: p.node.CgroupParent() + "/pod" + string(p.Spec.UID),
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: p.pidMode(), Ipc: cri.NamespaceMode_POD},
				Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
			},
			Overhead:  &cri.LinuxContainerResources{},
			Resources: p.resources(),
		},
	}
}

func (p *Pod) pidMode() cri.NamespaceMode {
	if s := p.Spec.Spec.ShareProcessNamespace; s != nil && *s {
		return cri.NamespaceMode_POD
	}
	return cri.NamespaceMode_CONTAINER
}

func (p *Pod) portMappings() []*cri.PortMapping {
	var out []*cri.PortMapping
	for _, c := range p.Spec.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				out = append(out, &cri.PortMapping{Protocol: cri.Protocol_TCP, ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP})
			}
		}
	}
	return out
}

// resources is the sum of the containers' limits, as kubelet tells the runtime since 1.23.
func (p *Pod) resources() *cri.LinuxContainerResources {
	var sum cri.LinuxContainerResources
	for _, c := range p.Spec.Spec.Containers {
		r := containerResources(&c)
		sum.CpuShares += r.CpuShares
		sum.CpuQuota += r.CpuQuota
		sum.MemoryLimitInBytes += r.MemoryLimitInBytes
		sum.CpuPeriod = r.CpuPeriod
	}
	return &sum
}

// Stop stops the sandbox, as kubelet does when the pod is to go.
func (p *Pod) Stop(ctx context.Context) error {
	return p.node.Runtime.StopPodSandbox(ctx, p.ID)
}

// Remove stops and removes containers and sandbox, and what kubelet had for them.
func (p *Pod) Remove(ctx context.Context) error {
	var errs []error
	for name, id := range p.Created {
		if err := p.node.Runtime.StopContainer(ctx, id, 0); err != nil {
			errs = append(errs, fmt.Errorf("stop container %q: %w", name, err))
		}
		if err := p.node.Runtime.RemoveContainer(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("remove container %q: %w", name, err))
		}
	}
	if err := p.node.Runtime.StopPodSandbox(ctx, p.ID); err != nil {
		errs = append(errs, fmt.Errorf("stop pod sandbox: %w", err))
	}
	if err := p.node.Runtime.RemovePodSandbox(ctx, p.ID); err != nil {
		errs = append(errs, fmt.Errorf("remove pod sandbox: %w", err))
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir), os.RemoveAll(p.config.LogDirectory), p.node.removeEmptyCgroup(p.config.Linux.CgroupParent))...)
}

// removeEmptyCgroup removes pods' own groups from each hierarchy, as kubelet does. A group that something is left in stays, and shows as held.
func (n *Node) removeEmptyCgroup(pattern string) error {
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + pattern)
	if err != nil {
		return err
	}
	unified, err := filepath.Glob("/sys/fs/cgroup" + pattern)
	if err != nil {
		return err
	}
	for _, top := range append(tops, unified...) {
		os.Remove(top) // what is left is for Held to find
	}
	return nil
}

// RemoveAll removes every pod that a case has left.
func (n *Node) RemoveAll(ctx context.Context) error {
	pods, err := n.Runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods {
		errs = append(errs, n.Runtime.StopPodSandbox(ctx, p.Id), n.Runtime.RemovePodSandbox(ctx, p.Id))
	}
	// Kubelet's groups of pods that did not start.
	errs = append(errs, n.removeEmptyCgroup(n.CgroupParent()+"/pod*"))
	return errors.Join(errs...)
}

// Process names of a pod's own.
const (
	shimProgram = "containerd-shim-cloister-v2"
	vmmProgram  = "qemu-system-x86_64"
)

// Processes finds a pod's shim and QEMU.
func (p *Pod) Processes() (shim, vmm int, err error) {
	found, err := p.node.processes()
	if err != nil {
		return 0, 0, err
	}
	for pid, cmdline := range found {
		if !strings.Contains(cmdline, p.ID) {
			continue
		}
		program, _, _ := strings.Cut(cmdline, " ")
		switch filepath.Base(program) {
		case shimProgram:
			shim = pid
		case vmmProgram:
			vmm = pid
		}
	}
	if shim == 0 || vmm == 0 {
		return 0, 0, fmt.Errorf("pod %q: got shim %d and QEMU %d, want both among %v", p.Spec.Name, shim, vmm, found)
	}
	return shim, vmm, nil
}
