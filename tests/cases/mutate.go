package cases

import (
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// mutate changes one thing in a request. What comes out may by chance be allowed as well.
func (w *walk) mutate(in enforcer.Input) enforcer.Input {
	s := w.s
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		return w.mutateCreate(in)
	case enforcer.ExecInContainerInput:
		return w.mutateExec(in)
	case enforcer.ExecExternalInput:
		switch s.IntN(3) {
		case 0:
			in.ArgList = changeList(s, in.ArgList, execCommands[1])
		case 1:
			in.EnvList = w.changeEnv(in.EnvList)
		case 2:
			in.WorkingDir = pick(s, workingDirs...)
		}
		return in
	case enforcer.SignalContainerProcessInput:
		switch s.IntN(4) {
		case 0:
			in.Signal = pick(s, signalNumbers...)
		case 1:
			in.IsInitProcess = !in.IsInitProcess
		case 2:
			in.ArgList = pick(s, execCommands...)
		case 3:
			in.ContainerID = w.anyID()
		}
		return in
	case enforcer.MountOverlayInput:
		return w.mutateOverlay(in)
	}
	return w.mutateMount(in)
}

func (w *walk) mutateMount(in enforcer.Input) enforcer.Input {
	s := w.s
	switch in := in.(type) {
	case enforcer.MountDeviceInput:
		switch s.IntN(4) {
		case 0:
			in.DeviceHash = s.id()
		case 1:
			in.Target = w.known(w.diskTargets())
		case 2:
			in.Target = pick(s, "/run/mounts/scsi/m", "/x/run/mounts/scsi/m1", "/run/mounts/scsi/m1/..", "/run/mounts/scsi/mx")
		case 3:
			in.DeviceHash = strings.ToUpper(in.DeviceHash)
		}
		return in
	case enforcer.RWMountDeviceInput:
		switch s.IntN(5) {
		case 0:
			in.Encrypted = false
		case 1:
			in.EnsureFilesystem = false
		case 2:
			in.Filesystem = pick(s, "btrfs", "", "EXT4")
		case 3:
			in.Target = plan9Root + "/short"
		case 4:
			in.Target = w.known(plus(w.writable, w.diskTargets()...))
		}
		return in
	case enforcer.ScratchMountInput:
		if s.chance(70) {
			in.Encrypted = false
		} else {
			in.Target = w.known(w.scratch)
		}
		return in
	case enforcer.Plan9MountInput:
		in.Target = pick(s, plan9Root+"/"+s.id()+"/mounts/m1", in.Target+"/x", strings.Replace(in.Target, "mounts/m", "mounts/x", 1), w.known(w.shares), "/etc")
		return in
	}
	return in
}

func (w *walk) mutateOverlay(in enforcer.MountOverlayInput) enforcer.MountOverlayInput {
	s := w.s
	switch s.IntN(6) {
	case 0:
		in.LayerPaths = shuffled(s, in.LayerPaths)
	case 1:
		in.LayerPaths = changeList(s, in.LayerPaths, plus(w.diskTargets(), "/run/mounts/scsi/m88"))
	case 2:
		in.LayerPaths = []string{}
	case 3:
		in.ContainerID = w.anyID()
	case 4:
		in.Target = w.known(w.overlays)
	case 5:
		in.LayerPaths = plus(in.LayerPaths, in.LayerPaths...)
	}
	return in
}

func (w *walk) mutateCreate(in enforcer.CreateContainerInput) enforcer.CreateContainerInput {
	s := w.s
	switch s.IntN(14) {
	case 0:
		in.ArgList = w.changeCommand(in.ArgList, commands)
	case 1, 2, 3:
		in.EnvList = w.changeEnv(in.EnvList)
	case 4:
		in.WorkingDir = pick(s, plus(workingDirs, "", "/srv/")...)
	case 5, 6:
		in.Mounts = w.changeMounts(in.Mounts, &in)
	case 7:
		in.Devices = []enforcer.Device{{Path: "/dev/sda", Type: "b", Major: 8, FileMode: 0o600}}
	case 8:
		in.Privileged = !in.Privileged
	case 9:
		in.NoNewPrivileges = !in.NoNewPrivileges
	case 10:
		in.User, in.Groups, in.Umask = changeUser(s, in.User, in.Groups, in.Umask)
	case 11:
		in.Capabilities = changeCaps(s, in.Capabilities)
	case 12:
		in.SeccompProfileSHA256 = pick(s, "", s.id())
	case 13:
		in.ContainerID = w.anyID()
	}
	return in
}

func (w *walk) mutateExec(in enforcer.ExecInContainerInput) enforcer.ExecInContainerInput {
	s := w.s
	switch s.IntN(8) {
	case 0, 1:
		in.ArgList = w.changeCommand(in.ArgList, execCommands)
	case 2, 3:
		in.EnvList = w.changeEnv(in.EnvList)
	case 4:
		in.WorkingDir = pick(s, workingDirs...)
	case 5:
		in.NoNewPrivileges = !in.NoNewPrivileges
	case 6:
		in.User, in.Groups, in.Umask = changeUser(s, in.User, in.Groups, in.Umask)
	case 7:
		in.Capabilities = changeCaps(s, in.Capabilities)
	}
	if s.chance(5) {
		in.ContainerID = w.anyID()
	}
	return in
}

func (w *walk) changeCommand(list []string, from [][]string) []string {
	if w.s.chance(10) {
		return []string{}
	}
	if w.s.chance(40) {
		return pick(w.s, from...)
	}
	return changeList(w.s, list, []string{"--evil", "", "/bin/web", "-l"})
}

func (w *walk) changeEnv(list []string) []string {
	s := w.s
	if len(list) == 0 || s.chance(45) {
		return plus(list, w.stranger())
	}
	i := s.IntN(len(list))
	switch s.IntN(4) {
	case 0:
		return plus(list, list[i])
	case 1:
		return with(list, i, list[i]+pick(s, "x", "\n", " ", "=", "1"))
	case 2:
		return with(list, i, pick(s, "x", " ", "")+list[i])
	}
	return without(list, i)
}

func (w *walk) changeMounts(list []enforcer.Mount, in *enforcer.CreateContainerInput) []enforcer.Mount {
	s := w.s
	if len(list) == 0 || s.chance(30) {
		m := resolve(s, pick(s, mountWords...), *in, w.known(w.shares))
		if s.chance(30) {
			// What containerd 2 asks for a sandbox's /sys.
			in.IsSandboxContainer = s.chance(70)
			m = aci.PrivilegedMounts()[0]
		}
		return plus(list, m)
	}
	i := s.IntN(len(list))
	m := list[i]
	switch s.IntN(7) {
	case 0:
		m.Source = pick(s, "/etc/shadow", "sandbox:///tmp/data/x", "")
		if !w.p.grouped {
			m.Source = pick(s, m.Source, list[i].Source+"/../x", list[i].Source+"\n", "/x"+list[i].Source)
		}
	case 1:
		m.Destination = pick(s, "/etc", "", m.Destination+"/")
	case 2:
		m.Type = pick(s, "bind", "tmpfs", "")
	case 3, 4:
		m.Options = changeList(s, m.Options, []string{"rw", "ro", "suid", "rbind"})
	case 5:
		if len(m.Options) > 0 {
			m.Options = with(m.Options, 0, m.Options[len(m.Options)-1]) // as many, but not the same set
		}
	case 6:
		return plus(list, m)
	}
	return with(list, i, m)
}

func changeUser(s *source, u enforcer.User, groups []enforcer.User, umask string) (enforcer.User, []enforcer.User, string) {
	other := enforcer.User{ID: pick(s, ids...), Name: pick(s, names...)}
	switch s.IntN(4) {
	case 0:
		u.Name = other.Name
	case 1:
		u.ID = other.ID
	case 2:
		groups = plus(groups, other)
	case 3:
		umask = pick(s, plus(umasks, "22", "")...)
	}
	return u, groups, umask
}

func changeCaps(s *source, c enforcer.Capabilities) enforcer.Capabilities {
	switch s.IntN(6) {
	case 0:
		return privilegedCaps(s)
	case 1:
		return defaultCaps([]string{})
	}
	set := pick(s, &c.Bounding, &c.Effective, &c.Inheritable, &c.Permitted, &c.Ambient)
	*set = changeList(s, *set, capNames)
	return c
}
