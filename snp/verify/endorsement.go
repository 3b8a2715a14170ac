package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/snp"
)

// MaxEndorsement bounds an endorsement: a chain and some hundred bytes of JSON.
const MaxEndorsement = 256 << 10

// endorsementType is the media type of the payload.
const endorsementType = "application/json"

// Endorsement is what the maker of a guest image says of its launch measurement (attestation contract, section 3.2): a COSE_Sign1 message with its certificate
// chain, a did:x509 issuer, a feed, and a payload of JSON.
type Endorsement struct {
	Algorithm    int64 // of COSE
	Issuer, Feed string
	// SignedAt is the time the signer says it signed at, zero if it says none.
	SignedAt time.Time
	// Chain names the certificates, leaf first.
	Chain       []string
	ContentType string
	// SVN is the version of the image, Measurement its launch digest. PayloadError says why the payload has none.
	SVN          uint64
	Measurement  [48]byte
	PayloadError error

	message  *cose.Sign1
	resolved error // why the issuer is not that of the chain; set by checkSignature
}

// ReadEndorsement takes an endorsement apart. It checks no signature: anybody can have made what it returns.
func ReadEndorsement(raw []byte) (*Endorsement, error) {
	m, err := cose.Parse(raw, cose.Options{MaxSize: MaxEndorsement})
	if err != nil {
		return nil, err
	}
	claims, err := m.Claims()
	if err != nil {
		return nil, err
	}
	e := &Endorsement{Algorithm: m.Algorithm, Issuer: claims.Issuer, Feed: claims.Feed, ContentType: m.ContentType, message: m}
	if e.SignedAt, _, err = m.SigningTime(); err != nil {
		return nil, err
	}
	for _, c := range m.Chain {
		e.Chain = append(e.Chain, c.Subject.String())
	}
	e.SVN, e.Measurement, e.PayloadError = readPayload(m.ContentType, m.Payload, claims.SVN)
	return e, nil
}

// payload are the members that count. A signer may add others; what it signed twice or in two ways counts for nothing.
type payload struct {
	SVN         literal `json:"x-ms-sevsnpvm-guestsvn"`
	SVNInt      literal `json:"x-ms-sevsnpvm-guestsvn-int"`
	Measurement string  `json:"x-ms-sevsnpvm-launchmeasurement"`
}

// literal is a JSON value as it was written.
type literal string

// UnmarshalJSON implements json.Unmarshaler.
func (l *literal) UnmarshalJSON(doc []byte) error {
	*l = literal(doc)
	return nil
}

func readPayload(contentType string, raw []byte, claimed *int64) (svn uint64, measurement [48]byte, err error) {
	if contentType != endorsementType {
		return 0, measurement, fmt.Errorf("payload: got content type %.64q, want %q", contentType, endorsementType)
	}
	var p payload
	more, err := kjson.UnmarshalStrict(raw, &p, kjson.DisallowDuplicateFields)
	if err == nil && len(more) > 0 {
		err = more[0]
	}
	if err != nil {
		return 0, measurement, fmt.Errorf("payload: %w", err)
	}
	if svn, err = p.svn(claimed); err != nil {
		return 0, measurement, fmt.Errorf("payload: %w", err)
	}
	digest, err := hex.DecodeString(p.Measurement)
	if err != nil || len(digest) != len(measurement) {
		return 0, measurement, fmt.Errorf("payload: launch measurement: got %.128q, want %d hex digits", p.Measurement, 2*len(measurement))
	}
	return svn, [48]byte(digest), nil
}

// svn reads the version wherever it is given; all places must agree.
func (p *payload) svn(claimed *int64) (uint64, error) {
	var texts []string
	if p.SVN != "" {
		text, ok := strings.CutPrefix(string(p.SVN), `"`)
		text, ok2 := strings.CutSuffix(text, `"`)
		if !ok || !ok2 {
			return 0, fmt.Errorf("guest svn: got %.32s, want a text", p.SVN)
		}
		texts = append(texts, text)
	}
	if p.SVNInt != "" {
		texts = append(texts, string(p.SVNInt))
	}
	if len(texts) == 0 {
		return 0, errors.New("no guest svn")
	}
	if claimed != nil {
		texts = append(texts, strconv.FormatInt(*claimed, 10))
	}
	for _, text := range texts {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != text {
			return 0, fmt.Errorf("guest svn: got %.32q, want a decimal number", text)
		}
		if text != texts[0] {
			return 0, fmt.Errorf("guest svn: got %s and %s, want one", texts[0], text)
		}
	}
	return strconv.ParseUint(texts[0], 10, 64)
}

// statement judges the endorsement of the measurement, if the caller says whose word it takes. Without that an endorsement proves nothing: anybody can sign one.
func (v *Verifier) statement(j judge, r *snp.Report, ev *Evidence, exp *Expectations) {
	if exp.Endorsement == nil {
		j.notAsked(checkEndorsement, checkEndorsementSignature, checkEndorsementIssuer, checkEndorsementFeed, checkEndorsementSVN, checkEndorsementMeasurement)
		return
	}
	if !j.set(checkEndorsement, len(ev.Endorsement) > 0, "an endorsement", presence(ev.Endorsement)) {
		return
	}
	want := "PS384 or ES384, certificates valid when it signed"
	e, err := v.endorsement(ev.Endorsement)
	if err == nil {
		err = e.checkTimes(exp.Now)
	}
	if err != nil {
		j.set(checkEndorsementSignature, false, want, err.Error())
		return
	}
	j.set(checkEndorsementSignature, true, want, e.signed())
	j.statedBy(r, e, exp.Endorsement)
}

// endorsement reads one and checks chain and signature, or remembers that it did.
func (v *Verifier) endorsement(raw []byte) (*Endorsement, error) {
	if len(raw) > MaxEndorsement {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(raw), MaxEndorsement)
	}
	key := sha256.Sum256(raw)
	if e, ok := v.endorsements.get(key); ok {
		return e, nil
	}
	e, err := ReadEndorsement(raw)
	if err != nil {
		return nil, err
	}
	if err := e.checkSignature(); err != nil {
		return nil, err
	}
	v.endorsements.put(key, e)
	return e, nil
}

func (e *Endorsement) checkSignature() error {
	if e.Algorithm != cose.PS384 && e.Algorithm != cose.ES384 {
		return fmt.Errorf("got algorithm %d, want PS384 (%d) or ES384 (%d)", e.Algorithm, cose.PS384, cose.ES384)
	}
	if err := e.message.Verify(); err != nil {
		return err
	}
	e.resolved = cose.ResolveDID(e.Issuer, e.message.Chain)
	return nil
}

// checkTimes wants every certificate to have been valid when the signer says it signed. Certificates of signers live for a year and endorsements for longer, so the
// time of the verification does not count, but nobody signed in the future.
func (e *Endorsement) checkTimes(now time.Time) error {
	if e.SignedAt.IsZero() {
		return errors.New("got no signing time, without which nobody can tell whether the certificates were valid")
	}
	if e.SignedAt.After(now) {
		return fmt.Errorf("got signing time %s, which is after %s", stamp(e.SignedAt), stamp(now))
	}
	for _, c := range e.message.Chain {
		if e.SignedAt.Before(c.NotBefore) || e.SignedAt.After(c.NotAfter) {
			return fmt.Errorf("certificate %.128q: got valid %s to %s, want at signing time %s", c.Subject.String(), stamp(c.NotBefore), stamp(c.NotAfter), stamp(e.SignedAt))
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (e *Endorsement) signed() string {
	name := map[int64]string{cose.PS384: "PS384", cose.ES384: "ES384"}[e.Algorithm]
	return name + ", signed " + stamp(e.SignedAt)
}

// statedBy holds a signed endorsement against the policy and the report. Each row is judged, whatever became of the others.
func (j judge) statedBy(r *snp.Report, e *Endorsement, want *EndorsementPolicy) {
	wanted := strings.Join(want.Issuers, " or ")
	if e.resolved != nil {
		j.set(checkEndorsementIssuer, false, wanted, e.resolved.Error())
	} else {
		j.set(checkEndorsementIssuer, slices.Contains(want.Issuers, e.Issuer), wanted, e.Issuer)
	}
	j.set(checkEndorsementFeed, e.Feed == want.Feed, want.Feed, e.Feed)
	floor, digest := fmt.Sprintf("at least %d", want.MinSVN), hexText(r.Measurement[:])
	if e.PayloadError != nil {
		j.set(checkEndorsementSVN, false, floor, e.PayloadError.Error())
		j.set(checkEndorsementMeasurement, false, digest, e.PayloadError.Error())
		return
	}
	j.set(checkEndorsementSVN, e.SVN >= want.MinSVN, floor, strconv.FormatUint(e.SVN, 10))
	j.set(checkEndorsementMeasurement, e.Measurement == r.Measurement, digest, hexText(e.Measurement[:]))
}

func presence(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return number(uint64(len(b))) + " bytes"
}
