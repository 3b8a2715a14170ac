package gate

import "sync"

// maxDenials is how many refusals can still be explained.
const maxDenials = 64

// denials keeps the newest refusals, where the policy allows runtime logging. It keeps their texts, which are bounded, and not the decisions, which
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

// Explain returns the full text of a refusal that is still kept.
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
