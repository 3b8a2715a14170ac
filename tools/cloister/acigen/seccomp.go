package acigen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

// SeccompSHA256 is the digest that an agent computes of a profile: of the JSON of the OCI type (policy contract, section 3.2).
// Members that container engines have besides and a runtime never sees (comments, conditions) do not count; others are
// refused. "" is the digest of no profile.
func SeccompSHA256(profile []byte) (string, error) {
	p, err := readSeccomp(profile)
	if err != nil {
		return "", err
	}
	return p.sha256()
}

// seccompProfile is a profile as container engines distribute it. nil is none.
type seccompProfile struct {
	specs.LinuxSeccomp
	Comment  string          `json:"comment"`
	ArchMap  json.RawMessage `json:"archMap"`
	Syscalls []struct {
		specs.LinuxSyscall
		Comment  string          `json:"comment"`
		Includes json.RawMessage `json:"includes"`
		Excludes json.RawMessage `json:"excludes"`
	} `json:"syscalls"`
}

func readSeccomp(text []byte) (*seccompProfile, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var p seccompProfile
	if err := defaults.Decode(text, &p); err != nil {
		return nil, err
	}
	if p.DefaultAction == "" {
		return nil, fmt.Errorf("defaultAction is missing")
	}
	for i, s := range p.Syscalls {
		if len(s.Names) == 0 || s.Action == "" {
			return nil, fmt.Errorf("syscalls[%d]: names or action is missing", i)
		}
	}
	return &p, nil
}

// sha256 rebuilds the OCI type, in whose order and with whose omissions the JSON is written.
func (p *seccompProfile) sha256() (string, error) {
	if p == nil {
		return "", nil
	}
	out := p.LinuxSeccomp
	out.Syscalls = nil
	for _, s := range p.Syscalls {
		out.Syscalls = append(out.Syscalls, s.LinuxSyscall)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// dropped are the members that change what an engine would make of the profile.
func (p *seccompProfile) dropped() []string {
	if p == nil {
		return nil
	}
	var out []string
	if says(p.ArchMap) {
		out = append(out, "archMap")
	}
	for i, s := range p.Syscalls {
		if says(s.Includes) {
			out = append(out, index("syscalls", i)+".includes")
		}
		if says(s.Excludes) {
			out = append(out, index("syscalls", i)+".excludes")
		}
	}
	return out
}

func says(v json.RawMessage) bool {
	switch string(bytes.TrimSpace(v)) {
	case "", "null", "{}", "[]":
		return false
	}
	return true
}
