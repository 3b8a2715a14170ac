package pod

import (
	"fmt"
	"path"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// stagedBase is what the last component of a destination may be: the guest finds what the host copied by it.
var stagedBase = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// isStaged tells whether a volume is files that the host copies into the guest.
func isStaged(v corev1.VolumeSource) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

func checkMounts(c *corev1.Container, at string, volumes map[string]corev1.VolumeSource) error {
	destinations := map[string]bool{}
	for i, m := range c.VolumeMounts {
		at := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		volume, ok := volumes[m.Name]
		if !ok {
			return fmt.Errorf("%s.name: the pod has no volume %q", at, clip(m.Name))
		}
		if !cleanAbsolute(m.MountPath) || m.MountPath == "/" || destinations[m.MountPath] {
			return fmt.Errorf("%s.mountPath: %q is not a clean absolute path or not the only one", at, clip(m.MountPath))
		}
		destinations[m.MountPath] = true
		if r := m.RecursiveReadOnly; r != nil && *r != corev1.RecursiveReadOnlyDisabled && *r != corev1.RecursiveReadOnlyIfPossible {
			return fmt.Errorf("not supported: %s.recursiveReadOnly %q", at, clip(string(*r)))
		}
		if p := m.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
			return fmt.Errorf("not supported: %s.mountPropagation %q", at, clip(string(*p)))
		}
		if m.SubPath != "" && !isStaged(volume) {
			return fmt.Errorf("not supported: %s.subPath of an emptyDir", at)
		}
		if isStaged(volume) && !stagedBase.MatchString(path.Base(m.MountPath)) {
			return fmt.Errorf("%s.mountPath: the last component of %q has characters that the guest does not take", at, clip(m.MountPath))
		}
	}
	if p := c.TerminationMessagePath; p != "" && (!cleanAbsolute(p) || !stagedBase.MatchString(path.Base(p)) || destinations[p]) {
		return fmt.Errorf("%s.terminationMessagePath: %q is not a clean absolute path or a volume is mounted there", at, clip(p))
	}
	return nil
}

// terminationLog is the API server's default.
const terminationLog = "/dev/termination-log"

// setMounts lists volumes, what a cluster adds, and grants.
func (p *Pod) setMounts(c *Container, spec *corev1.Container) error {
	for _, m := range spec.VolumeMounts {
		c.Mounts = append(c.Mounts, p.mountOf(m))
	}
	if p.cluster != nil {
		p.addClusterMounts(c, spec)
	}
	for _, g := range c.Grants {
		mount := grantMounts[g]
		if c.mountedAt(mount.Destination) {
			return fmt.Errorf("grant %q: a volume is mounted at %q", g, mount.Destination)
		}
		mount.Options = slices.Clone(mount.Options)
		c.Mounts = append(c.Mounts, mount)
	}
	return nil
}

// mountOf is a volume's mount. An emptyDir is a directory below the sandbox's own in the guest: the host gives no bytes for
// it and names no path. The other kinds are always read-only, as kubelet mounts them.
func (p *Pod) mountOf(m corev1.VolumeMount) Mount {
	i := slices.IndexFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	if isStaged(p.spec.Volumes[i].VolumeSource) {
		return stagedMount(m.MountPath, "ro")
	}
	mode := "rw"
	if m.ReadOnly {
		mode = "ro"
	}
	return Mount{
		Destination: m.MountPath, Source: "sandbox:///emptydir/" + m.Name, Type: "bind",
		Options: []string{"rbind", "rshared", mode},
	}
}

// stagedMount is a mount of what the host copied; the agent's name for it ends as the destination does (agent API contract,
// section 2). The source is a pattern.
func stagedMount(destination, mode string) Mount {
	return Mount{
		Destination: destination, Source: "sandbox:///shared/" + regexp.QuoteMeta(path.Base(destination)), Type: "bind",
		Options: []string{"rbind", "rprivate", mode},
	}
}

// addClusterMounts lists what API server and kubelet add to every container.
func (p *Pod) addClusterMounts(c *Container, spec *corev1.Container) {
	if p.cluster.automounts(&p.spec) && !c.mountedAt(tokenPath) {
		c.Mounts = append(c.Mounts, stagedMount(tokenPath, "ro"))
	}
	message := spec.TerminationMessagePath
	if message == "" {
		message = terminationLog
	}
	if !c.mountedAt(message) {
		c.Mounts = append(c.Mounts, stagedMount(message, "rw"))
	}
}

func (c *Container) mountedAt(destination string) bool {
	return slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Destination == destination })
}
