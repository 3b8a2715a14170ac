package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"
)

// crl is a revocation list.
type crl struct {
	list    *x509.RevocationList
	revoked map[string]bool // serial numbers, as their bytes
	root    *authority      // whose signature it was found to have
}

var oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

func parseCRL(der []byte) (*crl, error) {
	if len(der) > maxCRL {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(der), maxCRL)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	for _, e := range list.Extensions {
		if e.Critical && !e.Id.Equal(oidDistributionPoint) { // a delta list is one: it would hide what the base list says
			return nil, fmt.Errorf("got critical extension %s, which has no meaning here", e.Id)
		}
	}
	c := &crl{list: list, revoked: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		c.revoked[string(e.SerialNumber.Bytes())] = true
	}
	return c, nil
}

func (c *crl) issuedBy(root *authority) bool {
	return bytes.Equal(c.list.RawIssuer, root.cert.RawSubject)
}

// signedBy checks the signature and remembers whose it is. It is called before the list is shared.
func (c *crl) signedBy(root *authority) error {
	if c.list.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("got signature algorithm %s, want %s", c.list.SignatureAlgorithm, x509.SHA384WithRSAPSS)
	}
	if err := c.list.CheckSignatureFrom(root.cert); err != nil { // also: the root may sign revocation lists
		return err
	}
	c.root = root
	return nil
}

// callersCRLs checks the caller's revocation lists once, each against the roots of its issuer's name.
func callersCRLs(ders [][]byte, roots *Roots) ([]*crl, error) {
	var out []*crl
	for i, der := range ders {
		for _, root := range roots.anchors {
			c, err := parseCRL(der)
			if err == nil && !c.issuedBy(root) {
				continue
			}
			if err == nil {
				err = c.signedBy(root)
			}
			if err != nil {
				return nil, fmt.Errorf("verify: revocation list %d: %w", i, err)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// lists is what the revocation lists at hand come to for one root.
type lists struct {
	own   []*crl // the root's, signature checked
	other string // issuer of one of another root that came with the evidence
	bad   error  // why one that came with the evidence does not count
}

// revocation judges the chain against the lists that came with the evidence and those of the caller. That a list was withheld is only noticed by asking for one
// (CRLRequired); a list that is there must be right.
func (v *Verifier) revocation(j judge, l *link, g *given, ev *Evidence, exp *Expectations) {
	found := v.lists(l.anchor, g, ev)
	switch {
	case found.bad != nil:
		j.set(checkCRL, true, l.crlText, "a list")
		j.set(checkCRLSignature, false, l.crlText, found.bad.Error())
		return
	case len(found.own) == 0 && found.other != "":
		j.set(checkCRL, false, l.crlText, found.other)
		return
	case len(found.own) == 0 && exp.CRL == CRLRequired:
		j.set(checkCRL, false, l.crlText, "none")
		return
	case len(found.own) == 0:
		j.notAsked(checkCRL, checkCRLSignature, checkCRLTime, checkRevocation)
		return
	}
	j.set(checkCRL, true, l.crlText, l.crlText)
	j.set(checkCRLSignature, true, "signed", "signed")
	j.crlTime(found.own, exp.Now)
	j.revoked(found.own, l)
}

func (v *Verifier) lists(root *authority, g *given, ev *Evidence) (out lists) {
	if len(ev.CRLs) > maxCRLs {
		out.bad = fmt.Errorf("got %d lists, want at most %d", len(ev.CRLs), maxCRLs)
		return out
	}
	if g.crl != nil {
		v.take(&out, g.crl, root)
	}
	for _, der := range ev.CRLs {
		v.take(&out, der, root)
	}
	for _, c := range v.crls {
		if c.root == root {
			out.own = append(out.own, c)
		}
	}
	return out
}

// take judges a list that came with the evidence. Only a list of this root, with its signature, is remembered.
func (v *Verifier) take(out *lists, der []byte, root *authority) {
	h := sha256.New()
	h.Write(root.cert.Raw)
	h.Write(der)
	var key [sha256.Size]byte
	h.Sum(key[:0])
	if c, ok := v.seen.get(key); ok {
		out.own = append(out.own, c)
		return
	}
	c, err := parseCRL(der)
	switch {
	case err != nil:
		out.bad = err
	case !c.issuedBy(root):
		out.other = fmt.Sprintf("a list of %.128q", c.list.Issuer.CommonName)
	default:
		if out.bad = c.signedBy(root); out.bad != nil {
			return
		}
		v.seen.put(key, c)
		out.own = append(out.own, c)
	}
}

// crlTime wants one list to be current. Others may be older: they can only add to what is revoked.
func (j judge) crlTime(own []*crl, now time.Time) {
	latest := own[0].list
	current := false
	for _, c := range own {
		if c.list.ThisUpdate.After(latest.ThisUpdate) {
			latest = c.list
		}
		current = current || !now.Before(c.list.ThisUpdate) && !c.list.NextUpdate.IsZero() && !now.After(c.list.NextUpdate)
	}
	got := latest.ThisUpdate.UTC().Format(time.RFC3339) + " to " + latest.NextUpdate.UTC().Format(time.RFC3339)
	j.set(checkCRLTime, current, now.UTC().Format(time.RFC3339), got)
}

func (j judge) revoked(own []*crl, l *link) {
	const want = "no certificate of the chain"
	for _, cert := range []*x509.Certificate{l.leaf, l.by.cert, l.anchor.cert} {
		for _, c := range own {
			if c.revoked[string(cert.SerialNumber.Bytes())] {
				j.set(checkRevocation, false, want, fmt.Sprintf("%.128q, serial number %x", cert.Subject.CommonName, cert.SerialNumber))
				return
			}
		}
	}
	j.set(checkRevocation, true, want, want)
}
