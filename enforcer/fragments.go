package enforcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// FragmentLimit bounds a fragment or trust list, in bytes.
const FragmentLimit = fragment.MaxSize

// fragmentJudge is a judge that loads fragments.
type fragmentJudge interface {
	LoadFragment(ctx context.Context, f *fragment.Fragment) (*point.Verdict, error)
}

// errNoFragments is what a judge that loads none leads to.
var errNoFragments = errors.New("this judge loads no fragments")

// Document is what a signed document says of itself. Of reference information, whose issuer nobody has judged, nothing is said.
type Document struct {
	Issuer string
	Feed   string // of a trust list its subject
	SVN    string // the text of the number or version that the policy compared
}

// LoadFragment asks the policy about a signed document: a fragment, a transparency trust list, or reference information, by its
// media type. The document is the host's. Nothing changes before the decision is committed; then a fragment's lists, a
// trust list's keys, or the information is there all at once. A document that does not hold is a *Denial like one
// that the policy refuses.
func (e *Enforcer) LoadFragment(ctx context.Context, document []byte, mediaType string) (*Decision, error) {
	kind, err := fragment.KindOf(mediaType)
	if err != nil {
		return e.conclude(LoadFragmentInput{}, nil, err)
	}
	switch kind {
	case fragment.KindTrustList:
		return e.loadTrustList(ctx, document)
	case fragment.KindTCBReference, fragment.KindPlatformReference:
		err := fragment.CheckReference(document)
		return e.conclude(LoadFragmentInput{}, &point.Verdict{Allowed: true, Pending: &referencePending{e, mediaType, slices.Clone(document)}}, err)
	}
	f, err := fragment.Open(document)
	if err != nil {
		return e.conclude(LoadFragmentInput{}, nil, err)
	}
	judge, ok := e.judge.(fragmentJudge)
	if !ok {
		return e.conclude(f.Input(false), nil, errNoFragments)
	}
	f.VerifyReceipts(e.trustedLists())
	v, err := judge.LoadFragment(ctx, f)
	d, err := e.conclude(f.Input(false), v, err)
	if err == nil {
		d.Document = &Document{Issuer: f.Issuer, Feed: f.Feed, SVN: v.SVN}
	}
	return d, err
}

func (e *Enforcer) loadTrustList(ctx context.Context, document []byte) (*Decision, error) {
	list, err := fragment.OpenTrustList(document)
	if err != nil {
		return e.conclude(LoadTransparencyTrustListInput{}, nil, err)
	}
	in := LoadTransparencyTrustListInput{Issuer: list.Issuer, Subject: list.Subject, SVN: list.SVN, Ledgers: list.Names()}
	v, err := e.judge.Decide(ctx, point.RowByName(PointLoadTransparencyTrustList), in)
	if err == nil && v.Allowed {
		for _, old := range e.trustedLists() {
			if sameList(old, list) && old.SVN > list.SVN {
				// Its keys may be out of use for a reason.
				return e.conclude(in, nil, &fragment.Error{
					Reason: fragment.ReasonStale, Err: fmt.Errorf("got svn %d, want at least %d", list.SVN, old.SVN),
				})
			}
		}
		v.Pending = &trustPending{enforcer: e, list: list.Restrict(v.Ledgers), policy: v.Pending}
	}
	d, err := e.conclude(in, v, err)
	if err == nil {
		d.Document = &Document{Issuer: list.Issuer, Feed: list.Subject, SVN: strconv.FormatInt(list.SVN, 10)}
	}
	return d, err
}

// conclude makes the decision, or the denial, of a document.
func (e *Enforcer) conclude(in Input, v *point.Verdict, err error) (*Decision, error) {
	row := point.RowOf(in)
	id := strconv.FormatUint(e.decisions.Add(1), 10)
	if e.poisoned.Load() {
		return nil, fmt.Errorf("decide %s: %w", row.Point, ErrInconsistent)
	}
	var refused *fragment.Error
	switch {
	case errors.As(err, &refused):
		return nil, newDenial(id, row, in, refused.Refusal())
	case err != nil:
		return nil, fmt.Errorf("decide %s: %w", row.Point, err)
	case !v.Allowed:
		return nil, newDenial(id, row, in, v.Refusal)
	}
	return &Decision{ID: id, Point: row.Point, enforcer: e, pending: v.Pending}, nil
}

// documents is what LoadFragment keeps beside the policy's own state. What it points to is never changed.
type documents struct {
	sync.Mutex
	trust     []*cose.TrustList
	reference map[string][]byte
}

func (e *Enforcer) trustedLists() []*cose.TrustList {
	e.documents.Lock()
	defer e.documents.Unlock()
	return e.documents.trust
}

// ReferenceInfo is the document of this media type that was loaded last, or nil. Its chain was checked, its issuer was not: whoever
// reads it judges that.
func (e *Enforcer) ReferenceInfo(mediaType string) []byte {
	e.documents.Lock()
	defer e.documents.Unlock()
	return slices.Clone(e.documents.reference[mediaType])
}

func sameList(a, b *cose.TrustList) bool { return a.Issuer == b.Issuer && a.Subject == b.Subject }

// trustPending makes a trust list's keys count.
type trustPending struct {
	enforcer *Enforcer
	list     *cose.TrustList
	policy   point.Pending
}

// Commit implements point.Pending. A newer list takes the place of an older one of the same issuer and subject: what is not in it any
// more is out of use.
func (p *trustPending) Commit() (undo func() error, err error) {
	undoPolicy := func() error { return nil }
	if p.policy != nil {
		if undoPolicy, err = p.policy.Commit(); err != nil {
			return nil, err
		}
	}
	d := &p.enforcer.documents
	d.Lock()
	defer d.Unlock()
	before := d.trust
	for _, old := range before {
		if sameList(old, p.list) && old.SVN > p.list.SVN {
			return nil, errors.Join(errors.New("a newer trust list was loaded since"), undoPolicy())
		}
	}
	after := slices.DeleteFunc(slices.Clone(before), func(l *cose.TrustList) bool { return sameList(l, p.list) })
	after = append(after, p.list)
	d.trust = after
	return func() error {
		d.Lock()
		defer d.Unlock()
		if len(d.trust) == 0 || &d.trust[0] != &after[0] {
			return errors.Join(errors.New("the trust lists were changed since"), undoPolicy())
		}
		d.trust = before
		return undoPolicy()
	}, nil
}

// referencePending keeps reference information.
type referencePending struct {
	enforcer  *Enforcer
	mediaType string
	document  []byte
}

// Commit implements point.Pending.
func (p *referencePending) Commit() (undo func() error, err error) {
	d := &p.enforcer.documents
	d.Lock()
	defer d.Unlock()
	before, was := d.reference[p.mediaType]
	if d.reference == nil {
		d.reference = map[string][]byte{}
	}
	d.reference[p.mediaType] = p.document
	return func() error {
		d.Lock()
		defer d.Unlock()
		if was {
			d.reference[p.mediaType] = before
		} else {
			delete(d.reference, p.mediaType)
		}
		return nil
	}, nil
}
