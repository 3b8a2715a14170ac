package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Capabilities are the five sets of a process.
type Capabilities struct {
	Bounding, Effective, Inheritable, Permitted, Ambient []string
}

// defaultCapabilities are what containerd gives a container whose document says nothing.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// allCapabilities are those of Linux 5.9 and later, in the order of their numbers. Fixed, not asked of the running kernel:
// the machine that writes the policy is not the one that runs the pod.
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capabilitiesOf applies the document's add and drop lists as containerd does: "ALL" first, then single additions, then
// single removals. Inheritable and ambient stay empty.
func capabilitiesOf(sc *corev1.SecurityContext) (Capabilities, error) {
	set := slices.Clone(defaultCapabilities)
	if sc != nil && isTrue(sc.Privileged) {
		set = slices.Clone(allCapabilities)
	} else if sc != nil && sc.Capabilities != nil {
		add, err := capabilityNames(sc.Capabilities.Add)
		if err != nil {
			return Capabilities{}, fmt.Errorf("capabilities.add: %w", err)
		}
		drop, err := capabilityNames(sc.Capabilities.Drop)
		if err != nil {
			return Capabilities{}, fmt.Errorf("capabilities.drop: %w", err)
		}
		set = applyCapabilities(set, add, drop)
	}
	return Capabilities{Bounding: set, Effective: set, Permitted: set}, nil
}

func applyCapabilities(set, add, drop []string) []string {
	if slices.Contains(add, "ALL") {
		set = slices.Clone(allCapabilities)
	}
	if slices.Contains(drop, "ALL") {
		set = nil
	}
	for _, c := range add {
		if c != "ALL" && !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	return slices.DeleteFunc(set, func(c string) bool { return slices.Contains(drop, c) })
}

// capabilityNames takes names with and without CAP_, in any case, and refuses what Linux does not know.
func capabilityNames(list []corev1.Capability) ([]string, error) {
	var names []string
	for _, c := range list {
		name := strings.ToUpper(string(c))
		if name != "ALL" {
			name = "CAP_" + strings.TrimPrefix(name, "CAP_")
			if !slices.Contains(allCapabilities, name) {
				return nil, fmt.Errorf("%q is not a capability", clip(string(c)))
			}
		}
		names = append(names, name)
	}
	return names, nil
}
