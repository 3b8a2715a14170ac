package sandbox

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/identity"
)

// identityOf is what evidence will say of a container: its layers as they were decided, its arguments, its control group, and what the host calls it. Which entries of
// the policy it can be is asked when evidence is made, for there are fewer the more the host asks for.
func (s *Sandbox) identityOf(c *Container, r *container.Request) (attest.Identity, error) {
	id := attest.Identity{
		Key: c.Key, Cgroup: cgroupName(c.Key), Args: identity.ArgsDigest(r.Process.Args), Claimed: claimed(c.ID, r),
		Entries: func() ([]identity.Entry, error) { return s.entriesOf(c.Key) },
	}
	for _, a := range c.layers {
		root, err := hex.DecodeString(s.devices[a].root)
		if err != nil || len(root) != 32 {
			return id, fmt.Errorf("root hash %.80q of the layer at %s: want 32 bytes in hex", s.devices[a].root, a)
		}
		id.Layers = append(id.Layers, [32]byte(root))
	}
	return id, nil
}

// entriesOf asks the policy. A policy with rules of its own names no entries, and evidence then says none.
func (s *Sandbox) entriesOf(key string) ([]identity.Entry, error) {
	left, err := s.cfg.Gate.Policy().Enforcer.Surviving(key)
	switch {
	case errors.Is(err, enforcer.ErrEntriesUnknown):
		return nil, nil
	case err != nil:
		return nil, err
	}
	out := make([]identity.Entry, len(left.Entries))
	for i, e := range left.Entries {
		out[i].Index = e.Index
		if f := e.Fragment; f != nil {
			out[i].Fragment = &identity.Fragment{Issuer: f.Issuer, Feed: f.Feed, SVN: f.SVN}
		}
	}
	return out, nil
}

// claimed is the host's word about a container, cut to what evidence has room for: nothing that the host says may keep a workload from its evidence.
func claimed(id string, r *container.Request) identity.Claimed {
	out := identity.Claimed{ID: id, Image: clip(r.ImageName)}
	for _, n := range r.Names {
		if len(out.Names) < identity.MaxNames {
			out.Names = append(out.Names, clip(n))
		}
	}
	return out
}

// maxClaimed bounds a word of the host's in evidence, in bytes.
const maxClaimed = 512

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxClaimed)], "") }
