package pod

import (
	"maps"
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// Annotations the agent reads; the names under io.kubernetes.cri are containerd's.
const (
	annotationContainerType = "io.kubernetes.cri.container-type"
	annotationSandboxID     = "io.kubernetes.cri.sandbox-id"
	annotationContainerName = "io.kubernetes.cri.container-name"
	annotationImageName     = "io.kubernetes.cri.image-name"
	annotationPrivileged    = "io.cloister.privileged"
)

// Names are what the host calls things; none of them is a path the guest opens.
type Names struct {
	SandboxID   string
	ContainerID string
}

// RootPath is where the rootfs of a container is said to be: it links the overlay storage of a create request with its
// OCI spec, and the agent replaces it.
func RootPath(containerID string) string {
	return path.Join("/run/kata-containers", containerID, "rootfs")
}

// OCI is the runtime spec of the create request, as containerd 2 and a Kata shim would send it.
func (c *Container) OCI(names Names) *api.Spec {
	annotations := map[string]string{
		annotationContainerType: "container",
		annotationSandboxID:     names.SandboxID,
		annotationContainerName: c.Name,
		annotationImageName:     c.ImageRef,
	}
	if c.Privileged {
		annotations[annotationPrivileged] = "true"
	}
	return &api.Spec{
		Version:     specs.Version,
		Process:     c.process(),
		Root:        &api.Root{Path: RootPath(names.ContainerID), Readonly: c.ReadonlyRootfs},
		Mounts:      c.ociMounts(),
		Annotations: annotations,
		Linux:       c.linux(names),
	}
}

func (c *Container) process() *api.Process {
	caps := c.Capabilities
	return &api.Process{
		Terminal: c.Terminal,
		User:     &api.User{UID: c.UID, GID: c.GID, AdditionalGids: slices.Clone(c.AdditionalGIDs)},
		Args:     slices.Clone(c.Args),
		Env:      slices.Clone(c.Env),
		Cwd:      c.Cwd,
		Capabilities: &api.LinuxCapabilities{
			Bounding: slices.Clone(caps.Bounding), Effective: slices.Clone(caps.Effective),
			Inheritable: slices.Clone(caps.Inheritable), Permitted: slices.Clone(caps.Permitted),
			Ambient: slices.Clone(caps.Ambient),
		},
		NoNewPrivileges: c.NoNewPrivileges,
	}
}

// ociMounts are containerd's standard mounts, which the agent replaces by its own, then the container's.
func (c *Container) ociMounts() []*api.Mount {
	access := "ro"
	if c.Privileged {
		access = "rw"
	}
	standard := []Mount{
		{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
		{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{"/dev/shm", "shm", "tmpfs", []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{"/dev/mqueue", "mqueue", "mqueue", []string{"nosuid", "noexec", "nodev"}},
		{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", access}},
		{"/sys/fs/cgroup", "cgroup", "cgroup", []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	var out []*api.Mount
	for _, m := range slices.Concat(standard, c.Mounts) {
		out = append(out, &api.Mount{
			Destination: m.Destination, Source: m.Source, Type: m.Type, Options: slices.Clone(m.Options),
		})
	}
	return out
}

// maskedPaths and readonlyPaths are what containerd sends; the agent keeps at least its own.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func (c *Container) linux(names Names) *api.Linux {
	l := &api.Linux{
		Sysctl:      maps.Clone(c.Sysctls),
		CgroupsPath: path.Join("/kubepods", names.SandboxID, names.ContainerID),
		// The network is the VM's: a Kata shim sends no network namespace.
		Namespaces: []*api.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
		Resources:  c.Resources.oci(),
	}
	if !c.Privileged {
		l.MaskedPaths, l.ReadonlyPaths = slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
	}
	return l
}

func (r Resources) oci() *api.LinuxResources {
	out := &api.LinuxResources{}
	if r.MemoryLimit > 0 {
		out.Memory = &api.LinuxMemory{Limit: r.MemoryLimit}
	}
	if r.CPUQuota > 0 || r.CPUShares > 0 {
		out.CPU = &api.LinuxCPU{Shares: r.CPUShares, Quota: r.CPUQuota, Period: r.CPUPeriod}
	}
	return out
}
