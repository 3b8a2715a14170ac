package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/snp"
)

// testOnlyMark is in the subject of every certificate that the software processor makes.
const testOnlyMark = "TEST ONLY - not AMD"

func isTestOnly(root *x509.Certificate) bool {
	return strings.Contains(root.Subject.CommonName, testOnlyMark)
}

// signature checks ECDSA P-384 with SHA-384 over the first 0x2A0 bytes.
func (j judge) signature(r *snp.Report, l *link) {
	const want = "by the certificate's key"
	if r.KeyInfo.MaskChipKey() && l.says.chipID != nil { // a cloud provider's key is not the chip's, and signs all the same
		j.set(checkSignature, false, want, "none: the chip's key is masked")
		return
	}
	sum := sha512.Sum384(r.Signed())
	if !ecdsa.Verify(l.says.key, sum[:], littleEndian(r.Signature[:72]), littleEndian(r.Signature[72:])) {
		j.set(checkSignature, false, want, "by another key, or over other bytes")
		return
	}
	j.set(checkSignature, true, want, want)
}

func littleEndian(b []byte) *big.Int {
	var buf [72]byte
	for i, x := range b {
		buf[len(buf)-1-i] = x
	}
	return new(big.Int).SetBytes(buf[:])
}

// product holds the report's processor against the certificate's line. Version 2 does not name one: there the certificate does, and the host's extra entry of the
// table, if it sent one, must agree.
func (j judge) product(r *snp.Report, l *link, g *given) {
	want := string(l.says.line)
	cpu, named := r.CPU, r.Version >= 3
	if !named && g.cpu != nil {
		var err error
		if cpu, err = snp.ParseCPUEntry(g.cpu); err != nil {
			j.set(checkProduct, false, want, err.Error())
			return
		}
		named = true
	}
	if !named {
		j.v.Product = l.product
		j.set(checkProduct, true, want, "by its certificate "+l.product)
		return
	}
	p, err := snp.ProductOf(cpu)
	if err != nil {
		j.set(checkProduct, false, want, err.Error())
		return
	}
	j.v.Product = p.Name
	j.set(checkProduct, p.Line == l.says.line, want, p.Name)
}

// kinds judges what kind of processor and key the caller takes.
func (j judge) kinds(l *link, kind string, exp *Expectations) {
	if exp.Signer == SignerAny {
		j.notAsked(checkSignerAllowed)
	} else {
		j.set(checkSignerAllowed, strings.EqualFold(string(exp.Signer), kind), string(exp.Signer), kind)
	}
	plain := func(s string) string { return s }
	if exp.Products == nil {
		j.notAsked(checkProductAllowed)
	} else {
		member(j, checkProductAllowed, j.v.Product, exp.products(), plain)
	}
	switch {
	case exp.CSPs == nil:
		j.notAsked(checkCSPAllowed)
	case l.says.csp == "":
		j.set(checkCSPAllowed, false, "a cloud provider's key", "a chip's key")
	default:
		member(j, checkCSPAllowed, l.says.csp, exp.CSPs, plain)
	}
}

// endorsed holds the report against what the certificate says of the processor: without it a key of old firmware, or of another chip, would do.
func (j judge) endorsed(r *snp.Report, l *link, exp *Expectations) {
	j.chip(r, l, exp)
	line := l.says.line
	var parts [4]snp.TCBParts
	for i, t := range [...]snp.TCB{r.ReportedTCB, r.CurrentTCB, r.CommittedTCB, r.LaunchTCB} {
		p, err := t.Parts(line)
		if err != nil {
			j.set(checkTCBForm, false, "the form of "+string(line), err.Error())
			j.unaskedTCB(exp)
			return
		}
		parts[i] = p
	}
	reported, current, committed, launch := parts[0], parts[1], parts[2], parts[3]
	j.set(checkTCBForm, true, "of the line", "of the line")
	got := l.tcbText
	if reported != l.says.tcb {
		got = reported.String()
	}
	j.set(checkReportedTCB, reported == l.says.tcb, l.tcbText, got)
	if ok := current.AtLeast(reported) && current.AtLeast(committed); ok {
		j.set(checkTCBOrder, true, "current newest", "current newest")
	} else {
		j.set(checkTCBOrder, false, "none newer than the current "+current.String(), "reported "+reported.String()+", committed "+committed.String())
	}
	j.minTCB(checkMinTCB, reported, exp.MinTCB)
	j.minTCB(checkMinLaunchTCB, launch, exp.MinLaunchTCB)
	j.provisional(r, exp, current == committed)
}

// chip ties the report to the chip its certificate is for. A cloud provider's key is for no chip.
func (j judge) chip(r *snp.Report, l *link, exp *Expectations) {
	switch {
	case l.says.chipID == nil:
		j.set(checkChipID, true, "any: a VLEK is for no chip", "not certified")
	case r.ChipID == *l.says.chipID:
		text := hexText(r.ChipID[:])
		j.set(checkChipID, true, text, text)
	case r.ChipID == [64]byte{} && exp.AllowMaskedChipID:
		j.set(checkChipID, true, "masked, as allowed", "masked")
	case r.ChipID == [64]byte{}:
		j.set(checkChipID, false, hexText(l.says.chipID[:]), "masked")
	default:
		j.set(checkChipID, false, hexText(l.says.chipID[:]), hexText(r.ChipID[:]))
	}
}

// unlinked settles, where no chain was found, what nobody asked about it.
func (j judge) unlinked(exp *Expectations) {
	j.unaskedTCB(exp)
	if exp.Signer == SignerAny {
		j.notAsked(checkSignerAllowed)
	}
	if exp.Products == nil {
		j.notAsked(checkProductAllowed)
	}
	if exp.CSPs == nil {
		j.notAsked(checkCSPAllowed)
	}
}

// unaskedTCB settles, where TCBs cannot be read, what nobody asked about them.
func (j judge) unaskedTCB(exp *Expectations) {
	if exp.MinTCB == nil {
		j.notAsked(checkMinTCB)
	}
	if exp.MinLaunchTCB == nil {
		j.notAsked(checkMinLaunchTCB)
	}
	if !exp.RefuseProvisional {
		j.notAsked(checkProvisional)
	}
}

func (j judge) minTCB(id checkID, got snp.TCBParts, want *snp.TCBParts) {
	if want == nil {
		j.notAsked(id)
		return
	}
	j.set(id, got.AtLeast(*want), "at least "+want.String(), got.String())
}

func (j judge) provisional(r *snp.Report, exp *Expectations, sameTCB bool) {
	if !exp.RefuseProvisional {
		j.notAsked(checkProvisional)
		return
	}
	ok := sameTCB && r.Current == r.Committed
	got := "firmware " + r.Current.String() + ", committed " + r.Committed.String()
	if !sameTCB {
		got += ", another TCB committed"
	}
	j.set(checkProvisional, ok, "committed", got)
}

// equal compares a field with what was wanted; the text is made once where both are the same.
func (j judge) equal(id checkID, got, want []byte) bool {
	text := hexText(got)
	if bytes.Equal(got, want) {
		return j.set(id, true, text, text)
	}
	return j.set(id, false, hexText(want), text)
}

// shownMembers bounds what a failing row names of a set: enough for an image's launch digests of every number of processors, several times over.
const shownMembers = 256

// member wants a field to be one of a set. Shortening further is for whoever shows the row to people.
func member[T comparable](j judge, id checkID, got T, set []T, text func(T) string) {
	t := text(got)
	if slices.Contains(set, got) {
		j.set(id, true, t, t)
		return
	}
	var want strings.Builder
	for i, w := range set {
		if i == shownMembers {
			want.WriteString(" or " + number(uint64(len(set)-i)) + " more")
			break
		}
		if i > 0 {
			want.WriteString(" or ")
		}
		want.WriteString(text(w))
	}
	j.set(id, false, want.String(), t)
}
