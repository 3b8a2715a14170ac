package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
)

// view is what a process can say of its own confinement.
type view struct {
	Args       []string          `json:"args"`
	Cwd        string            `json:"cwd"`
	UID        int               `json:"uid"`
	GID        int               `json:"gid"`
	Groups     []int             `json:"groups"`
	Umask      int               `json:"umask"`
	PID        int               `json:"pid"`
	Hostname   string            `json:"hostname"`
	Status     map[string]string `json:"status"` // capabilities, NoNewPrivs and Seccomp of /proc/self/status
	Mounts     []mount           `json:"mounts"`
	Namespaces map[string]string `json:"namespaces"`
	Devices    []string          `json:"devices"`
	Rlimits    map[string]uint64 `json:"rlimits"`
	Resolv     string            `json:"resolv"`
	Hosts      string            `json:"hosts"`
}

type mount struct {
	Target  string `json:"target"`
	Type    string `json:"type"`
	Options string `json:"options"`
}

func inspect([]string) error {
	v := view{Args: os.Args, UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Umask: syscall.Umask(0)}
	v.Cwd, _ = os.Getwd()
	v.Groups, _ = os.Getgroups()
	v.Hostname, _ = os.Hostname()
	v.Status = status()
	v.Mounts = mounts()
	v.Namespaces = map[string]string{}
	for _, name := range []string{"mnt", "pid", "ipc", "uts", "net", "cgroup", "user"} {
		v.Namespaces[name], _ = os.Readlink("/proc/self/ns/" + name)
	}
	entries, _ := os.ReadDir("/dev")
	for _, e := range entries {
		v.Devices = append(v.Devices, e.Name())
	}
	var nofile syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &nofile) == nil {
		v.Rlimits = map[string]uint64{"nofile": nofile.Max}
	}
	v.Resolv, v.Hosts = content("/etc/resolv.conf"), content("/etc/hosts")
	return json.NewEncoder(os.Stdout).Encode(v)
}

func content(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

func status() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(content("/proc/self/status")) {
		key, value, _ := strings.Cut(line, ":")
		if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" || key == "Seccomp" {
			out[key] = strings.TrimSpace(value)
		}
	}
	return out
}

func mounts() []mount {
	var out []mount
	for line := range strings.Lines(content("/proc/self/mountinfo")) {
		left, right, ok := strings.Cut(line, " - ")
		fields, source := strings.Fields(left), strings.Fields(right)
		if ok && len(fields) > 5 && len(source) > 0 {
			out = append(out, mount{Target: fields[4], Options: fields[5], Type: source[0]})
		}
	}
	return out
}
