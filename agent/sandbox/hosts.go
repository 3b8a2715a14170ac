package sandbox

import (
	"fmt"
	"io"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/network"
)

// maxHosts bounds a copied hosts file, in bytes.
const maxHosts = 64 << 10

// aliases makes the container's own hosts file when the host copied one: the pod's, and of the copied one the names and addresses that
// are left after reading it line by line. Nothing is written before the policy has decided.
func (s *Sandbox) aliases(own []specs.Mount) ([]byte, error) {
	for _, m := range own {
		entry, _, ok := sharedName(m.Source)
		if m.Destination != "/etc/hosts" || !ok || s.cfg.Staging == nil {
			continue
		}
		copied, err := s.cfg.Staging.Resolve(entry)
		if err != nil {
			return nil, invalid("OCI.Mounts: copied file %.128q: %v", entry, err)
		}
		text, err := readHosts(copied)
		if err != nil {
			return nil, err
		}
		list, err := network.ParseHosts(text)
		if err != nil {
			return nil, invalid("OCI.Mounts: copied hosts file: %v", err)
		}
		hosts, err := network.Hosts(s.pod.hostname, list)
		if err != nil {
			return nil, invalid("OCI.Mounts: copied hosts file: %v", err)
		}
		return hosts, nil
	}
	return nil, nil
}

func readHosts(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open copied hosts file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHosts+1))
	if err != nil || len(text) > maxHosts {
		return nil, invalid("OCI.Mounts: copied hosts file: want a file of at most %d bytes", maxHosts)
	}
	return text, nil
}
