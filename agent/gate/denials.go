package gate

import (
	"sync"

	"github.com/cloister-cc/cloister/enforcer"
)

// maxDenials is how many refusals can still be explained.
const maxDenials = 64

// denials keeps the newest refusals by their id.
type denials struct {
	mu   sync.Mutex
	ring [maxDenials]*enforcer.Denial
	next int
}

func (d *denials) keep(x *enforcer.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ring[d.next%maxDenials] = x
	d.next++
}

// Explain returns the full text of a refusal that is still kept.
func (g *Gate) Explain(id string) (string, bool) {
	g.denials.mu.Lock()
	defer g.denials.mu.Unlock()
	for _, x := range g.denials.ring {
		if x != nil && x.ID == id {
			return x.PolicyDecision(), true
		}
	}
	return "", false
}
