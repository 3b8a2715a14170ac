package gate

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

// MaxFragments is how many documents may be loaded in the life of a guest. Each is signed by somebody the policy names, but which of them
// arrive, and how many, is the host's choice, and what they add stays in memory.
const MaxFragments = 256

// LoadFragment asks the policy about a fragment, trust list or reference information, and makes what it adds count. A refusal has the form
// of every other; the document's text is not in it.
func (g *Gate) LoadFragment(ctx context.Context, message string, document []byte, mediaType string) error {
	p := g.Policy()
	if p == nil {
		g.RefuseUndecided(message, "no policy is bound")
		return Refusal(message, "no policy is bound")
	}
	if g.fragments.Load() >= MaxFragments {
		g.RefuseUndecided(message, "too many fragments are loaded")
		return Refusal(message, fmt.Sprintf("%d fragments are loaded, and no more may be", MaxFragments))
	}
	d, err := p.Enforcer.LoadFragment(ctx, document, mediaType)
	point := enforcer.PointLoadFragment
	var denial *enforcer.Denial
	switch {
	case errors.As(err, &denial):
		point = denial.Point
	case err == nil:
		point = d.Point
	}
	if g.opt.Observe != nil {
		g.opt.Observe(point, message, err)
	}
	decision := g.decided(eventlog.Entry{Request: message, Point: string(point)}, d, err)
	switch {
	case denial != nil:
		line := refusalLine(message, denial.Error())
		if p.Logging {
			g.denials.keep(denial.ID, explanation(p.Enforcer, enforcer.LoadFragmentInput{}, denial))
			line += "\n" + denial.PolicyDecision()
		}
		return status.Error(codes.PermissionDenied, line)
	case err != nil:
		return Refusal(message, fmt.Sprintf("%s: could not decide: %v", point, err))
	}
	if _, err := decision.Commit(); err != nil {
		return Refusal(message, fmt.Sprintf("%s: %v", point, err))
	}
	g.events.Append(loadedDocument(decision, document, mediaType))
	g.fragments.Add(1)
	return nil
}
