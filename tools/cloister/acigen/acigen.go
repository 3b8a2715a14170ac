package acigen

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Latest is the compatibility level that is written unless another is asked for.
const Latest = "latest"

// Options are what a document does not say.
type Options struct {
	Compat string // a level's name; "" is Latest
	// Debug allows the shells that the level names, stack dumps and the agent's log.
	Debug bool
	// Stdio says for every container whose document does not whether its output leaves the VM; nil is yes.
	Stdio *bool
	// InfrastructureSVN replaces the smallest version of the platform's fragment that the level asks for.
	InfrastructureSVN string
	// NoDefaultFragments leaves the platform's fragment out.
	NoDefaultFragments bool
	// Fragments are added after those that the document asks for.
	Fragments []workload.Fragment
	// OmitID leaves the field id out of every container.
	OmitID bool
	// Format chooses whose roots are written: "ext4" (also ""), "erofs", or "both" (each container once for each).
	Format string
	// Defaults replaces the defaults of the level; nil is the level's own.
	Defaults *defaults.Defaults
	// With are containers made elsewhere, JSON objects; they follow those of the group and stay as they are.
	With [][]byte
	// Covered says of a container whether a fragment that the policy includes has it already; it is then left out. nil is never.
	Covered func(*Container) bool
}

// Policy is a policy's or a fragment's text, with the reason of each rule.
type Policy struct{}

// Generate writes the policy of one group.
func Generate(ctx context.Context, g *workload.Group, source images.Source, o Options) (*Policy, error) {
	return nil, errors.New("generate policy: not built yet")
}

// FragmentOptions are what makes a fragment of a policy. A fragment has no pause container, no flags and no decision points.
type FragmentOptions struct {
	Options
	Namespace string // of the Rego package
	SVN       string // decimal, 0 or more
}

// Fragment writes the text of a fragment with the group's containers.
func Fragment(ctx context.Context, g *workload.Group, source images.Source, o FragmentOptions) (*Policy, error) {
	return nil, errors.New("generate fragment: not built yet")
}

// Rego is the text; pretty puts each member of the containers on a line of its own. HOST_DATA is about the compact text,
// unless the pretty one is what is deployed.
func (p *Policy) Rego(pretty bool) []byte { return nil }

// SHA256 is the digest of the compact text: HOST_DATA.
func (p *Policy) SHA256() [sha256.Size]byte { return sha256.Sum256(p.Rego(false)) }

// Explain tells where each rule comes from, in the order of the text.
func (p *Policy) Explain() []Rule { return nil }

// Wildcards are the rules that stand for values which are not known yet.
func (p *Policy) Wildcards() []Rule { return nil }

// Rule is one rule and its source.
type Rule struct {
	Container string `json:"container,omitempty"` // name; "" is a rule of the whole policy
	Field     string `json:"field"`               // env_rules[3]
	Value     string `json:"value"`               // "<secret>" where the document says that it must not be shown
	Source    string `json:"source"`              // "template", "image", "default", "option" or "fragment"
	Place     string `json:"place"`               // file, line and path; image and field; defaults file and entry
}

// Container is one entry of a policy's list of containers.
type Container struct{}
