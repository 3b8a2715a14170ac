package container

// fate says what becomes of a field of the wire's OCI specification (docs/architecture.md).
type fate string

const (
	judged   fate = "judged by the policy"
	taken    fate = "taken after a form and range check"
	replaced fate = "replaced by the agent's own"
	ignored  fate = "ignored"
	refused  fate = "refused when not empty"
	parts    fate = "holds fields of its own"
)

// fields has one entry for every field of the wire's OCI messages that a create request can carry.
var fields = map[string]fate{
	"Spec.Version":     replaced,
	"Spec.Process":     parts,
	"Spec.Root":        parts,
	"Spec.Hostname":    taken,
	"Spec.Mounts":      judged,
	"Spec.Hooks":       refused,
	"Spec.Annotations": ignored, // but for the ones in request.go
	"Spec.Linux":       parts,
	"Spec.Solaris":     refused,
	"Spec.Windows":     refused,

	"Process.Terminal":        taken,
	"Process.ConsoleSize":     taken,
	"Process.User":            judged,
	"Process.Args":            judged,
	"Process.Env":             judged,
	"Process.Cwd":             judged,
	"Process.Capabilities":    judged,
	"Process.Rlimits":         taken,
	"Process.NoNewPrivileges": judged,
	"Process.ApparmorProfile": ignored,
	"Process.OOMScoreAdj":     taken,
	"Process.SelinuxLabel":    ignored,

	"Root.Path":     replaced,
	"Root.Readonly": taken,

	"Linux.UIDMappings":       refused,
	"Linux.GIDMappings":       refused,
	"Linux.Sysctl":            taken,
	"Linux.Resources":         parts,
	"Linux.CgroupsPath":       replaced,
	"Linux.Namespaces":        replaced,
	"Linux.Devices":           refused,
	"Linux.Seccomp":           judged,
	"Linux.RootfsPropagation": replaced,
	"Linux.MaskedPaths":       replaced,
	"Linux.ReadonlyPaths":     replaced,
	"Linux.MountLabel":        ignored,
	"Linux.IntelRdt":          ignored,

	"LinuxResources.Devices":        ignored,
	"LinuxResources.Memory":         taken,
	"LinuxResources.CPU":            taken,
	"LinuxResources.Pids":           taken,
	"LinuxResources.BlockIO":        ignored,
	"LinuxResources.HugepageLimits": taken,
	"LinuxResources.Network":        ignored,
}
