package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

const minRSABits = 2048

// keyCheck takes what one public key signed. The key alone decides: no log is asked for, and no time.
type keyCheck struct {
	file      string
	identity  string // "key:sha256:…" of the key's PKIX form
	predicate string
	// ways are how cosign's versions sign with such a key: the format names no algorithm, so the key's kind decides, never the
	// signature.
	ways []way
}

type way struct {
	signature.Verifier
	bundles *verify.Verifier
}

func newKeyCheck(r Requirement) (*keyCheck, error) {
	raw, err := readFile(r.values["key"], maxTrustFile)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(raw)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("got %d keys, want 1", len(keys))
	}
	if err != nil {
		return nil, fmt.Errorf("public key %q: %w", r.values["key"], err)
	}
	k := &keyCheck{file: r.values["key"], predicate: r.predicate()}
	der, err := x509.MarshalPKIXPublicKey(keys[0])
	if err != nil {
		return nil, fmt.Errorf("public key %q: %w", k.file, err)
	}
	k.identity = fmt.Sprintf("key:sha256:%x", sha256.Sum256(der))
	verifiers, err := waysOf(keys[0])
	if err != nil {
		return nil, fmt.Errorf("public key %q: %w", k.file, err)
	}
	for _, v := range verifiers {
		trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil // a bundle's hint is nobody's word
		})
		b, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
		if err != nil {
			return nil, fmt.Errorf("public key %q: %w", k.file, err)
		}
		k.ways = append(k.ways, way{v, b})
	}
	return k, nil
}

// waysOf are SHA-256, or what goes with the curve since cosign 3, for ECDSA; PKCS #1 v1.5 with SHA-256 for RSA; Ed25519 pure and,
// for bundles, prehashed.
func waysOf(key crypto.PublicKey) (list []signature.Verifier, err error) {
	add := func(v signature.Verifier, e error) {
		list, err = append(list, v), errors.Join(err, e)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		add(signature.LoadECDSAVerifier(k, crypto.SHA256))
		switch k.Curve {
		case elliptic.P256():
		case elliptic.P384():
			add(signature.LoadECDSAVerifier(k, crypto.SHA384))
		case elliptic.P521():
			add(signature.LoadECDSAVerifier(k, crypto.SHA512))
		default:
			return nil, fmt.Errorf("got curve %s, want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("got an RSA key of %d bits, want at least %d", k.N.BitLen(), minRSABits)
		}
		add(signature.LoadRSAPKCS1v15Verifier(k, crypto.SHA256))
	case ed25519.PublicKey:
		add(signature.LoadED25519Verifier(k))
		add(signature.LoadED25519phVerifier(k))
	default:
		return nil, fmt.Errorf("got a key of type %T, want ECDSA, RSA or Ed25519", key)
	}
	return list, err
}

func (k *keyCheck) String() string { return fmt.Sprintf("cosign with %s (%s)", k.identity, k.file) }

func (k *keyCheck) takes(s images.Signer) bool {
	identity, ok := recordedIdentity(s, k.predicate)
	return ok && identity == k.identity
}

func (k *keyCheck) judge(ctx context.Context, c candidate, t *target) (images.Signer, error) {
	signer := images.Signer{Kind: string(kindCosign), Identity: recordedAs(k.identity, k.predicate)}
	switch {
	case c.simple != nil:
		return signer, k.simple(c.simple, t)
	case c.bundle != nil:
		return signer, k.bundle(ctx, c.bundle, t)
	}
	return signer, errOther
}

func (k *keyCheck) simple(s *simpleSignature, t *target) error {
	if k.predicate != signPredicate {
		return fmt.Errorf("is a signature, not an attestation of type %s", quote(k.predicate))
	}
	for _, w := range k.ways {
		if w.VerifySignature(bytes.NewReader(s.signature), bytes.NewReader(s.payload)) != nil {
			continue
		}
		digest, err := signedDigest(s.payload)
		if err != nil {
			return err
		}
		return t.names(digest)
	}
	return fmt.Errorf("does not verify with %s", k.identity)
}

func (k *keyCheck) bundle(ctx context.Context, raw []byte, t *target) error {
	var err error
	for _, w := range k.ways {
		if _, err = verifyBundle(ctx, w.bundles, raw, t, k.predicate, verify.WithKey()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("does not verify with %s: %w", k.identity, err)
}

// parseKeys reads PEM public keys and nothing else.
func parseKeys(text []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, errors.New("want a PEM block PUBLIC KEY")
		case block.Type == "CERTIFICATE":
			return nil, errors.New("got a certificate, want a public key; for a certificate write cosign:identity=… or notation:…")
		case block.Type != "PUBLIC KEY":
			return nil, fmt.Errorf("got a PEM block %s, want PUBLIC KEY", quote(block.Type))
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		text = rest
	}
	return keys, nil
}
