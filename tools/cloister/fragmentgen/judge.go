package fragmentgen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// Judgement is what a policy makes of a document.
type Judgement struct {
	Accepted bool `json:"accepted"`
	// SVN is the one that the policy compared, of an accepted document.
	SVN string `json:"svn,omitempty"`
	// Reasons are the policy's, or the enforcer's where no policy was asked.
	Reasons []string `json:"reasons,omitempty"`
	// Includes are those of the entries that are about this issuer and feed.
	Includes []string `json:"includes,omitempty"`
	// Notes say what is near, or what an accepted document does not do.
	Notes []string `json:"notes,omitempty"`
}

// Policy is a policy that documents are tried on.
type Policy struct {
	doc      *policydoc.Policy
	enforcer *enforcer.Enforcer
}

// OpenPolicy reads a policy's text.
func OpenPolicy(ctx context.Context, text []byte) (*Policy, error) {
	doc, err := policydoc.Read(ctx, text)
	if err != nil {
		return nil, err
	}
	e, err := enforcer.Load(ctx, text, enforcer.Options{PolicyLimit: enforcer.MaxPolicyLimit})
	if err != nil {
		return nil, err
	}
	return &Policy{doc, e}, nil
}

// Judge asks the policy about a document, as a guest would that has just booted with it. The policy is asked about the issuer before the
// document's text meets a parser. One document leaves nothing behind for the next.
func (p *Policy) Judge(ctx context.Context, document []byte) (*Judgement, error) {
	j := &Judgement{}
	d, err := p.enforcer.LoadFragment(ctx, document, fragment.MediaTypeRego)
	var denial *enforcer.Denial
	switch {
	case err == nil:
		j.Accepted, j.SVN = true, d.Document.SVN
	case !errors.As(err, &denial):
		return nil, err
	case len(denial.Reasons) == 0:
		j.Reasons = []string{"the policy gives no reason"}
	default:
		j.Reasons = denial.Reasons
	}
	f, err := fragment.Open(document)
	if err != nil {
		return j, nil // the reasons say so
	}
	j.compare(p.doc, f)
	if j.Accepted {
		j.use(ctx, f)
	}
	return j, nil
}

// compare finds the policy's entries that are about this document, or nearly.
func (j *Judgement) compare(doc *policydoc.Policy, f *fragment.Fragment) {
	if len(doc.Fragments) == 0 {
		j.Notes = append(j.Notes, "the policy names no fragments in its text")
	}
	for i, e := range doc.Fragments {
		switch {
		case e.Issuer == f.Issuer && e.Feed == f.Feed:
			j.Includes = append(j.Includes, e.Includes...)
			if !j.Accepted {
				j.Notes = append(j.Notes, fmt.Sprintf("fragments[%d] is about this issuer and feed, with minimum_svn %s%s", i, e.MinimumSVN, receipts(e.RequiredReceipts)))
			}
		case e.Issuer == f.Issuer:
			j.Notes = append(j.Notes, fmt.Sprintf("fragments[%d] has this issuer and the feed %.128q", i, e.Feed))
		case e.Feed == f.Feed:
			j.Notes = append(j.Notes, fmt.Sprintf("fragments[%d] has this feed and the issuer %.512q", i, e.Issuer))
		}
	}
	slices.Sort(j.Includes)
	j.Includes = slices.Compact(j.Includes)
}

func receipts(required []string) string {
	if len(required) == 0 {
		return ""
	}
	return ", receipts " + strings.Join(required, ", ") + " (from ledgers of a loaded trust list)"
}

// use says what of an accepted fragment the policy does not take over.
func (j *Judgement) use(ctx context.Context, f *fragment.Fragment) {
	doc, err := Check(ctx, []byte(f.Text))
	if err != nil || len(j.Includes) == 0 {
		return // parameters, or an entry that another fragment brings
	}
	for _, name := range bring(doc.Lists()) {
		if !slices.Contains(j.Includes, name) {
			j.Notes = append(j.Notes, fmt.Sprintf("its %s do not count: the policy includes %s only", name, strings.Join(j.Includes, ", ")))
		}
	}
}

// told is a refusal with all its reasons.
func told(err error) error {
	var denial *enforcer.Denial
	if errors.As(err, &denial) && len(denial.Reasons) > 0 {
		return errors.New(strings.Join(denial.Reasons, "; "))
	}
	return err
}
