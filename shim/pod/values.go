package pod

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
)

// sysctlNames are the two the agent takes; both belong to the VM's network, which is the pod's.
var sysctlNames = map[string]bool{
	"net.ipv4.ip_unprivileged_port_start": true,
	"net.ipv4.ping_group_range":           true,
}

// checkValues refuses values of supported fields that have no meaning here.
func checkValues(doc *corev1.Pod) error {
	spec := &doc.Spec
	if !dnsSubdomain.MatchString(doc.Name) {
		return fmt.Errorf("metadata.name: %q is not a pod name", clip(doc.Name))
	}
	if spec.Hostname != "" && !dnsLabel.MatchString(spec.Hostname) {
		return fmt.Errorf("spec.hostname: %q is not a host name", clip(spec.Hostname))
	}
	if spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace {
		return fmt.Errorf("not supported: spec.shareProcessNamespace")
	}
	if len(spec.Containers) == 0 {
		return fmt.Errorf("spec.containers: is empty")
	}
	if sc := spec.SecurityContext; sc != nil {
		for i, s := range sc.Sysctls {
			if !sysctlNames[s.Name] {
				return fmt.Errorf("not supported: spec.securityContext.sysctls[%d] %q", i, clip(s.Name))
			}
		}
		if err := checkSeccomp(sc.SeccompProfile, "spec.securityContext"); err != nil {
			return err
		}
	}
	volumes, err := checkVolumes(spec.Volumes)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range spec.Containers {
		c, at := &spec.Containers[i], fmt.Sprintf("spec.containers[%d]", i)
		if !dnsLabel.MatchString(c.Name) || seen[c.Name] {
			return fmt.Errorf("%s.name: %q is not a container name or not the only one", at, clip(c.Name))
		}
		seen[c.Name] = true
		if err := checkContainer(c, at, volumes); err != nil {
			return err
		}
	}
	return nil
}

func checkVolumes(volumes []corev1.Volume) (map[string]bool, error) {
	names := map[string]bool{}
	for i, v := range volumes {
		at := fmt.Sprintf("spec.volumes[%d]", i)
		if !dnsLabel.MatchString(v.Name) || names[v.Name] {
			return nil, fmt.Errorf("%s.name: %q is not a volume name or not the only one", at, clip(v.Name))
		}
		if v.EmptyDir == nil {
			return nil, fmt.Errorf("%s: only emptyDir volumes are supported", at)
		}
		// Both media are the VM's own encrypted memory.
		if m := v.EmptyDir.Medium; m != corev1.StorageMediumDefault && m != corev1.StorageMediumMemory {
			return nil, fmt.Errorf("not supported: %s.emptyDir.medium %q", at, clip(string(m)))
		}
		names[v.Name] = true
	}
	return names, nil
}

func checkContainer(c *corev1.Container, at string, volumes map[string]bool) error {
	if c.Image == "" {
		return fmt.Errorf("%s.image: is empty", at)
	}
	for i, e := range c.Env {
		if !envName.MatchString(e.Name) {
			return fmt.Errorf("%s.env[%d].name: %q is not a variable name", at, i, clip(e.Name))
		}
	}
	for i, p := range c.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP && p.Protocol != corev1.ProtocolUDP {
			return fmt.Errorf("not supported: %s.ports[%d].protocol %q", at, i, clip(string(p.Protocol)))
		}
		if p.ContainerPort < 1 || p.ContainerPort > 65535 || p.HostPort < 0 || p.HostPort > 65535 {
			return fmt.Errorf("%s.ports[%d]: port is not in 1..65535", at, i)
		}
	}
	destinations := map[string]bool{}
	for i, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			return fmt.Errorf("%s.volumeMounts[%d].name: the pod has no volume %q", at, i, clip(m.Name))
		}
		if !cleanAbsolute(m.MountPath) || m.MountPath == "/" || destinations[m.MountPath] {
			return fmt.Errorf("%s.volumeMounts[%d].mountPath: %q is not a clean absolute path or not the only one", at, i, clip(m.MountPath))
		}
		destinations[m.MountPath] = true
	}
	for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
		for name, quantity := range list {
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
				return fmt.Errorf("not supported: %s.resources: %q", at, clip(string(name)))
			}
			if quantity.Sign() < 0 {
				return fmt.Errorf("%s.resources: %s is negative", at, name)
			}
		}
	}
	return checkSecurity(c.SecurityContext, at+".securityContext")
}

func checkSecurity(sc *corev1.SecurityContext, at string) error {
	if sc == nil {
		return nil
	}
	for field, id := range map[string]*int64{"runAsUser": sc.RunAsUser, "runAsGroup": sc.RunAsGroup} {
		if id != nil && (*id < 0 || *id > maxID) {
			return fmt.Errorf("%s.%s: %d is not an id", at, field, *id)
		}
	}
	if isTrue(sc.Privileged) && sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		return fmt.Errorf("%s: privileged contradicts allowPrivilegeEscalation: false", at)
	}
	return checkSeccomp(sc.SeccompProfile, at)
}

// checkSeccomp refuses profiles: the policy names one by its hash, and neither the runtime's default nor a file of the
// node is known where the policy is written.
func checkSeccomp(profile *corev1.SeccompProfile, at string) error {
	if profile != nil && profile.Type != corev1.SeccompProfileTypeUnconfined {
		return fmt.Errorf("not supported: %s.seccompProfile.type %q", at, clip(string(profile.Type)))
	}
	return nil
}

func cleanAbsolute(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}

func isTrue(b *bool) bool { return b != nil && *b }

// clip cuts a string of the document to what an error line can hold.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
