package sandbox

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
)

// ContextFile is a file of ACI's security-context directory, by its content before base64 (policy contract 4.3).
type ContextFile struct {
	Name    string
	Content []byte
}

// securityContext is the mount of ACI's security-context directory, at a name that no image can have (policy contract 4.3). The
// directory is made once and shown read-only in each container: a policy can be megabytes, and each copy would be memory. Policies with
// grants, and privileged containers, have none: nil.
func (s *Sandbox) securityContext(r *container.Request) (*specs.Mount, error) {
	p := s.cfg.Gate.Policy()
	if p.Broker || r.Privileged {
		return nil, nil
	}
	dir := s.fs(securityContextDir(s.pod.key))
	if err := s.writeContext(dir, p.Text); err != nil {
		return nil, fmt.Errorf("write security context: %w", err)
	}
	var random [8]byte
	rand.Read(random[:])
	return &specs.Mount{
		Destination: "/security-context-" + hex.EncodeToString(random[:]), Type: "bind", Source: dir,
		Options: dead([]string{"rbind", "rprivate", "ro"}),
	}, nil
}

// writeContext writes the policy once, and what is new of the rest since the last container: documents can be loaded between two.
func (s *Sandbox) writeContext(dir string, policy []byte) error {
	if s.pod.context == nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := writeContextFile(dir, ContextFile{"security-policy-base64", policy}); err != nil {
			return err
		}
		s.pod.context = map[string][32]byte{}
	}
	if s.cfg.Context == nil {
		return nil
	}
	for _, f := range s.cfg.Context() {
		sum := sha256.Sum256(f.Content)
		if s.pod.context[f.Name] == sum {
			continue
		}
		if err := writeContextFile(dir, f); err != nil {
			return err
		}
		s.pod.context[f.Name] = sum
	}
	return nil
}

// writeContextFile changes a file as a whole, for containers may be reading it.
func writeContextFile(dir string, f ContextFile) error {
	unfinished := dir + ".new" // beside the directory, where no container looks
	if err := os.WriteFile(unfinished, []byte(base64.StdEncoding.EncodeToString(f.Content)), 0o644); err != nil {
		return err
	}
	return os.Rename(unfinished, filepath.Join(dir, f.Name))
}
