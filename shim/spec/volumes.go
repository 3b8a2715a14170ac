package spec

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/staging"
)

// Kind says what a mount of a specification is.
type Kind int

// The kinds of mounts.
const (
	Guest     Kind = iota // the guest's own: /proc, a tmpfs, a name the agent knows already
	Pod                   // /etc/hosts, /etc/hostname, /etc/resolv.conf: the agent writes them
	Directory             // an emptyDir: a directory of the pod in the guest
	Copy                  // files that are copied into the guest
	Image                 // a directory for a VOLUME of the image, where the image's own directory does
	Refused               // of the host
)

// Volume is what a mount of a specification stands for.
type Volume struct {
	Kind Kind
	Name string // of the Kubernetes volume; empty where there is none
	// Own says that kubelet or containerd adds the mount by itself: no pod document names it.
	Own bool
	Why string // for Refused
}

// Prefixes of the agent's names for sources (agent API contract, mounts).
const (
	sandboxPrefix   = "sandbox://"
	hugePagesPrefix = "hugepages://"
	grantPrefix     = "cloister://"
)

// Default is the agent's name for an emptyDir where the policy has no other.
func (v Volume) Default() string { return sandboxPrefix + "/emptydir/" + v.Name }

var (
	// kubelet's directory of a pod, wherever its root is: uid, and what is below. Nothing but a pod's own directory has a component of this form before such
	// names.
	podPath = regexp.MustCompile(`/pods/([A-Za-z0-9-]+)/(volumes|volume-subpaths|containers|etc-hosts)(/.*)?$`)
	// imageVolume is where containerd's CRI makes the directory for an image's VOLUME.
	imageVolume = regexp.MustCompile(`/containers/[0-9a-f]{64}/volumes/[0-9a-f]{64}$`)
	// tokenPath is where kubelet mounts a service account's token when nobody asked for it.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// copiedPlugins are kubelet's names of the volume plugins whose volumes are small files that kubelet writes.
var copiedPlugins = []string{"kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"}

const emptyDirPlugin = "kubernetes.io~empty-dir"

// podFiles are the files that the agent writes from the sandbox's request.
var podFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// VolumeOf says what a mount stands for. annotations are the specification's: kubelet's directories of other pods are not this pod's.
func VolumeOf(m specs.Mount, annotations map[string]string) Volume {
	if isFixed(m) {
		return Volume{Kind: Guest}
	}
	if m.Type != "bind" && !hasOption(m.Options, "bind") && !hasOption(m.Options, "rbind") {
		if m.Type == "tmpfs" {
			return Volume{Kind: Guest}
		}
		return Volume{Kind: Refused, Why: "the guest does not mount the type " + clip(m.Type)}
	}
	for _, prefix := range []string{sandboxPrefix, hugePagesPrefix, grantPrefix, staging.SharedDir} {
		if strings.HasPrefix(m.Source, prefix) {
			return Volume{Kind: Guest}
		}
	}
	v := hostVolume(m, annotations)
	if slices.Contains(podFiles, m.Destination) && !(m.Destination == "/etc/hosts" && v.Kind == Copy) {
		return Volume{Kind: Pod, Own: true}
	}
	return v
}

// isFixed says whether the agent puts its own entry in a mount's place.
func isFixed(m specs.Mount) bool {
	_, own := container.SplitMounts([]specs.Mount{m}, false)
	return len(own) == 0
}

func hostVolume(m specs.Mount, annotations map[string]string) Volume {
	source := path.Clean(m.Source)
	if imageVolume.MatchString(source) {
		return Volume{Kind: Image, Own: true}
	}
	at := podPath.FindStringSubmatchIndex(source)
	if at == nil {
		return Volume{Kind: Refused, Why: "files and directories of the host are not given to the guest (a hostPath volume?)"}
	}
	uid, kind, rest := source[at[2]:at[3]], source[at[4]:at[5]], ""
	if at[6] >= 0 {
		rest = strings.Trim(source[at[6]:at[7]], "/")
	}
	if own := annotations[annotationSandboxUID]; own != "" && own != uid {
		return Volume{Kind: Refused, Why: "the directory is another pod's"}
	}
	names := strings.Split(rest, "/")
	switch {
	case kind == "etc-hosts" && rest == "" && m.Destination == "/etc/hosts":
		return Volume{Kind: Copy, Own: true}
	case kind == "containers" && len(names) == 2:
		return Volume{Kind: Copy, Own: true} // the termination message: an empty file
	case kind == "volumes" && len(names) == 2:
		return pluginVolume(names[0], names[1], m.Destination)
	case kind == "volume-subpaths" && len(names) == 3:
		return subPath(filepath.Join(source[:at[4]], "volumes"), names[0])
	case kind == "volumes" && len(names) > 2:
		// A subPath on kernels where kubelet needs no mount of its own for it.
		v := pluginVolume(names[0], names[1], m.Destination)
		if v.Kind == Copy {
			return v
		}
		return refusedSubPath(v)
	}
	return Volume{Kind: Refused, Why: "it is none of kubelet's directories that hold a volume"}
}

func pluginVolume(plugin, name, destination string) Volume {
	switch {
	case plugin == emptyDirPlugin:
		return Volume{Kind: Directory, Name: name}
	case slices.Contains(copiedPlugins, plugin):
		own := plugin == "kubernetes.io~projected" && destination == tokenPath && strings.HasPrefix(name, "kube-api-access-")
		return Volume{Kind: Copy, Name: name, Own: own}
	}
	return Volume{Kind: Refused, Name: name, Why: "volumes of " + clip(strings.Replace(plugin, "~", "/", 1)) + " are the host's and not supported"}
}

// subPath finds the volume that a subPath is of: kubelet's path for it names the volume and not its plugin.
func subPath(volumes, name string) Volume {
	for _, plugin := range copiedPlugins {
		if st, err := os.Lstat(filepath.Join(volumes, plugin, name)); err == nil && st.IsDir() {
			return Volume{Kind: Copy, Name: name}
		}
	}
	return refusedSubPath(Volume{Name: name})
}

func refusedSubPath(v Volume) Volume {
	if v.Kind == Refused && v.Why != "" {
		return v
	}
	return Volume{Kind: Refused, Name: v.Name, Why: "a subPath is supported of ConfigMaps, Secrets, projected and downward API volumes only"}
}

// Copied are the mounts whose files the guest must be given as copies, in the specification's order: ConfigMaps, Secrets, tokens, the termination message, kubelet's
// hosts file. A mount that the guest cannot be given at all is an error.
func Copied(s *specs.Spec) ([]specs.Mount, error) {
	var out []specs.Mount
	for _, m := range s.Mounts {
		switch v := VolumeOf(m, s.Annotations); v.Kind {
		case Copy:
			out = append(out, m)
		case Refused:
			return nil, refuse(mountField(m), "%s", v.Why)
		case Guest, Pod, Directory, Image:
		}
	}
	return out, nil
}

func mountField(m specs.Mount) string { return "Mounts[" + clip(m.Destination) + "]" }

// copyName is what the last part of a copied file's name may be made of.
var copyName = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// CopyName is the last part of the name that the guest has for a copied mount, by which the policy knows it: the last component of its destination (agent API
// contract, section 1.5), with what a name cannot hold replaced.
func CopyName(destination string) string {
	const most = 128
	name := copyName.ReplaceAllString(path.Base(path.Clean(destination)), "_")
	if name == "." || name == ".." || name == "" {
		return "_"
	}
	return name[:min(len(name), most)]
}
