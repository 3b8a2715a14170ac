package signature

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// Options are what a Verifier needs besides the requirements.
type Options struct {
	// Bundles are files and directories that hold signatures, for images whose place holds none: Sigstore bundles in JSON,
	// directories of them, OCI layouts.
	Bundles []string
	// Now is the clock that expiry and certificates are judged by; nil is time.Now.
	Now func() time.Time
}

// Verifier checks images against requirements. It may be used by several goroutines.
type Verifier struct {
	checks  []check
	want    wanted
	offline gathered
}

// NewVerifier reads the files that the requirements name and the bundles. Without a requirement there is nothing to verify: an
// error.
func NewVerifier(requirements []Requirement, o Options) (*Verifier, error) {
	if len(requirements) == 0 {
		return nil, errors.New("no signature is required, so none can be checked")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Verifier{want: wanted{}}
	for _, r := range requirements {
		c, err := r.check(o.Now)
		if err != nil {
			return nil, fmt.Errorf("signature requirement %s: %w", quote(r.text), err)
		}
		v.checks = append(v.checks, c)
		if r.kind == kindCosign {
			v.want[r.predicate()] = true
		}
	}
	for _, path := range o.Bundles {
		if err := v.offline.offline(context.Background(), path); err != nil {
			return nil, fmt.Errorf("signature bundle: %w", err)
		}
	}
	return v, nil
}

func (r Requirement) check(now func() time.Time) (check, error) {
	switch {
	case r.values == nil:
		return nil, errors.New("was not made by ParseRequirement")
	case r.kind == kindNotation:
		return newNotationCheck(r, now)
	case r.has("key"):
		return newKeyCheck(r)
	}
	return newIdentityCheck(r)
}

// Verify tells who of those that are required signed an image, sorted; there is at least one, else the error is a *NotSigned or
// says why nothing could be judged. The user's bundles are looked at first, then the place that holds the image; with a lock file
// alone, the signers that it recorded.
func (v *Verifier) Verify(ctx context.Context, r images.SignatureRequest) ([]images.Signer, error) {
	t := &target{store: r.Store}
	refused := &NotSigned{Reference: r.Reference, Digest: r.Digest}
	for _, c := range v.checks {
		refused.Wanted = append(refused.Wanted, c.String())
	}
	for _, digest := range []string{r.Digest, r.Index} {
		if digest == "" {
			continue
		}
		if _, err := parseDigest(digest); err != nil {
			return nil, fmt.Errorf("check signatures of %s: %w", quote(r.Reference), err)
		}
		t.digests = append(t.digests, digest)
	}
	if r.Digest == "" {
		t.digests = nil
		refused.Found = []string{"an archive without manifest: no signature can name the image"}
	}
	signers, err := v.judge(ctx, &v.offline, t, refused)
	if err != nil || len(signers) > 0 {
		return signers, err
	}
	locked := r.Recorded != nil
	if r.Store != nil && len(t.digests) > 0 {
		beside, err := v.beside(ctx, t)
		switch {
		case errors.Is(err, images.ErrLocked):
			locked = true
		case err != nil:
			return nil, fmt.Errorf("check signatures of %s: %w", quote(r.Reference), err)
		default:
			if signers, err = v.judge(ctx, beside, t, refused); err != nil || len(signers) > 0 {
				return signers, err
			}
		}
	}
	if locked {
		signers = v.recorded(r.Recorded, refused)
	}
	if len(signers) == 0 {
		return nil, refused
	}
	return signers, nil
}

// beside gathers what lies beside the image.
func (v *Verifier) beside(ctx context.Context, t *target) (*gathered, error) {
	var g gathered
	for _, digest := range t.digests {
		if err := g.gather(ctx, t.store, digest, v.want); err != nil {
			return nil, err
		}
	}
	return &g, nil
}

// judge asks every check about every candidate.
func (v *Verifier) judge(ctx context.Context, g *gathered, t *target, refused *NotSigned) ([]images.Signer, error) {
	var signers []images.Signer
	if len(t.digests) == 0 {
		return nil, nil
	}
	for _, c := range g.candidates {
		var problems []string
		for _, check := range v.checks {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			signer, err := check.judge(ctx, c, t)
			switch {
			case errors.Is(err, errOther):
			case err != nil:
				problems = append(problems, oneLine(err))
			default:
				signers = append(signers, signer)
			}
		}
		if len(problems) == 0 {
			problems = []string{"is not of a required kind"}
		}
		slices.Sort(problems)
		refused.Found = append(refused.Found, c.String()+" "+strings.Join(slices.Compact(problems), "; "))
	}
	refused.Found = append(refused.Found, g.notes...)
	slices.SortFunc(signers, func(a, b images.Signer) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Identity, b.Identity))
	})
	return slices.Compact(signers), nil
}

// recorded are the signers of the lock file that a requirement takes. They were verified when the file was written; the file
// is the user's own.
func (v *Verifier) recorded(list []images.Signer, refused *NotSigned) []images.Signer {
	var signers []images.Signer
	for _, s := range list {
		if slices.ContainsFunc(v.checks, func(c check) bool { return c.takes(s) }) {
			signers = append(signers, s)
		} else {
			refused.Found = append(refused.Found, fmt.Sprintf("in the lock file: %s by %s", quote(s.Kind), quote(s.Identity)))
		}
	}
	if len(list) == 0 {
		refused.Found = append(refused.Found, "in the lock file: no signer")
	}
	return signers
}
