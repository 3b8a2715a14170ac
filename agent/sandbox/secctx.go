package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
)

// securityContext is the mount of ACI's security-context directory, at a name that no image can have (policy contract 4.3). The
// directory is made once and shown read-only in each container: a policy can be megabytes, and each copy would be memory. Policies with
// grants, and privileged containers, have none: nil.
func (s *Sandbox) securityContext(r *container.Request) (*specs.Mount, error) {
	p := s.cfg.Gate.Policy()
	if p.Broker || r.Privileged {
		return nil, nil
	}
	dir := s.fs(securityContextDir(s.pod.key))
	if !s.pod.context {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make security context: %w", err)
		}
		text := base64.StdEncoding.EncodeToString(p.Text)
		if err := os.WriteFile(dir+"/security-policy-base64", []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("write security context: %w", err)
		}
		s.pod.context = true
	}
	var random [8]byte
	rand.Read(random[:])
	return &specs.Mount{
		Destination: "/security-context-" + hex.EncodeToString(random[:]), Type: "bind", Source: dir,
		Options: dead([]string{"rbind", "rprivate", "ro"}),
	}, nil
}
