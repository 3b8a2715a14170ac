package spec

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// check refuses what the guest cannot be given and what must not be dropped in silence.
func check(s *specs.Spec) error {
	switch {
	case s == nil:
		return refuse("Spec", "is missing")
	case s.Process == nil:
		return refuse("Process", "is missing")
	case s.Solaris != nil || s.Windows != nil || s.VM != nil || s.ZOS != nil || s.FreeBSD != nil:
		return refuse("Spec", "it has a section for another platform than Linux")
	case hooks(s.Hooks) > 0:
		return refuse("Hooks", "programs of the host are not run in the guest, and not on the host for a guest")
	}
	if err := checkAnnotations(s); err != nil {
		return err
	}
	return checkLinux(s)
}

func hooks(h *specs.Hooks) int {
	if h == nil {
		return 0
	}
	//lint:ignore SA1019 prestart hooks are deprecated, and still refused
	return len(h.Prestart) + len(h.CreateRuntime) + len(h.CreateContainer) + len(h.StartContainer) + len(h.Poststart) + len(h.Poststop)
}

func checkLinux(s *specs.Spec) error {
	l := s.Linux
	switch {
	case l == nil:
		return nil
	case len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0:
		return refuse("Linux.UIDMappings", "user namespaces are not supported")
	case len(l.Devices) > 0 && !isPrivileged(s):
		return refuse("Linux.Devices", "devices of the host are not given to containers (%s)", clip(l.Devices[0].Path))
	case len(l.NetDevices) > 0:
		return refuse("Linux.NetDevices", "network devices of the host are not given to containers")
	case l.Personality != nil:
		return refuse("Linux.Personality", "is not supported")
	case len(l.TimeOffsets) > 0:
		return refuse("Linux.TimeOffsets", "time namespaces are not supported")
	}
	return checkNamespaces(l.Namespaces)
}

// checkNamespaces refuses a share in the host's own namespaces. Paths of others are the host's view of the pod; the guest makes its own.
func checkNamespaces(list []specs.LinuxNamespace) error {
	if len(list) == 0 {
		return nil // a specification that leaves them to the runtime
	}
	has := map[specs.LinuxNamespaceType]bool{}
	for _, n := range list {
		has[n.Type] = true
	}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		why  string
	}{
		{specs.NetworkNamespace, "the host's network is not given to a pod (hostNetwork)"},
		{specs.PIDNamespace, "the host's processes are not shown to a pod (hostPID)"},
		{specs.IPCNamespace, "the host's shared memory is not given to a pod (hostIPC)"},
	} {
		if !has[n.kind] {
			return refuse(fmt.Sprintf("Linux.Namespaces[%s]", n.kind), "%s", n.why)
		}
	}
	switch {
	case has[specs.UserNamespace]:
		return refuse("Linux.Namespaces[user]", "user namespaces are not supported")
	case has[specs.TimeNamespace]:
		return refuse("Linux.Namespaces[time]", "time namespaces are not supported")
	}
	return nil
}

// dropped are notes of what is left out although somebody may have asked for it.
func dropped(s *specs.Spec) []Note {
	var notes []Note
	note := func(is bool, field, why string) {
		if is {
			notes = append(notes, Note{field, "left out", why})
		}
	}
	p := s.Process
	note(s.Domainname != "", "Domainname", "the guest has none")
	note(p.User.Umask != nil && *p.User.Umask != 0o022, "Process.User.Umask", "every container has 0022")
	note(p.Scheduler != nil, "Process.Scheduler", "the guest schedules its processes itself")
	note(p.IOPriority != nil, "Process.IOPriority", "the guest schedules its processes itself")
	note(p.ExecCPUAffinity != nil, "Process.ExecCPUAffinity", "numbers of the host's processors mean nothing in the guest")
	l := s.Linux
	if l == nil {
		return notes
	}
	note(len(l.Devices) > 0, "Linux.Devices", "devices of the host are not given to containers, privileged or not")
	for _, n := range l.Namespaces {
		note(n.Type == specs.PIDNamespace && n.Path != "", "Linux.Namespaces[pid]", "containers of a pod do not share their processes; each has its own")
	}
	return append(notes, droppedResources(l.Resources)...)
}
