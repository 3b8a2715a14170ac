package point

import (
	"encoding/json"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// Input is what one enforcement point is asked. Each point has its own struct, whose json tags are the Rego names. Strings in an
// input may come from the host.
type Input interface {
	Point() Point
}

// Mount is one mount of a container, with its source already resolved by the agent.
type Mount = aci.Mount

// User is a user or group as resolved in the container's own /etc/passwd and /etc/group. ID is decimal.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Capabilities are the five sets of a process. A nil set is an empty one.
type Capabilities struct {
	Bounding    []string `json:"bounding"`
	Effective   []string `json:"effective"`
	Inheritable []string `json:"inheritable"`
	Permitted   []string `json:"permitted"`
	Ambient     []string `json:"ambient"`
}

// Device is a device node the request asked for. A policy cannot allow any.
type Device struct {
	Path     string `json:"path"`
	Type     string `json:"type"`
	Major    int64  `json:"major"`
	Minor    int64  `json:"minor"`
	FileMode uint32 `json:"fileMode"`
	UID      uint32 `json:"uid"`
	GID      uint32 `json:"gid"`
}

// MountDeviceInput asks to mount a read-only layer disk. DeviceHash is the root the agent computed, Target and
// MountPathRegex are the agent's own.
type MountDeviceInput struct {
	Target         string `json:"target"`
	DeviceHash     string `json:"deviceHash"`
	MountPathRegex string `json:"mountPathRegex"`
}

// RWMountDeviceInput asks to mount a writable disk.
type RWMountDeviceInput struct {
	Target           string `json:"target"`
	Encrypted        bool   `json:"encrypted"`
	EnsureFilesystem bool   `json:"ensureFilesystem"`
	Filesystem       string `json:"filesystem"`
	MountPathRegex   string `json:"mountPathRegex"`
}

// MountBlockDevInput asks to hand a block device on as it is.
type MountBlockDevInput struct {
	Target string `json:"target"`
}

// UnmountDeviceInput asks to unmount a layer disk.
type UnmountDeviceInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// RWUnmountDeviceInput asks to unmount a writable disk.
type RWUnmountDeviceInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// UnmountBlockDevInput asks to take a block device back.
type UnmountBlockDevInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// MountOverlayInput asks to join layers to a root file system. LayerPaths are mount targets, top layer first.
type MountOverlayInput struct {
	ContainerID string   `json:"containerID"`
	LayerPaths  []string `json:"layerPaths"`
	Target      string   `json:"target"`
}

// UnmountOverlayInput asks to take a root file system down.
type UnmountOverlayInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// ScratchMountInput asks to use a directory as a container's writable layer.
type ScratchMountInput struct {
	Target    string `json:"target"`
	Encrypted bool   `json:"encrypted"`
}

// ScratchUnmountInput asks to give a writable layer up.
type ScratchUnmountInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// Plan9MountInput asks to mount a share of the host.
type Plan9MountInput struct {
	RootPrefix      string `json:"rootPrefix"`
	MountPathPrefix string `json:"mountPathPrefix"`
	Target          string `json:"target"`
}

// Plan9UnmountInput asks to unmount a share of the host.
type Plan9UnmountInput struct {
	UnmountTarget string `json:"unmountTarget"`
}

// CreateContainerInput asks to create a container from an OCI spec.
type CreateContainerInput struct {
	ContainerID          string       `json:"containerID"`
	ArgList              []string     `json:"argList"`
	EnvList              []string     `json:"envList"`
	WorkingDir           string       `json:"workingDir"`
	SandboxDir           string       `json:"sandboxDir"`
	HugePagesDir         string       `json:"hugePagesDir"`
	Mounts               []Mount      `json:"mounts"`
	Devices              []Device     `json:"devices"`
	Privileged           bool         `json:"privileged"`
	NoNewPrivileges      bool         `json:"noNewPrivileges"`
	User                 User         `json:"user"`
	Groups               []User       `json:"groups"`
	Umask                string       `json:"umask"`
	Capabilities         Capabilities `json:"capabilities"`
	SeccompProfileSHA256 string       `json:"seccompProfileSHA256"`
	IsSandboxContainer   bool         `json:"isSandboxContainer"`
}

// ExecInContainerInput asks to start a further process in a container.
type ExecInContainerInput struct {
	ContainerID     string       `json:"containerID"`
	ArgList         []string     `json:"argList"`
	EnvList         []string     `json:"envList"`
	WorkingDir      string       `json:"workingDir"`
	NoNewPrivileges bool         `json:"noNewPrivileges"`
	User            User         `json:"user"`
	Groups          []User       `json:"groups"`
	Umask           string       `json:"umask"`
	Capabilities    Capabilities `json:"capabilities"`
}

// ExecExternalInput asks to start a process in the utility VM itself.
type ExecExternalInput struct {
	ArgList    []string `json:"argList"`
	EnvList    []string `json:"envList"`
	WorkingDir string   `json:"workingDir"`
}

// ShutdownContainerInput asks to stop a container.
type ShutdownContainerInput struct {
	ContainerID string `json:"containerID"`
}

// SignalContainerProcessInput asks to signal a process. ArgList are the arguments the target was started with.
type SignalContainerProcessInput struct {
	ContainerID   string   `json:"containerID"`
	Signal        int      `json:"signal"`
	IsInitProcess bool     `json:"isInitProcess"`
	ArgList       []string `json:"argList"`
}

// GetPropertiesInput asks for process lists and statistics.
type GetPropertiesInput struct{}

// DumpStacksInput asks for the agent's own stacks.
type DumpStacksInput struct{}

// RuntimeLoggingInput asks, once, whether the agent's log may leave the guest.
type RuntimeLoggingInput struct{}

// HostNetworkInput asks to use the utility VM's own network namespace.
type HostNetworkInput struct{}

// LoadFragmentInput asks about a fragment: by its header first, and once more when its text is loaded.
type LoadFragmentInput struct {
	Issuer         string    `json:"issuer"`
	Feed           string    `json:"feed"`
	Namespace      string    `json:"namespace"`
	FragmentLoaded bool      `json:"fragment_loaded"`
	HasHeaderSVN   bool      `json:"has_header_svn"`
	HeaderSVN      *int64    `json:"header_svn"`
	Receipts       []Receipt `json:"receipts"`
}

// Receipt is a verified transparency receipt of a fragment.
type Receipt struct {
	Issuer      string   `json:"issuer"`
	TTLSubjects []string `json:"ttl_subjects"`
}

// LoadTransparencyTrustListInput asks to trust the keys of ledgers.
type LoadTransparencyTrustListInput struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	SVN     int64    `json:"svn"`
	Ledgers []string `json:"ledgers"`
}

// MountCIMsInput, RegistryChangesInput and LogProviderInput belong to Windows containers: the points exist in the api
// table, the framework refuses them.
type MountCIMsInput struct {
	ContainerID string   `json:"containerID"`
	LayerHashes []string `json:"layerHashes"`
	MountedCIM  []string `json:"mountedCim"`
}

// RegistryChangesInput asks to change the registry of a Windows container.
type RegistryChangesInput struct {
	ContainerID string `json:"containerID"`
	// RegistryChanges is whatever JSON the request has; no rule of ours reads it.
	RegistryChanges json.RawMessage `json:"registryChanges"`
}

// LogProviderInput asks to forward Windows event providers.
type LogProviderInput struct {
	Providers []string `json:"providers"`
}
