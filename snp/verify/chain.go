package verify

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// link is the way from one endorsement key to a pinned root, every signature of it checked.
type link struct {
	leaf       *x509.Certificate
	says       *endorsement
	by, anchor *authority
	// What a verdict shows, made once.
	signer, root, path, tcbText, validText, crlText string
	product                                         string    // of the certificate, without the stepping
	notBefore, notAfter                             time.Time // of all three
}

// chains are the ways that a set of certificates gives. More than one when certificates of several chips or versions are kept together.
type chains struct{ links []*link }

// failure is a check that a set of certificates does not pass.
type failure struct {
	id        checkID
	want, got string
}

func fail(id checkID, want string, err error) *failure { return &failure{id, want, err.Error()} }

// link finds the certificates and their way to a root, and judges the times. Nil says that nothing further can be judged; the row that failed says why.
func (v *Verifier) link(j judge, r *snp.Report, ev *Evidence, exp *Expectations) *link {
	kind := kindOf(r.KeyInfo.Signer())
	g, err := collect(ev, kind)
	if err != nil {
		j.set(checkTable, false, wantTable, err.Error())
		return nil
	}
	j.set(checkTable, true, wantTable, wantTable)
	if kind == "" {
		j.set(checkSigner, false, "VCEK or VLEK", fmt.Sprintf("signer %d", r.KeyInfo.Signer()))
		return nil
	}
	key := g.hash(kind)
	found, ok := v.chains.get(key)
	if !ok {
		var bad *failure
		if found, bad = v.build(&g, kind); bad != nil {
			j.set(bad.id, false, bad.want, bad.got)
			return nil
		}
		v.chains.put(key, found)
	}
	l := found.pick(r)
	j.v.Line, j.v.Signer, j.v.Root = l.says.line, l.signer, l.root
	j.v.TestOnly = isTestOnly(l.anchor.cert)
	j.set(checkCertificates, true, kind, kind)
	j.set(checkCertificate, true, wantForm, wantForm)
	j.set(checkSigner, true, kind, l.says.kind())
	j.set(checkChain, true, "a pinned root", l.path)
	j.line(l, kind)
	j.validity(l, exp)
	v.revocation(j, l, &g, ev, exp)
	j.product(r, l, &g)
	j.kinds(l, kind, exp)
	return l
}

const (
	wantChain = "certificates that lead to a pinned root"
	wantForm  = "AMD's form"
)

// build checks every certificate at hand. One that leads nowhere is refused even if the chain holds without it: evidence with a stranger's certificate in it is not what
// it says it is.
func (v *Verifier) build(g *given, kind string) (*chains, *failure) {
	leaves, others, bad := g.parse(kind)
	if bad != nil {
		return nil, bad
	}
	issuers := slices.Clone(v.roots.helpers)
	for _, cert := range others {
		if selfIssued(cert) {
			if err := v.pinned(cert); err != nil {
				return nil, fail(checkChain, wantChain, err)
			}
			continue
		}
		issuers = append(issuers, newAuthority(cert))
		if _, err := v.anchorOf(cert); err != nil {
			return nil, fail(checkChain, wantChain, err)
		}
	}
	if len(leaves) == 0 {
		return v.callers(issuers, kind)
	}
	out := &chains{}
	for _, leaf := range leaves {
		l, bad := v.chain(leaf, issuers)
		if bad != nil {
			return nil, bad
		}
		if leaf.says.kind() == kind {
			out.links = append(out.links, l)
		}
	}
	return out, nil
}

// callers looks for the endorsement key's certificate among the caller's own, where those that do not fit are no fault.
func (v *Verifier) callers(issuers []*authority, kind string) (*chains, *failure) {
	out := &chains{}
	bad := &failure{checkCertificates, "the certificate of the report's " + kind, "none"}
	for _, leaf := range v.roots.leaves {
		if leaf.says.kind() != kind {
			continue
		}
		l, reason := v.chain(leaf, issuers)
		if reason != nil {
			bad = reason
			continue
		}
		out.links = append(out.links, l)
	}
	if len(out.links) == 0 {
		return nil, bad
	}
	return out, nil
}

// pinned says whether a root that came with the evidence has a pinned root's key.
func (v *Verifier) pinned(cert *x509.Certificate) error {
	for _, a := range v.roots.anchors {
		if bytes.Equal(a.cert.RawSubject, cert.RawSubject) && bytes.Equal(a.cert.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) {
			return signedBy(cert, a.cert)
		}
	}
	return fmt.Errorf("root %.128q is not pinned", cert.Subject.CommonName)
}

// anchorOf finds the pinned root that signed an intermediate.
func (v *Verifier) anchorOf(cert *x509.Certificate) (*authority, error) {
	reason := fmt.Errorf("no pinned root is named like %.128q, the issuer of %.128q", cert.Issuer.CommonName, cert.Subject.CommonName)
	for _, a := range v.roots.anchors {
		if !bytes.Equal(cert.RawIssuer, a.cert.RawSubject) {
			continue
		}
		err := signedBy(cert, a.cert)
		if err == nil {
			return a, nil
		}
		reason = err
	}
	return nil, reason
}

// chain checks one endorsement key's certificate. A root's signature is checked before a key below it is used.
func (v *Verifier) chain(leaf endorsed, issuers []*authority) (*link, *failure) {
	var reason error
	for _, by := range issuers {
		if !bytes.Equal(leaf.cert.RawIssuer, by.cert.RawSubject) {
			continue
		}
		anchor, err := v.anchorOf(by.cert)
		if err == nil {
			err = signedBy(leaf.cert, by.cert)
		}
		if err == nil {
			return newLink(leaf, by, anchor), nil
		}
		reason = err
	}
	if reason != nil {
		return nil, fail(checkChain, wantChain, reason)
	}
	return nil, &failure{checkCertificates, fmt.Sprintf("the certificate of %.128q", leaf.cert.Issuer.CommonName), "none"}
}

func newLink(leaf endorsed, by, anchor *authority) *link {
	l := &link{
		leaf: leaf.cert, says: leaf.says, by: by, anchor: anchor,
		signer: leaf.cert.Subject.String(), root: anchor.cert.Subject.String(), tcbText: leaf.says.tcb.String(),
		path:      by.cert.Subject.CommonName + ", " + anchor.cert.Subject.CommonName,
		notBefore: leaf.cert.NotBefore, notAfter: leaf.cert.NotAfter,
	}
	for _, a := range []*authority{by, anchor} {
		if a.cert.NotBefore.After(l.notBefore) {
			l.notBefore = a.cert.NotBefore
		}
		if a.cert.NotAfter.Before(l.notAfter) {
			l.notAfter = a.cert.NotAfter
		}
	}
	l.product, _, _ = strings.Cut(leaf.says.product, "-")
	l.crlText = "a list of " + anchor.cert.Subject.CommonName
	l.validText = l.notBefore.UTC().Format(time.RFC3339) + " to " + l.notAfter.UTC().Format(time.RFC3339)
	return l
}

// pick takes the certificate that was issued for the report's TCB and chip, or else the first, for the verdict to say what does not fit.
func (c *chains) pick(r *snp.Report) *link {
	for _, l := range c.links {
		tcb, err := r.ReportedTCB.Parts(l.says.line)
		if err == nil && tcb == l.says.tcb && (l.says.chipID == nil || *l.says.chipID == r.ChipID) {
			return l
		}
	}
	return c.links[0]
}

// line judges that a root stands over its own product line: Genoa's says nothing about a Milan.
func (j judge) line(l *link, kind string) {
	ok := l.by.vouchesFor(l.says.line, kind) && l.anchor.vouchesFor(l.says.line, "")
	j.set(checkRootLine, ok, string(l.says.line), l.path)
}

func (j judge) validity(l *link, exp *Expectations) {
	ok := !exp.Now.Before(l.notBefore) && !exp.Now.After(l.notAfter)
	j.set(checkValidity, ok, exp.Now.UTC().Format(time.RFC3339), l.validText)
}
