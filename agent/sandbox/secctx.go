package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/cloister-cc/cloister/agent/container"
)

// securityContext makes ACI's security-context directory in the container's root file system and returns its name in the
// container (policy contract 4.3). Policies with grants, and privileged containers, have none.
func (s *Sandbox) securityContext(c *Container, r *container.Request) (string, error) {
	p := s.cfg.Gate.Policy()
	if p.Broker || r.Privileged {
		return "", nil
	}
	root, err := os.OpenRoot(s.fs(rootfsName(c.Key)))
	if err != nil {
		return "", fmt.Errorf("open root file system: %w", err)
	}
	defer root.Close()
	var random [8]byte
	rand.Read(random[:])
	name := "security-context-" + hex.EncodeToString(random[:])
	if err := root.Mkdir(name, 0o755); err != nil {
		return "", fmt.Errorf("make security context: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(p.Text)
	if err := root.WriteFile(name+"/security-policy-base64", []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write security context: %w", err)
	}
	return "/" + name, nil
}
