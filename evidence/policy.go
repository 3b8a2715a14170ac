package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

// Grants are mount sources by which a policy gives a container something of the agent's.
const (
	grantPrefix = "cloister://"
	grantDevice = "cloister://sev-guest"
)

// named is how an agent decides that a policy is in broker mode: by its text, comments included.
var named = regexp.MustCompile(`cloister://(attest|sev-guest|keys)`)

// Policy is a policy's text as identity evidence is judged by it.
type Policy struct {
	text  []byte
	plain *entry.Policy
	err   error // why it is not plain
}

// MaxPolicy bounds a policy's text that came with the evidence, in bytes: an agent gets no larger one by SetPolicy, whose frame is that long at most. The policy
// reader takes some hundred times a text's size of memory.
const MaxPolicy = 4 << 20

// ReadPolicy reads a policy's text. Every text gives a Policy: one that cannot be read completely, and one of more than MaxPolicy bytes, is one that no
// container's identity follows from.
func ReadPolicy(text []byte) *Policy {
	if len(text) > MaxPolicy {
		return &Policy{text: text, err: fmt.Errorf("the policy that came with the evidence has %d bytes, want at most %d: approve a larger one by giving it yourself", len(text), MaxPolicy)}
	}
	return ReadApproved(text)
}

// ReadApproved is ReadPolicy for a text that the relying party has itself and vouches for, of any size.
func ReadApproved(text []byte) *Policy {
	var points []string
	for _, p := range enforcer.Points() {
		points = append(points, string(p.Point))
	}
	p := &Policy{text: text}
	p.plain, p.err = entry.Read(text, points)
	return p
}

// Identity says whether evidence under this policy is of the container that its preimage names, and if only of the pod, why.
//
// A report over any preimage can be had by whatever reaches the report device itself. So it is the container's only if the policy is in broker mode, where agents hand
// out nothing that the policy does not name, and neither names the device for a container nor lets one be elevated or have a capability by which it could reach
// the device's kernel interfaces; and if no fragment can bring such a container, for what a fragment holds is not in this text.
func (p *Policy) Identity() (verify.Identity, string) {
	if why := p.podOnly(); why != "" {
		return verify.IdentityPod, why
	}
	return verify.IdentityContainer, ""
}

func (p *Policy) podOnly() string {
	switch {
	case p.err != nil:
		return p.err.Error()
	case p.openExec():
		return "the policy is so old that any process may be executed in its containers: which entry one is, no agent can say"
	case !named.Match(p.text) || !p.grants():
		return "the policy names no " + grantPrefix + " grant: every unprivileged container gets the report device"
	}
	for i, c := range p.plain.Data.Containers {
		if why := reaches(c); why != "" {
			return fmt.Sprintf("container %d %s", i, why)
		}
	}
	for i, r := range p.plain.Data.PlatformRules {
		if slices.ContainsFunc(r.Mounts, ofDevice) {
			return fmt.Sprintf("platform rule %d grants %s to every container", i, grantDevice)
		}
	}
	for i, f := range p.plain.Data.Fragments {
		for _, what := range []string{"containers", "fragments", "platform_rules"} {
			if slices.Contains(f.Includes, what) {
				return fmt.Sprintf("fragment %d may add %s, which this text does not show", i, what)
			}
		}
	}
	return ""
}

// reaches says how a container may get to the report device itself, or is empty.
func reaches(c *entry.Container) string {
	switch {
	case c.AllowElevated:
		return "may be elevated"
	case slices.ContainsFunc(c.Mounts, ofDevice):
		return "is granted " + grantDevice
	case c.Capabilities == nil:
		return ""
	}
	for _, set := range [][]string{c.Capabilities.Bounding, c.Capabilities.Effective, c.Capabilities.Inheritable, c.Capabilities.Permitted, c.Capabilities.Ambient} {
		for _, name := range set {
			if !slices.Contains(harmless, name) {
				return fmt.Sprintf("may have %.64s, by which it could reach the report device", name)
			}
		}
	}
	return ""
}

// harmless are capabilities that open no way to the report device: the default set of unprivileged containers (an agent lets none make
// device nodes), and MoreCapabilities. With others, CAP_SYS_ADMIN first, a container can mount the kernel's own interface to reports, or read another process.
var harmless = append(aci.UnprivilegedCapabilities(), MoreCapabilities()...)

// MoreCapabilities are those beyond the default set that a container may have and still be told from others by its evidence.
func MoreCapabilities() []string {
	return []string{
		"CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_LEASE",
	}
}

// ofDevice takes more than the exact source: whatever else begins like it means no good, and the paths of some sources are patterns, which need not match where they
// begin.
func ofDevice(m *entry.Mount) bool {
	if strings.HasPrefix(m.Source, grantDevice) {
		return true
	}
	for _, prefix := range []string{aci.SandboxPrefix, aci.HugePagesPrefix} {
		if path, ok := strings.CutPrefix(m.Source, prefix); ok {
			pattern, err := regexp.Compile("/run/" + path)
			return err != nil || pattern.MatchString(grantDevice)
		}
	}
	return false
}

// grants says whether a mount has one of the agent's sources. The text alone may name one in a comment.
func (p *Policy) grants() bool {
	ofAgent := func(m *entry.Mount) bool { return named.MatchString(m.Source) }
	return slices.ContainsFunc(p.plain.Data.Containers, func(c *entry.Container) bool { return slices.ContainsFunc(c.Mounts, ofAgent) }) ||
		slices.ContainsFunc(p.plain.Data.PlatformRules, func(r *entry.PlatformRule) bool { return slices.ContainsFunc(r.Mounts, ofAgent) })
}

// openExec says whether the policy is older than exec_in_container and has no rule for it.
func (p *Policy) openExec() bool {
	if p.plain.Delegated[string(point.ExecInContainer)] {
		return false
	}
	api, _ := point.ParseVersion(p.plain.APIVersion)
	reason, use := point.RowByName(point.ExecInContainer).Missing(api, false)
	return reason == "" && use == point.FallbackAllow
}

// CheckEntries holds a preimage against the policy: there are entries, each exists, and each of the text's own has the layers and arguments that the preimage says the
// container has. Entries of fragments are held against the fragments that the policy allows; what is in them this text does not show. Under a policy that is not plain, or
// that lets any process be executed, agents name no entries, and there must be none.
func (p *Policy) CheckEntries(pre *identity.Preimage) error {
	switch {
	case p.err != nil && len(pre.Entries) > 0:
		return fmt.Errorf("got %d entries: %w", len(pre.Entries), p.err)
	case p.err != nil:
		return nil
	case p.openExec() && len(pre.Entries) > 0:
		return fmt.Errorf("got %d entries, of a policy whose containers no agent can tell apart", len(pre.Entries))
	case p.openExec():
		return nil
	case len(pre.Entries) == 0:
		return errors.New("got no entry")
	}
	for _, e := range pre.Entries {
		var err error
		if e.Fragment != nil {
			err = p.checkFragment(e.Fragment)
		} else {
			err = p.checkEntry(e.Index, pre)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) checkEntry(index uint32, pre *identity.Preimage) error {
	list := p.plain.Data.Containers
	if int64(index) >= int64(len(list)) {
		return fmt.Errorf("entry %d: the policy has %d containers", index, len(list))
	}
	c := list[index]
	var layers []string
	for _, l := range pre.Layers {
		layers = append(layers, fmt.Sprintf("%x", l))
	}
	slices.Reverse(layers) // an overlay is decided top first, a policy lists base first
	if !slices.Equal(layers, c.Layers) {
		return fmt.Errorf("entry %d: got %d layers that are not its %d", index, len(layers), len(c.Layers))
	}
	if c.CommandNull || identity.ArgsDigest(c.Command) != pre.Args {
		return fmt.Errorf("entry %d: got arguments that are not its command", index)
	}
	return nil
}

// checkFragment wants a fragment that the policy allows to add containers, or one that may add further fragments.
func (p *Policy) checkFragment(f *identity.Fragment) error {
	for _, allowed := range p.plain.Data.Fragments {
		if slices.Contains(allowed.Includes, "fragments") ||
			allowed.Issuer == f.Issuer && allowed.Feed == f.Feed && slices.Contains(allowed.Includes, "containers") {
			return nil
		}
	}
	return fmt.Errorf("fragment %.128q, feed %.128q: the policy allows no containers of it", f.Issuer, f.Feed)
}

// Names are the names that the policy itself gives to the preimage's entries of its own text, for people: name, else id, else position.
func (p *Policy) Names(pre *identity.Preimage) []string {
	var names []string
	for _, e := range pre.Entries {
		switch {
		case e.Fragment != nil:
			names = append(names, fmt.Sprintf("entry %d of fragment %s %s %s", e.Index, e.Fragment.Issuer, e.Fragment.Feed, e.Fragment.SVN))
		default:
			text := fmt.Sprintf("entry %d", e.Index)
			if name, id, ok := p.Entry(e); ok {
				text = fmt.Sprintf("%s %q", text, cmp.Or(name, id))
			}
			names = append(names, text)
		}
	}
	return names
}

// Entry finds an entry of the policy's own text, and what the policy calls it.
func (p *Policy) Entry(e identity.Entry) (name, id string, ok bool) {
	if p.err != nil || e.Fragment != nil || int64(e.Index) >= int64(len(p.plain.Data.Containers)) {
		return "", "", false
	}
	c := p.plain.Data.Containers[e.Index]
	return c.Name, c.ID, true
}
