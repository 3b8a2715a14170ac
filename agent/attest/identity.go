package attest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// Identity is what the agent knows of the container behind a listener. The agent decided all of it, but for Claimed.
type Identity struct {
	// Key is the agent's name of the container.
	Key string
	// Cgroup is the container's control group below the root of the unified hierarchy, such as /cloister/KEY. No other container is in it.
	Cgroup string
	// Layers are the root hashes of its layers, in overlay order, top first.
	Layers [][32]byte
	// Args is identity.ArgsDigest of its init process.
	Args [32]byte
	// Claimed is the host's word about it.
	Claimed identity.Claimed
	// Entries are the policy entries that can still be this container. It is asked for each evidence, for they get fewer as the host asks for more;
	// nil when the policy names no entries.
	Entries func() ([]identity.Entry, error)
}

func (id *Identity) check() error {
	switch {
	case id.Key == "":
		return errors.New("the container has no key")
	case !strings.HasPrefix(id.Cgroup, "/"):
		return fmt.Errorf("control group: got %q, want an absolute path", id.Cgroup)
	}
	return nil
}

// holds says whether a control group is the container's, or one that the container made in its own.
func (id *Identity) holds(cgroup string) bool {
	own := strings.TrimSuffix(id.Cgroup, "/")
	return cgroup == id.Cgroup || strings.HasPrefix(cgroup, own+"/")
}

// EventLog is the log that evidence carries; eventlog.Log is one.
type EventLog interface {
	Head() [32]byte
	Excerpt() eventlog.Excerpt
}

// preimage makes what REPORT_DATA of the container's identity evidence is the SHA-512 of.
func (id *Identity) preimage(policy, head [32]byte, nonce []byte) ([]byte, error) {
	p := identity.Preimage{
		PolicyDigest: policy, Layers: id.Layers, Args: id.Args, EventHead: head, Nonce: nonce, Claimed: id.Claimed,
	}
	if id.Entries != nil {
		entries, err := id.Entries()
		if err != nil {
			return nil, fmt.Errorf("policy entries of the container: %w", err)
		}
		p.Entries = identity.SortEntries(entries)
	}
	return p.Encode()
}
