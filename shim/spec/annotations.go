package spec

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The annotations that containerd's CRI writes and the agent reads, and ours.
const (
	annotationType       = "io.kubernetes.cri.container-type"
	annotationSandboxID  = "io.kubernetes.cri.sandbox-id"
	annotationSandboxUID = "io.kubernetes.cri.sandbox-uid"
	annotationName       = "io.kubernetes.cri.container-name"
	annotationPod        = "io.kubernetes.cri.sandbox-name"
	annotationNamespace  = "io.kubernetes.cri.sandbox-namespace"
	annotationImage      = "io.kubernetes.cri.image-name"

	annotationPrivileged = "io.cloister.privileged"
	annotationGrants     = "io.cloister.grants/"

	annotationCDI = "cdi.k8s.io/"
)

const (
	typeSandbox   = "sandbox"
	typeContainer = "container"
)

// IsSandbox says whether the specification is of a pod's sandbox container, by containerd's annotation.
func IsSandbox(s *specs.Spec) bool { return s.Annotations[annotationType] == typeSandbox }

// SandboxID is the pod that the specification belongs to, by containerd's annotation; "" when it does not say, as with `ctr run`.
func SandboxID(s *specs.Spec) string { return s.Annotations[annotationSandboxID] }

// annotations are those of the request: names that the agent repeats in evidence as the host's word, and what it decides by.
func (in *Input) annotations() map[string]string {
	out := map[string]string{annotationType: typeContainer, annotationSandboxID: in.SandboxID}
	if in.Sandbox {
		out[annotationType] = typeSandbox
	}
	for _, key := range []string{annotationName, annotationPod, annotationNamespace, annotationImage} {
		if v := in.Spec.Annotations[key]; v != "" {
			out[key] = v
		}
	}
	if isPrivileged(in.Spec) {
		out[annotationPrivileged] = "true"
	}
	return out
}

// isPrivileged: by our annotation, or as containerd's CRI writes a privileged container: nothing masked, and /sys writable. A container that merely has an unmasked /proc
// is not.
func isPrivileged(s *specs.Spec) bool {
	if v, ok := s.Annotations[annotationPrivileged]; ok {
		return v == "true"
	}
	if s.Linux == nil || len(s.Linux.MaskedPaths) != 0 || len(s.Linux.ReadonlyPaths) != 0 {
		return false
	}
	for _, m := range s.Mounts {
		if m.Destination == "/sys" && m.Type == "sysfs" {
			return !hasOption(m.Options, "ro")
		}
	}
	return false
}

func hasOption(options []string, want string) bool {
	for _, o := range options {
		if o == want {
			return true
		}
	}
	return false
}

// checkAnnotations refuses devices that a container asks for by annotation.
func checkAnnotations(s *specs.Spec) error {
	for key := range s.Annotations {
		if strings.HasPrefix(key, annotationCDI) {
			return refuse("Annotations["+clip(key)+"]", "devices of the host are not given to containers")
		}
	}
	return nil
}

// clip bounds what a message repeats of a specification.
func clip(s string) string {
	const most = 128
	s = strings.ToValidUTF8(s, "?")
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
