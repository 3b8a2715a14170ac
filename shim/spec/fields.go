package spec

// fate says what becomes of a field of the runtime specification.
type fate string

const (
	sent     fate = "sent"
	replaced fate = "replaced by what the guest makes of its own"
	leftOut  fate = "left out: it is about the host"
	noted    fate = "left out, with a note"
	refused  fate = "refused when not empty"
	parts    fate = "holds fields of its own"
)

// fields has one entry for every field of the specification's structs that a Linux container can have.
var fields = map[string]fate{
	"Spec.Version":     replaced,
	"Spec.Process":     parts,
	"Spec.Root":        parts,
	"Spec.Hostname":    leftOut, // Sandbox sends the pod's
	"Spec.Domainname":  noted,
	"Spec.Mounts":      parts,
	"Spec.Hooks":       refused,
	"Spec.Annotations": parts, // the ones in annotations.go are sent
	"Spec.Linux":       parts,
	"Spec.Solaris":     refused,
	"Spec.Windows":     refused,
	"Spec.VM":          refused,
	"Spec.ZOS":         refused,
	"Spec.FreeBSD":     refused,

	"Process.Terminal":        sent,
	"Process.ConsoleSize":     sent,
	"Process.User":            parts,
	"Process.Args":            sent,
	"Process.CommandLine":     refused,
	"Process.Env":             sent,
	"Process.Cwd":             sent,
	"Process.Capabilities":    sent,
	"Process.Rlimits":         sent,
	"Process.NoNewPrivileges": sent,
	"Process.ApparmorProfile": leftOut, // the guest's kernel has no AppArmor
	"Process.OOMScoreAdj":     sent,    // from 0 to 1000; what is below protects from the host's other processes
	"Process.Scheduler":       noted,
	"Process.SelinuxLabel":    leftOut,
	"Process.IOPriority":      noted,
	"Process.ExecCPUAffinity": noted,

	"User.UID":            sent,
	"User.GID":            sent,
	"User.Umask":          noted, // every container has 0022
	"User.AdditionalGids": sent,
	"User.Username":       sent,

	"Root.Path":     replaced,
	"Root.Readonly": sent,

	"Mount.Destination": sent,
	"Mount.Type":        sent,
	"Mount.Source":      sent, // by mounts.go
	"Mount.Options":     sent,
	"Mount.UIDMappings": refused,
	"Mount.GIDMappings": refused,

	"Linux.UIDMappings":       refused,
	"Linux.GIDMappings":       refused,
	"Linux.Sysctl":            sent,
	"Linux.Resources":         parts,
	"Linux.CgroupsPath":       leftOut, // the VM is in it
	"Linux.Namespaces":        replaced,
	"Linux.Devices":           refused,
	"Linux.NetDevices":        refused,
	"Linux.Seccomp":           sent, // but the runtime's default, by seccomp.go
	"Linux.RootfsPropagation": replaced,
	"Linux.MaskedPaths":       replaced,
	"Linux.ReadonlyPaths":     replaced,
	"Linux.MountLabel":        leftOut,
	"Linux.IntelRdt":          leftOut,
	"Linux.MemoryPolicy":      leftOut,
	"Linux.Personality":       refused,
	"Linux.TimeOffsets":       refused,

	"LinuxResources.Devices":        replaced,
	"LinuxResources.Memory":         parts,
	"LinuxResources.CPU":            parts,
	"LinuxResources.Pids":           sent,
	"LinuxResources.BlockIO":        leftOut,
	"LinuxResources.HugepageLimits": sent, // but zero limits: the guest has no huge pages
	"LinuxResources.Network":        leftOut,
	"LinuxResources.Rdma":           leftOut,
	"LinuxResources.Unified":        noted,

	"LinuxMemory.Limit":             sent,
	"LinuxMemory.Reservation":       sent,
	"LinuxMemory.Swap":              sent,
	"LinuxMemory.Kernel":            leftOut,
	"LinuxMemory.KernelTCP":         leftOut,
	"LinuxMemory.Swappiness":        leftOut,
	"LinuxMemory.DisableOOMKiller":  noted,
	"LinuxMemory.UseHierarchy":      leftOut,
	"LinuxMemory.CheckBeforeUpdate": leftOut,

	"LinuxCPU.Shares":          sent,
	"LinuxCPU.Quota":           sent,
	"LinuxCPU.Burst":           noted,
	"LinuxCPU.Period":          sent,
	"LinuxCPU.RealtimeRuntime": noted,
	"LinuxCPU.RealtimePeriod":  noted,
	"LinuxCPU.Cpus":            noted, // numbers of the host's processors
	"LinuxCPU.Mems":            noted,
	"LinuxCPU.Idle":            noted,
}
