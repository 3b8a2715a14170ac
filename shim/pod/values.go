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
func (p *Pod) checkValues() error {
	spec, at := &p.spec, p.at+"spec."
	if p.cluster == nil && !dnsSubdomain.MatchString(p.Name) {
		return fmt.Errorf("metadata.name: %q is not a pod name", clip(p.Name))
	}
	if spec.Hostname != "" && !dnsLabel.MatchString(spec.Hostname) {
		return fmt.Errorf("%shostname: %q is not a host name", at, clip(spec.Hostname))
	}
	if isTrue(spec.ShareProcessNamespace) {
		return fmt.Errorf("not supported: %sshareProcessNamespace", at)
	}
	if spec.HostUsers != nil && !*spec.HostUsers {
		return fmt.Errorf("not supported: %shostUsers: false", at)
	}
	if spec.OS != nil && spec.OS.Name != corev1.Linux {
		return fmt.Errorf("not supported: %sos.name %q", at, clip(string(spec.OS.Name)))
	}
	if len(spec.Containers) == 0 {
		return fmt.Errorf("%scontainers: is empty", at)
	}
	if err := p.checkPodSecurity(); err != nil {
		return err
	}
	volumes, err := p.checkVolumes()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range p.containers() {
		if !dnsLabel.MatchString(c.spec.Name) || seen[c.spec.Name] {
			return fmt.Errorf("%s.name: %q is not a container name or not the only one", c.at, clip(c.spec.Name))
		}
		seen[c.spec.Name] = true
		if err := p.checkContainer(c.spec, c.at, volumes); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pod) checkPodSecurity() error {
	sc, at := p.spec.SecurityContext, p.at+"spec.securityContext"
	if sc == nil {
		return nil
	}
	for i, s := range sc.Sysctls {
		if !sysctlNames[s.Name] {
			return fmt.Errorf("not supported: %s.sysctls[%d] %q", at, i, clip(s.Name))
		}
	}
	for _, id := range []struct {
		field string
		id    *int64
	}{{"runAsUser", sc.RunAsUser}, {"runAsGroup", sc.RunAsGroup}, {"fsGroup", sc.FSGroup}} {
		if err := checkID(id.id, at+"."+id.field); err != nil {
			return err
		}
	}
	if s := sc.SupplementalGroupsPolicy; s != nil && *s != corev1.SupplementalGroupsPolicyMerge && *s != corev1.SupplementalGroupsPolicyStrict {
		return fmt.Errorf("not supported: %s.supplementalGroupsPolicy %q", at, clip(string(*s)))
	}
	if err := checkAppArmor(sc.AppArmorProfile, at); err != nil {
		return err
	}
	_, err := p.seccomp(sc.SeccompProfile, at)
	return err
}

func checkID(id *int64, at string) error {
	if id != nil && (*id < 0 || *id > maxID) {
		return fmt.Errorf("%s: %d is not an id", at, *id)
	}
	return nil
}

func (p *Pod) checkVolumes() (map[string]corev1.VolumeSource, error) {
	volumes := map[string]corev1.VolumeSource{}
	for i, v := range p.spec.Volumes {
		at := fmt.Sprintf("%sspec.volumes[%d]", p.at, i)
		if _, twice := volumes[v.Name]; twice || !dnsLabel.MatchString(v.Name) {
			return nil, fmt.Errorf("%s.name: %q is not a volume name or not the only one", at, clip(v.Name))
		}
		if !isStaged(v.VolumeSource) && v.EmptyDir == nil {
			return nil, fmt.Errorf("%s: only emptyDir volumes are supported", at)
		}
		// Both media are the VM's own encrypted memory.
		if v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumDefault && v.EmptyDir.Medium != corev1.StorageMediumMemory {
			return nil, fmt.Errorf("not supported: %s.emptyDir.medium %q", at, clip(string(v.EmptyDir.Medium)))
		}
		volumes[v.Name] = v.VolumeSource
	}
	return volumes, nil
}

func (p *Pod) checkContainer(c *corev1.Container, at string, volumes map[string]corev1.VolumeSource) error {
	if c.Image == "" {
		return fmt.Errorf("%s.image: is empty", at)
	}
	for i, e := range c.Env {
		if !envName.MatchString(e.Name) {
			return fmt.Errorf("%s.env[%d].name: %q is not a variable name", at, i, clip(e.Name))
		}
		if e.Value != "" && e.ValueFrom != nil {
			return fmt.Errorf("%s.env[%d]: has both value and valueFrom", at, i)
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
	if err := checkMounts(c, at, volumes); err != nil {
		return err
	}
	for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
		for name, quantity := range list {
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory && (p.cluster == nil || name != corev1.ResourceEphemeralStorage) {
				return fmt.Errorf("not supported: %s.resources: %q", at, clip(string(name)))
			}
			if quantity.Sign() < 0 {
				return fmt.Errorf("%s.resources: %s is negative", at, name)
			}
		}
	}
	return p.checkSecurity(c.SecurityContext, at+".securityContext")
}

func (p *Pod) checkSecurity(sc *corev1.SecurityContext, at string) error {
	if sc == nil {
		return nil
	}
	if err := checkID(sc.RunAsUser, at+".runAsUser"); err != nil {
		return err
	}
	if err := checkID(sc.RunAsGroup, at+".runAsGroup"); err != nil {
		return err
	}
	if isTrue(sc.Privileged) && sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		return fmt.Errorf("%s: privileged contradicts allowPrivilegeEscalation: false", at)
	}
	if sc.ProcMount != nil && *sc.ProcMount != corev1.DefaultProcMount {
		return fmt.Errorf("not supported: %s.procMount %q", at, clip(string(*sc.ProcMount)))
	}
	if err := checkAppArmor(sc.AppArmorProfile, at); err != nil {
		return err
	}
	_, err := p.seccomp(sc.SeccompProfile, at)
	return err
}

// checkAppArmor refuses profiles: the guest kernel has none. The runtime's default is asked for where there is one.
func checkAppArmor(profile *corev1.AppArmorProfile, at string) error {
	if profile != nil && profile.Type != corev1.AppArmorProfileTypeUnconfined && profile.Type != corev1.AppArmorProfileTypeRuntimeDefault {
		return fmt.Errorf("not supported: %s.appArmorProfile.type %q", at, clip(string(profile.Type)))
	}
	return nil
}

// seccomp is the SHA-256 of the profile that a container is started with, "" for none. The policy names a profile by its
// hash, and neither the runtime's default nor a file of the node is known where the policy is written: it has to be given.
func (p *Pod) seccomp(profile *corev1.SeccompProfile, at string) (string, error) {
	if profile == nil || profile.Type == corev1.SeccompProfileTypeUnconfined {
		return "", nil
	}
	name := string(profile.Type)
	if profile.Type == corev1.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil {
		name = *profile.LocalhostProfile
	}
	if p.cluster != nil {
		if sum, ok := p.cluster.Seccomp[name]; ok {
			return sum, nil
		}
		return "", fmt.Errorf("%s.seccompProfile: the profile %q is the node's and not known here (--seccomp %s=FILE gives it, --seccomp %s=none says that the runtime sends none)",
			at, clip(name), clip(name), clip(name))
	}
	return "", fmt.Errorf("not supported: %s.seccompProfile.type %q", at, clip(string(profile.Type)))
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
