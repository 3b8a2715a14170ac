package container

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A fixedMount is a mount that every container runtime asks for in its own words. The agent recognises it by destination and
// type and puts its own entry in its place, in the policy's input too, so that a containerd upgrade that changes an option
// cannot break a policy (docs/architecture.md).
type fixedMount struct {
	types  []string // types by which a request's mount is recognised
	always bool     // given whether or not the request asks for it
	never  bool     // not given even when it asks
	entry  specs.Mount
	rw     *specs.Mount // the writable variant, for privileged containers that ask for it
}

// fixedMounts, in the order they are mounted.
var fixedMounts = []fixedMount{
	{types: []string{"proc"}, always: true, entry: mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev")},
	{types: []string{"tmpfs"}, always: true, entry: mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")},
	{types: []string{"devpts"}, always: true, entry: mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")},
	{types: []string{"tmpfs", "bind"}, always: true, entry: mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")},
	{types: []string{"mqueue"}, always: true, entry: mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")},
	{
		types: []string{"sysfs"}, always: true, entry: mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		rw: ptr(mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "rw")),
	},
	{
		types: []string{"cgroup", "cgroup2"}, always: true, entry: mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		rw: ptr(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "rw")),
	},
	// Some runtimes put a tmpfs over /run. It would hide what the image has there, and policies take it without mention: it is not mounted.
	{types: []string{"tmpfs"}, entry: mount("/run", "tmpfs", "tmpfs"), never: true},
}

func mount(dest, typ, source string, options ...string) specs.Mount {
	return specs.Mount{Destination: dest, Type: typ, Source: source, Options: options}
}

func ptr[T any](v T) *T { return &v }

// SplitMounts separates a request's mounts into the agent's fixed entries and what the workload itself asks for.
func SplitMounts(requested []specs.Mount, privileged bool) (fixed, own []specs.Mount) {
	asked := map[string]specs.Mount{}
	for _, m := range requested {
		f := findFixed(m)
		if f == nil {
			own = append(own, m)
			continue
		}
		asked[m.Destination] = m
	}
	for _, f := range fixedMounts {
		m, ok := asked[f.entry.Destination]
		switch {
		case f.never:
		case ok && privileged && f.rw != nil && slices.Contains(m.Options, "rw"):
			fixed = append(fixed, *f.rw)
		case ok || f.always:
			fixed = append(fixed, f.entry)
		}
	}
	return fixed, own
}

func findFixed(m specs.Mount) *fixedMount {
	for i := range fixedMounts {
		if f := &fixedMounts[i]; f.entry.Destination == m.Destination && slices.Contains(f.types, m.Type) {
			return f
		}
	}
	return nil
}

// The paths that no unprivileged container sees, whatever the request says (docs/architecture.md).
var (
	defaultMasked = []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	defaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)
