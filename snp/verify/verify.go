package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Evidence judges a report with its certificates. An error means that the caller's own part (roots, expectations) is unusable; whatever is wrong
// with the evidence is in the verdict.
func Evidence(ev snp.Evidence, roots *Roots, exp Expectations) (*Verdict, error) {
	if err := exp.check(); err != nil {
		return nil, err
	}
	if roots == nil || len(roots.anchors) == 0 {
		return nil, errors.New("verify: got no root certificate")
	}
	v := &Verdict{}
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		v.add("report", err.Error(), "a report of version 2 to 5", false)
		return v.close(), nil
	}
	v.add("report", fmt.Sprintf("version %d", r.Version), "version 2 to 5", true)
	if c, ok := v.chain(r, ev.Certs, roots); ok {
		v.signature(r, c)
		v.validity(c, exp)
		v.endorsed(r, c.says, exp)
	}
	v.expected(r, exp)
	return v.close(), nil
}

// chain is the way from the report's key to an anchor.
type chain struct {
	key, by, anchor *x509.Certificate
	says            *endorsement
}

// chain finds and checks the certificates. Without them nothing that follows could be judged, and the row that failed says why.
func (v *Verdict) chain(r *snp.Report, table []byte, roots *Roots) (*chain, bool) {
	certs, err := snp.ParseCerts(table)
	if err != nil {
		return nil, v.add("certificates", err.Error(), "a well-formed certificate table", false)
	}
	kind, guid := "VCEK", snp.GUIDVCEK
	switch r.KeyInfo.Signer() {
	case snp.SignerVCEK:
	case snp.SignerVLEK:
		kind, guid = "VLEK", snp.GUIDVLEK
	default:
		return nil, v.add("signer", fmt.Sprintf("kind %d", r.KeyInfo.Signer()), "VCEK or VLEK", false)
	}
	key, says, err := endorsementKey(certs, guid, roots)
	if err != nil {
		return nil, v.add("certificates", err.Error(), "the certificate of the report's "+kind, false)
	}
	v.Signer, v.Product = key.Subject.String(), says.product
	if !v.add("signer", says.kind(), kind, says.kind() == kind) {
		return nil, false
	}
	c := &chain{key: key, says: says}
	if err := c.link(certs, roots); err != nil {
		return nil, v.add("chain", err.Error(), "signed by an intermediate that a root given by --roots signed", false)
	}
	v.Root = c.anchor.Subject.String()
	return c, v.add("chain", "signed by "+c.by.Subject.CommonName, "a root among those given: "+c.anchor.Subject.CommonName, true)
}

// endorsementKey takes the certificate from the host's table or, when that has none, from the files the caller keeps beside the roots.
func endorsementKey(certs []snp.Cert, guid snp.GUID, roots *Roots) (*x509.Certificate, *endorsement, error) {
	for _, c := range certs {
		if c.GUID != guid {
			continue
		}
		cert, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return nil, nil, err
		}
		says, err := parseEndorsement(cert)
		return cert, says, err
	}
	for _, cert := range roots.helpers {
		if says, err := parseEndorsement(cert); err == nil && says.kind() == kindOf[guid] {
			return cert, says, nil
		}
	}
	return nil, nil, errors.New("neither the evidence nor the roots hold one")
}

var kindOf = map[snp.GUID]string{snp.GUIDVCEK: "VCEK", snp.GUIDVLEK: "VLEK"}

// kind says what the certificate is for: a chip has a hardware id, a cloud provider has a name, and no certificate has both.
func (e *endorsement) kind() string {
	switch {
	case e.hwid != nil && e.csp == "":
		return "VCEK"
	case e.hwid == nil && e.csp != "":
		return "VLEK"
	}
	return "neither"
}

// link finds intermediate and anchor. An intermediate may come from the host: it counts only when an anchor signed it.
func (c *chain) link(certs []snp.Cert, roots *Roots) error {
	candidates := slices.Clone(roots.helpers)
	for _, h := range certs {
		if h.GUID != snp.GUIDASK {
			continue
		}
		if cert, err := x509.ParseCertificate(h.Data); err == nil {
			candidates = append(candidates, cert)
		}
		break
	}
	reason := errors.New("no intermediate certificate")
	for _, by := range candidates {
		if err := signedBy(c.key, by); err != nil {
			reason = err
			continue
		}
		for _, anchor := range roots.anchors {
			if err := signedBy(by, anchor); err != nil {
				reason = err
				continue
			}
			c.by, c.anchor = by, anchor
			return nil
		}
	}
	return reason
}

// signature checks ECDSA P-384 with SHA-384 over the first 0x2A0 bytes.
func (v *Verdict) signature(r *snp.Report, c *chain) {
	const want = "ECDSA P-384 SHA-384 by the report's key"
	key, ok := c.key.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P384():
		v.add("signature", fmt.Sprintf("a key of type %T", c.key.PublicKey), want, false)
		return
	case r.SignatureAlgo != 1:
		v.add("signature", fmt.Sprintf("algorithm %d", r.SignatureAlgo), want, false)
		return
	case r.KeyInfo.MaskChipKey():
		v.add("signature", "none: the chip's key is masked", want, false)
		return
	}
	sum := sha512.Sum384(r.Signed())
	if !ecdsa.Verify(key, sum[:], littleEndian(r.Signature[:72]), littleEndian(r.Signature[72:])) {
		v.add("signature", "does not verify", want, false)
		return
	}
	v.add("signature", "verifies", want, true)
}

func littleEndian(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (v *Verdict) validity(c *chain, exp Expectations) {
	for _, cert := range []*x509.Certificate{c.key, c.by, c.anchor} {
		if exp.Now.Before(cert.NotBefore) || exp.Now.After(cert.NotAfter) {
			v.add("validity", fmt.Sprintf("%s: %s to %s", cert.Subject.CommonName, day(cert.NotBefore), day(cert.NotAfter)), "valid on "+day(exp.Now), false)
			return
		}
	}
	v.add("validity", "all certificates", "valid on "+day(exp.Now), true)
}

// endorsed holds the report against what the certificate says of the processor: without it a key of old firmware, or of another chip, would do.
func (v *Verdict) endorsed(r *snp.Report, says *endorsement, exp Expectations) {
	line := says.line
	if r.Version >= 3 {
		got, err := snp.LineOf(r.CPU)
		if err != nil {
			v.add("product", err.Error(), says.product, false)
		} else {
			v.add("product", string(got), says.product, got == line)
		}
	}
	reported := v.tcb("reported_tcb", r.ReportedTCB, line, "as certified, "+says.tcb.String(), func(p snp.TCBParts) bool { return p == says.tcb })
	atLeast := func(p snp.TCBParts) bool { return p.AtLeast(*exp.MinTCB) }
	v.tcb("min_tcb", r.ReportedTCB, line, "at least "+exp.MinTCB.String(), atLeast)
	v.tcb("launch_tcb", r.LaunchTCB, line, "at least "+exp.MinTCB.String(), atLeast)
	committed := v.tcb("committed_tcb", r.CommittedTCB, line, "at least the reported one", func(p snp.TCBParts) bool { return p.AtLeast(reported) })
	v.tcb("current_tcb", r.CurrentTCB, line, "at least the committed one", func(p snp.TCBParts) bool { return p.AtLeast(committed) })
	if says.hwid != nil {
		var want [64]byte
		copy(want[:], says.hwid)
		v.add("chip_id", hex.EncodeToString(r.ChipID[:]), hex.EncodeToString(want[:]), r.ChipID == want)
	}
}

func (v *Verdict) tcb(name string, t snp.TCB, line snp.Line, want string, ok func(snp.TCBParts) bool) snp.TCBParts {
	p, err := t.Parts(line)
	if err != nil {
		v.add(name, err.Error(), want, false)
		return p
	}
	v.add(name, p.String(), want, ok(p))
	return p
}

// expected holds the report against the caller's expectations.
func (v *Verdict) expected(r *snp.Report, exp Expectations) {
	v.add("report_data", hex.EncodeToString(r.ReportData[:]), hex.EncodeToString(exp.ReportData[:]), r.ReportData == *exp.ReportData)
	v.add("host_data", hex.EncodeToString(r.HostData[:]), hex.EncodeToString(exp.HostData[:]), r.HostData == *exp.HostData)
	v.measurement(r, exp)
	// A report the host asked for has level 0xffffffff, and says nothing about who in the guest wanted it.
	v.add("vmpl", fmt.Sprint(r.VMPL), fmt.Sprint(*exp.VMPL), r.VMPL == *exp.VMPL)
	v.add("guest_svn", fmt.Sprint(r.GuestSVN), fmt.Sprintf("at least %d", *exp.MinGuestSVN), r.GuestSVN >= *exp.MinGuestSVN)
	v.policy(r.Policy, *exp.GuestPolicy)
}

func (v *Verdict) measurement(r *snp.Report, exp Expectations) {
	got := hex.EncodeToString(r.Measurement[:])
	if exp.AnyMeasurement {
		v.add("measurement", got, "any, as asked for", r.Measurement != [48]byte{})
		return
	}
	var want []string
	for _, m := range exp.Measurements {
		want = append(want, hex.EncodeToString(m[:]))
	}
	v.add("measurement", got, strings.Join(want, " or "), slices.Contains(exp.Measurements, r.Measurement))
}

// policy holds the guest policy against the limit, permission by permission. Bits without a meaning here are refused: they could be permissions.
func (v *Verdict) policy(p snp.GuestPolicy, limit PolicyLimit) {
	const known = 1<<26 - 1
	v.add("guest_policy", p.String(), "bit 17 set, bits 26 to 63 clear", p&snp.PolicyReservedOne != 0 && uint64(p)&^known == 0)
	for _, b := range []struct {
		name    string
		bit     snp.GuestPolicy
		allowed bool
	}{
		{"policy_debug", snp.PolicyDebug, false},
		{"policy_migration", snp.PolicyMigrateMA, false},
		{"policy_smt", snp.PolicySMT, limit.SMT},
		{"policy_cxl", snp.PolicyCXL, limit.CXL},
	} {
		set := p&b.bit != 0
		want := "not allowed"
		if b.allowed {
			want = "allowed or not"
		}
		v.add(b.name, map[bool]string{true: "allowed", false: "not allowed"}[set], want, !set || b.allowed)
	}
}
