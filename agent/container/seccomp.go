package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

var seccompName = form{64, regexp.MustCompile(`^[A-Za-z0-9_]+$`)}

// parseSeccomp rebuilds the profile from the wire, field by field, so that its hash does not depend on what else was sent.
func parseSeccomp(in *api.LinuxSeccomp) (*specs.LinuxSeccomp, error) {
	if in == nil {
		return nil, nil
	}
	if len(in.Syscalls) > 1024 || len(in.Architectures) > 64 || len(in.Flags) > 16 {
		return nil, refuse("OCI.Linux.Seccomp", "has too many entries")
	}
	names := append([]string{in.DefaultAction}, in.Architectures...)
	names = append(names, in.Flags...)
	out := &specs.LinuxSeccomp{DefaultAction: specs.LinuxSeccompAction(in.DefaultAction)}
	for _, a := range in.Architectures {
		out.Architectures = append(out.Architectures, specs.Arch(a))
	}
	for _, f := range in.Flags {
		out.Flags = append(out.Flags, specs.LinuxSeccompFlag(f))
	}
	for _, s := range in.Syscalls {
		if s == nil || len(s.Names) > 1024 || len(s.Args) > 6 {
			return nil, refuse("OCI.Linux.Seccomp.Syscalls", "has an entry of another form")
		}
		call := specs.LinuxSyscall{Names: s.Names, Action: specs.LinuxSeccompAction(s.Action)}
		names = append(append(names, s.Names...), s.Action)
		if e, ok := s.ErrnoRet.(*api.LinuxSyscall_Errnoret); ok {
			v := uint(e.Errnoret)
			call.ErrnoRet = &v
		}
		for _, a := range s.Args {
			if a.GetIndex() > 5 {
				return nil, refuse("OCI.Linux.Seccomp.Syscalls.Args", "has an index above 5")
			}
			names = append(names, a.GetOp())
			call.Args = append(call.Args, specs.LinuxSeccompArg{
				Index: uint(a.GetIndex()), Value: a.GetValue(), ValueTwo: a.GetValueTwo(), Op: specs.LinuxSeccompOperator(a.GetOp()),
			})
		}
		out.Syscalls = append(out.Syscalls, call)
	}
	for _, n := range names {
		if !seccompName.MatchString(n) {
			return nil, refuse("OCI.Linux.Seccomp", "holds a name of another form")
		}
	}
	return out, nil
}

// SeccompSHA256 is the seccompProfileSHA256 of the policy contract (section 3.2): the hash of Go's json.Marshal of the OCI
// profile, or "" when there is none.
func SeccompSHA256(p *specs.LinuxSeccomp) (string, error) {
	if p == nil {
		return "", nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("marshal seccomp profile: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
