package signature

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// via stands between the subject and the issuer of a certificate where both are one text.
const via = " via "

// identityCheck takes what somebody signed whose identity Fulcio certified. The certificate is judged at a time that a log or a
// time stamper proves; a log that is known must have the signature.
type identityCheck struct {
	predicate string
	policy    verify.CertificateIdentity
	subject   matcher
	issuer    matcher
	verifier  *verify.Verifier
}

// matcher is an exact text or an expression for the whole of it.
type matcher struct {
	exact   string
	pattern *regexp.Regexp
}

func (m matcher) matches(s string) bool {
	if m.pattern != nil {
		return m.pattern.MatchString(s)
	}
	return s == m.exact
}

func (m matcher) String() string {
	if m.pattern != nil {
		return "/" + m.pattern.String() + "/"
	}
	return m.exact
}

func (r Requirement) matcher(name string) (matcher, error) {
	if r.has(name) {
		return matcher{exact: r.values[name]}, nil
	}
	pattern, err := wholeMatch(r.values[name+"-regexp"])
	return matcher{pattern: pattern}, err
}

func (m matcher) expression() string {
	if m.pattern != nil {
		return m.pattern.String()
	}
	return ""
}

func newIdentityCheck(r Requirement) (*identityCheck, error) {
	c := &identityCheck{predicate: r.predicate()}
	var err error
	if c.subject, err = r.matcher("identity"); err != nil {
		return nil, err
	}
	if c.issuer, err = r.matcher("issuer"); err != nil {
		return nil, err
	}
	c.policy, err = verify.NewShortCertificateIdentity(c.issuer.exact, c.issuer.expression(), c.subject.exact, c.subject.expression())
	if err != nil {
		return nil, err
	}
	trusted, err := readTrust(r)
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	switch {
	case len(trusted.RekorLogs()) > 0:
		options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	case len(trusted.TimestampingAuthorities()) > 0:
		options = append(options, verify.WithSignedTimestamps(1))
	default:
		return nil, errors.New("neither a transparency log nor a time stamper is trusted: Fulcio's certificates live for minutes, and nothing would prove " +
			"that one was valid when it signed; give a trusted_root.json, or rekor= or tsa=")
	}
	if len(trusted.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	c.verifier, err = verify.NewVerifier(trusted, options...)
	return c, err
}

func (c *identityCheck) String() string {
	return fmt.Sprintf("cosign by %s%s%s", c.subject, via, c.issuer)
}

// takes cuts at the last separator: an issuer is a URL and has none, a subject may be anything.
func (c *identityCheck) takes(s images.Signer) bool {
	identity, ok := recordedIdentity(s, c.predicate)
	i := strings.LastIndex(identity, via)
	return ok && i >= 0 && c.subject.matches(identity[:i]) && c.issuer.matches(identity[i+len(via):])
}

func (c *identityCheck) judge(ctx context.Context, cand candidate, t *target) (images.Signer, error) {
	var summary *certificate.Summary
	var err error
	switch {
	case cand.simple != nil:
		summary, err = c.simple(cand.simple, t)
	case cand.bundle != nil:
		var result *verify.VerificationResult
		if result, err = verifyBundle(ctx, c.verifier, cand.bundle, t, c.predicate, verify.WithCertificateIdentity(c.policy)); err == nil {
			summary = result.Signature.Certificate
		}
	default:
		return images.Signer{}, errOther
	}
	if err != nil {
		return images.Signer{}, err
	}
	identity := summary.SubjectAlternativeName + via + summary.Issuer
	return images.Signer{Kind: string(kindCosign), Identity: recordedAs(identity, c.predicate)}, nil
}

func (c *identityCheck) simple(s *simpleSignature, t *target) (summary *certificate.Summary, err error) {
	defer recoverAs(&err)
	if c.predicate != signPredicate {
		return nil, fmt.Errorf("is a signature, not an attestation of type %s", quote(c.predicate))
	}
	e := &simpleEntity{s: s}
	result, err := c.verifier.Verify(e, verify.NewPolicy(e.artifact(), verify.WithCertificateIdentity(c.policy)))
	if err != nil {
		return nil, err
	}
	digest, err := signedDigest(s.payload)
	if err != nil {
		return nil, err
	}
	return result.Signature.Certificate, t.names(digest)
}
