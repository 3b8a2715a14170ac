package gate

import (
	"encoding/json"
	"sync"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/explain"
)

// maxDenials is how many refusals can still be explained.
const maxDenials = 64

// denials keeps the newest explanations, where the policy allows runtime logging. It keeps their texts, which are bounded, and not the decisions, which
// hold the whole request.
type denials struct {
	mu   sync.Mutex
	ring [maxDenials]struct{ id, text string }
	next int
}

func (d *denials) keep(id, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ring[d.next%maxDenials] = struct{ id, text string }{id, text}
	d.next++
}

// maxExplanation bounds one explanation, in bytes: what differs is the host's text.
const maxExplanation = 8 << 10

// explained is what Explain answers.
type explained struct {
	// Refused is the refusal in one line, Meaning the same in plain words.
	Refused string `json:"refused"`
	Meaning string `json:"meaning"`
	// Nearest is the container that the request came nearest to, and the fewest differences from it.
	Nearest *explain.Match `json:"nearest,omitempty"`
	// PolicyDecision is the refusal as ACI's tools read it.
	PolicyDecision string `json:"policy_decision"`
}

// explanation says why a request was refused, for a policy that lets the host read the log. What the agent says of it leaves out arguments and
// values of variables; ACI's text, which the refusal carries as well, repeats the arguments.
func explanation(e *enforcer.Enforcer, in enforcer.Input, d *enforcer.Denial) string {
	x := explained{Refused: d.Error(), Meaning: explain.Denial(d), PolicyDecision: d.PolicyDecision()}
	c := e.Comparison(in)
	match, ok := explain.Nearest(c.Containers, in, explain.Options{
		Redact: true, DropEnvironment: c.DropEnvironment, DropCapabilities: c.DropCapabilities,
		DefaultMounts: c.DefaultMounts, PrivilegedMounts: c.PrivilegedMounts, Privileged: c.Privileged,
	})
	if ok {
		x.Nearest = &match
	}
	text, err := json.Marshal(x)
	if err == nil && len(text) > maxExplanation {
		x.Nearest = nil
		text, err = json.Marshal(x)
	}
	if err != nil {
		return "{}"
	}
	return string(text)
}

// Explain returns the explanation of a refusal that is still kept, as JSON.
func (g *Gate) Explain(id string) (string, bool) {
	g.denials.mu.Lock()
	defer g.denials.mu.Unlock()
	for _, x := range g.denials.ring {
		if id != "" && x.id == id {
			return x.text, true
		}
	}
	return "", false
}
