package aci

// Mount is one mount of a container, as a policy constrains it and as create_container asks for it.
type Mount struct {
	Destination string   `json:"destination"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
	Type        string   `json:"type"`
}

// DefaultMounts returns the mounts a CRI runtime adds to every container, which no policy has to list. The agent replaces
// each of them by its own fixed entry, so they are recognised, not obeyed. The three network files under /etc belong to
// a sandbox: Enforcer.AddDefaultMounts adds them.
func DefaultMounts() []Mount {
	return []Mount{
		{Destination: "/proc", Source: "proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{
			Destination: "/dev", Source: "tmpfs", Type: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"},
		},
		{
			Destination: "/dev/pts", Source: "devpts", Type: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		{
			Destination: "/dev/shm", Source: "shm", Type: "tmpfs",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"},
		},
		{Destination: "/dev/mqueue", Source: "mqueue", Type: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Source: "sysfs", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/run", Source: "tmpfs", Type: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{
			Destination: "/sys/fs/cgroup", Source: "cgroup", Type: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
		},
		{
			Destination: "/sys/fs/cgroup", Source: "cgroup", Type: "cgroup2",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
		},
	}
}

// PrivilegedMounts returns what a container with allow_elevated may mount besides: a writable /sys and cgroup tree.
func PrivilegedMounts() []Mount {
	return []Mount{
		{Destination: "/sys", Source: "sysfs", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "rw"}},
		{
			Destination: "/sys/fs/cgroup", Source: "cgroup", Type: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "rw"},
		},
		{
			Destination: "/sys/fs/cgroup", Source: "cgroup", Type: "cgroup2",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "rw"},
		},
	}
}
