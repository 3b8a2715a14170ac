package signature

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// statementTypes are the types of an in-toto statement.
var statementTypes = map[string]bool{
	"https://in-toto.io/Statement/v1":   true,
	"https://in-toto.io/Statement/v0.1": true,
}

// verifyBundle verifies a Sigstore bundle over one of the target's digests: a statement of the predicate type with the image as
// its subject, or a signature over the manifest's bytes. options say who must have signed.
func verifyBundle(ctx context.Context, v *verify.Verifier, raw []byte, t *target, predicate string, options ...verify.PolicyOption) (result *verify.VerificationResult, err error) {
	defer recoverAs(&err)
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("not a bundle: %w", err)
	}
	var problems []error
	for _, digest := range t.digests {
		artifact, err := t.artifact(ctx, digest, b.GetMessageSignature() != nil)
		if err != nil {
			return nil, err
		}
		result, err := v.Verify(&b, verify.NewPolicy(artifact, options...))
		if err == nil {
			return result, checkStatement(result, predicate)
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// artifact shows an image to sigstore-go. A bare signature is verified over the manifest's bytes, never over the digest alone:
// pure Ed25519 has no digest to verify, and version 1.3.0 then takes a signature over an empty message for any digest, if the key
// is not its own type.
func (t *target) artifact(ctx context.Context, digest string, bare bool) (verify.ArtifactPolicyOption, error) {
	if bare {
		_, manifest, err := t.manifest(ctx, digest)
		return verify.WithArtifact(bytes.NewReader(manifest)), err
	}
	sum, err := parseDigest(digest)
	return verify.WithArtifactDigest("sha256", sum), err
}

// checkStatement tells a signature from an attestation: a statement that the image fails its tests is signed too.
func checkStatement(r *verify.VerificationResult, predicate string) error {
	s := r.Statement
	if s == nil {
		if predicate != signPredicate {
			return fmt.Errorf("is a signature, not an attestation of type %s", quote(predicate))
		}
		return nil
	}
	if !statementTypes[s.GetType()] {
		return fmt.Errorf("statement: got type %s, want https://in-toto.io/Statement/v1", quote(s.GetType()))
	}
	if s.GetPredicateType() != predicate {
		return fmt.Errorf("is an attestation of type %s, want %s", quote(s.GetPredicateType()), quote(predicate))
	}
	return nil
}

// predicate is the type of statement that a requirement asks for.
func (r Requirement) predicate() string {
	if r.has("predicate") {
		return r.values["predicate"]
	}
	return signPredicate
}

// attesting stands before the type of an attestation in a signer's identity: in the lock file, who attests to something has not
// signed the image.
const attesting = " attesting "

// recordedAs is the identity that goes into the lock file.
func recordedAs(identity, predicate string) string {
	if predicate == signPredicate {
		return identity
	}
	return identity + attesting + predicate
}

// recordedIdentity takes it back, if it is of that predicate.
func recordedIdentity(s images.Signer, predicate string) (string, bool) {
	identity, found, attests := strings.Cut(s.Identity, attesting)
	if s.Kind != string(kindCosign) || attests != (predicate != signPredicate) || (attests && found != predicate) {
		return "", false
	}
	return identity, true
}
