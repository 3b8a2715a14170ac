package spec

import (
	"math"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// IsRuntimeDefault says whether a profile is the one that containerd writes for RuntimeDefault. Its list of system calls differs between versions, kernels and
// capabilities; its shape does not: everything fails but what is allowed, one long list without conditions, and the five values that personality may have.
// A profile of a file (Localhost) that has this very shape is taken for it.
func IsRuntimeDefault(p *specs.LinuxSeccomp) bool {
	if p == nil || p.DefaultAction != specs.ActErrno || p.DefaultErrnoRet != nil || len(p.Flags) > 0 || p.ListenerPath != "" {
		return false
	}
	long := false
	personality := map[uint64]bool{}
	for _, s := range p.Syscalls {
		if s.Action != specs.ActAllow && s.Action != specs.ActErrno {
			return false
		}
		if s.Action == specs.ActAllow && len(s.Args) == 0 && len(s.Names) > 200 {
			long = long || slices.Contains(s.Names, "execve") && slices.Contains(s.Names, "epoll_wait")
		}
		if slices.Equal(s.Names, []string{"personality"}) && len(s.Args) == 1 && s.Args[0].Op == specs.OpEqualTo {
			personality[s.Args[0].Value] = true
		}
	}
	for _, v := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		if !personality[v] {
			return false
		}
	}
	return long
}

// seccomp is a profile on the wire. What the wire has no field for is refused: a profile without it would be another one.
func seccomp(p *specs.LinuxSeccomp) (*api.LinuxSeccomp, error) {
	if p == nil {
		return nil, nil
	}
	switch {
	case p.DefaultErrnoRet != nil:
		return nil, refuse("Linux.Seccomp.DefaultErrnoRet", "cannot be carried to the guest")
	case p.ListenerPath != "" || p.ListenerMetadata != "":
		return nil, refuse("Linux.Seccomp.ListenerPath", "programs of the host do not decide in the guest")
	}
	out := &api.LinuxSeccomp{DefaultAction: string(p.DefaultAction)}
	for _, a := range p.Architectures {
		out.Architectures = append(out.Architectures, string(a))
	}
	for _, f := range p.Flags {
		out.Flags = append(out.Flags, string(f))
	}
	for _, s := range p.Syscalls {
		call := &api.LinuxSyscall{Names: slices.Clone(s.Names), Action: string(s.Action)}
		if s.ErrnoRet != nil {
			if *s.ErrnoRet > math.MaxUint32 {
				return nil, refuse("Linux.Seccomp.Syscalls.ErrnoRet", "is out of range")
			}
			call.ErrnoRet = &api.LinuxSyscall_Errnoret{Errnoret: uint32(*s.ErrnoRet)}
		}
		for _, a := range s.Args {
			call.Args = append(call.Args, &api.LinuxSeccompArg{Index: uint64(a.Index), Value: a.Value, ValueTwo: a.ValueTwo, Op: string(a.Op)})
		}
		out.Syscalls = append(out.Syscalls, call)
	}
	return out, nil
}
