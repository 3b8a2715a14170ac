package signature

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	notary "github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose" // registers its envelope
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	nx509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/tspclient-go"
	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// payloadType is the content type of what is signed.
const payloadType = "application/vnd.cncf.notary.payload.v1+json"

// notationCheck takes signatures of the Notary Project by a certificate's subject: integrity, authenticity, expiry and time of the
// specification's strict level ("trust store and trust policy specification", signature verification), revocation left out.
type notationCheck struct {
	subject     subject
	roots       []*x509.Certificate // for the scheme notary.x509
	authorities []*x509.Certificate // for notary.x509.signingAuthority, whose signing time is believed
	stampers    *x509.CertPool      // nil: none is trusted
	now         func() time.Time
}

func newNotationCheck(r Requirement, now func() time.Time) (*notationCheck, error) {
	n := &notationCheck{now: now}
	var err error
	if n.subject, err = parseSubject(r.values["subject"]); err != nil {
		return nil, err
	}
	if n.roots, err = readCertificates(r.values["roots"]); err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	if n.authorities, err = readCertificates(r.values["authorities"]); err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	stampers, err := readCertificates(r.values["tsa"])
	if err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	for _, c := range stampers {
		if !c.IsCA {
			continue // a stamper's own certificate comes with its stamps
		}
		if n.stampers == nil {
			n.stampers = x509.NewCertPool()
		}
		n.stampers.AddCert(c)
	}
	if stampers != nil && n.stampers == nil {
		return nil, fmt.Errorf("tsa: %s holds no certificate of a CA", r.values["tsa"])
	}
	return n, nil
}

func (n *notationCheck) String() string { return fmt.Sprintf("notation by %s", n.subject) }

func (n *notationCheck) takes(s images.Signer) bool {
	if s.Kind != string(kindNotation) {
		return false
	}
	signed, err := parseDN(s.Identity)
	return err == nil && n.subject.matches(signed)
}

func (n *notationCheck) judge(ctx context.Context, c candidate, t *target) (images.Signer, error) {
	if c.envelope == nil {
		return images.Signer{}, errOther
	}
	content, err := openEnvelope(c.envelope)
	if err != nil {
		return images.Signer{}, err
	}
	signer, err := n.authentic(ctx, &content.SignerInfo)
	if err != nil {
		return images.Signer{}, err
	}
	d, err := parseTarget(content.Payload)
	if err != nil {
		return images.Signer{}, err
	}
	return images.Signer{Kind: string(kindNotation), Identity: signer.String()}, t.describedBy(ctx, d)
}

// openEnvelope verifies that the envelope is whole: form, algorithm by the certificate's key, signature, chain link by link. Who
// signed is not judged yet.
func openEnvelope(e *envelope) (content *notary.EnvelopeContent, err error) {
	defer recoverAs(&err)
	parsed, err := notary.ParseEnvelope(e.mediaType, e.raw)
	if err != nil {
		return nil, err
	}
	if content, err = parsed.Verify(); err != nil {
		return nil, err
	}
	if len(content.SignerInfo.CertificateChain) > maxChain {
		return nil, fmt.Errorf("got a chain of %d certificates, want at most %d", len(content.SignerInfo.CertificateChain), maxChain)
	}
	for _, a := range content.SignerInfo.SignedAttributes.ExtendedAttributes {
		if a.Critical {
			return nil, fmt.Errorf("attribute %s is critical and not understood", quote(fmt.Sprint(a.Key)))
		}
	}
	return content, nil
}

// authentic tells whose signature a whole envelope is.
func (n *notationCheck) authentic(ctx context.Context, info *notary.SignerInfo) (subject, error) {
	trusted := n.roots
	if info.SignedAttributes.SigningScheme == notary.SigningSchemeX509SigningAuthority {
		if trusted = n.authorities; trusted == nil {
			return nil, errors.New("is by the scheme notary.x509.signingAuthority, and the requirement names no authorities=")
		}
	}
	leaf := info.CertificateChain[0]
	if _, err := notary.VerifyAuthenticity(info, trusted); err != nil {
		last := info.CertificateChain[len(info.CertificateChain)-1]
		return nil, fmt.Errorf("certificate of %s leads to %s, which is not among the roots", quote(leaf.Subject.String()), quote(last.Subject.String()))
	}
	signed, err := subjectOf(leaf.Subject)
	if err != nil {
		return nil, err
	}
	if !n.subject.matches(signed) {
		return nil, fmt.Errorf("is by %s, want %s", quote(signed.String()), n.subject)
	}
	if expiry := info.SignedAttributes.Expiry; !expiry.IsZero() && !n.now().Before(expiry) {
		return nil, fmt.Errorf("expired at %s", expiry.UTC().Format(time.RFC3339))
	}
	return signed, n.timely(ctx, info)
}

// timely checks that every certificate was valid when it signed: at a trusted time stamp, at the time that a signing authority
// answers for, else now.
func (n *notationCheck) timely(ctx context.Context, info *notary.SignerInfo) error {
	from, to, word := n.now(), n.now(), "now"
	switch stamp := info.UnsignedAttributes.TimestampSignature; {
	case info.SignedAttributes.SigningScheme == notary.SigningSchemeX509SigningAuthority:
		at, err := info.AuthenticSigningTime()
		if err != nil {
			return err
		}
		from, to, word = at, at, "at the authentic signing time"
	case len(stamp) > 0 && n.stampers != nil:
		t, err := n.stamped(ctx, stamp, info.Signature)
		if err != nil {
			return fmt.Errorf("time stamp: %w", err)
		}
		from, to, word = t.Value.Add(-t.Accuracy), t.Value.Add(t.Accuracy), "at the time stamp"
	case len(stamp) > 0:
		word = "now (its time stamp does not count: no tsa= is given)"
	}
	for _, at := range []time.Time{from, to} {
		for _, c := range info.CertificateChain {
			if at.Before(c.NotBefore) || at.After(c.NotAfter) {
				return fmt.Errorf("certificate %s was not valid %s: %s is outside of %s to %s", quote(c.Subject.String()), word,
					at.UTC().Format(time.RFC3339), c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// stamped verifies a time stamp over a signature (RFC 3161).
func (n *notationCheck) stamped(ctx context.Context, stamp, signature []byte) (t *tspclient.Timestamp, err error) {
	defer recoverAs(&err)
	token, err := tspclient.ParseSignedToken(stamp)
	if err != nil {
		return nil, err
	}
	info, err := token.Info()
	if err != nil {
		return nil, err
	}
	if t, err = info.Validate(signature); err != nil {
		return nil, err
	}
	// A stamp outlives its stamper's certificate: that is judged at the time of the stamp, as the specification does.
	chain, err := token.Verify(ctx, x509.VerifyOptions{Roots: n.stampers, CurrentTime: t.Value})
	if err != nil {
		return nil, err
	}
	return t, nx509.ValidateTimestampingCertChain(chain)
}

// targetDescriptor is the artifact that a payload names.
type targetDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

func parseTarget(p notary.Payload) (*targetDescriptor, error) {
	if p.ContentType != payloadType {
		return nil, fmt.Errorf("payload: got content type %s, want %s", quote(p.ContentType), payloadType)
	}
	var doc struct {
		Target *targetDescriptor `json:"targetArtifact"`
	}
	problems, err := kjson.UnmarshalStrict(p.Content, &doc, kjson.DisallowDuplicateFields)
	if err != nil || len(problems) > 0 {
		return nil, fmt.Errorf("payload: %w", errors.Join(append(problems, err)...))
	}
	if doc.Target == nil {
		return nil, errors.New("payload: targetArtifact is missing")
	}
	return doc.Target, nil
}

// describedBy compares a signed descriptor with the manifest itself: digest, size and media type.
func (t *target) describedBy(ctx context.Context, d *targetDescriptor) error {
	if err := t.names(d.Digest); err != nil {
		return err
	}
	have, raw, err := t.manifest(ctx, d.Digest)
	switch {
	case err != nil:
		return err
	case d.Size != int64(len(raw)):
		return fmt.Errorf("payload: size: got %d, the manifest has %d bytes", d.Size, len(raw))
	case d.MediaType != string(have.MediaType):
		return fmt.Errorf("payload: mediaType: got %s, the manifest has %s", quote(d.MediaType), quote(string(have.MediaType)))
	}
	return nil
}
