package fragmentgen

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// ContentType is what the peers' tools write as the payload's type.
const ContentType = "application/unknown+rego"

// algorithm is a signature algorithm by its JOSE name.
type algorithm struct {
	name   string
	number int64
}

var algorithms = []algorithm{
	{"ES256", cose.ES256}, {"ES384", cose.ES384}, {"ES512", cose.ES512}, {"PS256", cose.PS256}, {"PS384", cose.PS384}, {"PS512", cose.PS512}, {"EdDSA", cose.EdDSA},
}

// Algorithms names them.
func Algorithms() []string {
	var names []string
	for _, a := range algorithms {
		names = append(names, a.name)
	}
	return names
}

// AlgorithmName is the name of a COSE number.
func AlgorithmName(number int64) string {
	for _, a := range algorithms {
		if a.number == number {
			return a.name
		}
	}
	return "algorithm " + strconv.FormatInt(number, 10)
}

// SignOptions say who signs, and what the header claims.
type SignOptions struct {
	Key crypto.Signer
	// Chain is leaf first and ends with the certificate that policies pin.
	Chain []*x509.Certificate
	// Algorithm is a name; "" is ES384 for ECDSA keys, PS384 for RSA, EdDSA for Ed25519.
	Algorithm string
	// Issuer is a did:x509 that the chain resolves; if it is empty, DID(Chain, DIDPolicies...).
	Issuer      string
	DIDPolicies []string
	Feed        string
	// SVN of the header. With it issuer and feed are CWT claims, which guests before framework 0.5.0 do not read; without it they are the text
	// labels "iss" and "feed", which all guests read, and the text's svn counts.
	SVN *int64
	// CWT puts issuer and feed into CWT claims without an SVN too.
	CWT bool
	// ContentType of the payload; "" is the constant of that name.
	ContentType string
	// Now is the time that the certificates must be valid at.
	Now time.Time
	// NoLoad leaves out the trial in an enforcer, for a text whose parameters have no defaults.
	NoLoad bool
}

// Signed is a document and what it goes by.
type Signed struct {
	Raw          []byte
	Issuer, Feed string
	Algorithm    string
	// SVN that a policy compares; "" if it was not tried.
	SVN string
}

// Sign makes the signed document of a text. What it returns was opened and, unless NoLoad is set, loaded by the code that a guest runs.
func Sign(ctx context.Context, text []byte, o SignOptions) (*Signed, error) {
	if _, err := fragment.Namespace(string(text)); err != nil {
		return nil, err
	}
	if err := CheckFeed(o.Feed); err != nil {
		return nil, err
	}
	if err := checkSigner(o); err != nil {
		return nil, err
	}
	number, err := o.algorithm()
	if err != nil {
		return nil, err
	}
	if o.Issuer == "" {
		if o.Issuer, err = DID(o.Chain, o.DIDPolicies...); err != nil {
			return nil, err
		}
	}
	if o.ContentType == "" {
		o.ContentType = ContentType
	}
	raw, err := cose.Sign(text, cose.SignOptions{
		Signer: o.Key, Chain: o.Chain, Algorithm: number, Issuer: o.Issuer, Feed: o.Feed, SVN: o.SVN, ContentType: o.ContentType,
		TextLabels: o.SVN == nil && !o.CWT,
	})
	if err != nil {
		return nil, err
	}
	s := &Signed{Raw: raw, Issuer: o.Issuer, Feed: o.Feed, Algorithm: AlgorithmName(number)}
	f, err := fragment.Open(raw)
	if err != nil {
		return nil, fmt.Errorf("the signed document would be refused: %w", err)
	}
	if f.Issuer != o.Issuer || f.Feed != o.Feed || f.Text != string(text) {
		return nil, fmt.Errorf("the signed document says other things than were signed: issuer %.128q, feed %.128q", f.Issuer, f.Feed)
	}
	if !o.NoLoad {
		if s.SVN, err = Load(ctx, raw); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (o SignOptions) algorithm() (int64, error) {
	name := o.Algorithm
	kind, fit := "", []string(nil)
	switch o.Key.Public().(type) {
	case *ecdsa.PublicKey:
		kind, fit = "ECDSA", []string{"ES384", "ES256", "ES512"}
	case *rsa.PublicKey:
		kind, fit = "RSA", []string{"PS384", "PS256", "PS512"}
	case ed25519.PublicKey:
		kind, fit = "Ed25519", []string{"EdDSA"}
	default:
		return 0, fmt.Errorf("key: got one of type %T, want ECDSA, RSA or Ed25519", o.Key)
	}
	if name == "" {
		name = fit[0]
	}
	at := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == name })
	if at < 0 {
		return 0, fmt.Errorf("algorithm: got %.32q, want one of %s", name, strings.Join(Algorithms(), ", "))
	}
	if !slices.Contains(fit, name) {
		return 0, fmt.Errorf("algorithm: got %s with an %s key, want %s", name, kind, strings.Join(fit, ", "))
	}
	return algorithms[at].number, nil
}

// checkSigner says what is wrong with key and chain in words for whoever has the files.
func checkSigner(o SignOptions) error {
	switch {
	case o.Key == nil || len(o.Chain) == 0:
		return errors.New("sign: a key and its certificate chain are needed")
	case o.Now.IsZero():
		return errors.New("sign: no time given to judge the certificates at")
	case len(o.Chain) == 1:
		return fmt.Errorf("chain: got one certificate, %.128q, want its issuers too, the root last: a policy knows a signer by did:x509, which names an issuer's fingerprint and something of the leaf, so a self-signed or lone certificate cannot be named (\"cloister dev signing init\" makes a chain to try out)", o.Chain[0].Subject)
	}
	if err := checkOwner(o); err != nil {
		return err
	}
	for i, c := range o.Chain {
		if o.Now.Before(c.NotBefore) || o.Now.After(c.NotAfter) {
			return fmt.Errorf("chain: certificate %d (%.128q) is valid from %s to %s, want it to be at %s (guests judge a chain at its leaf's end, so it would pass there; --now signs as of another time)",
				i, c.Subject, stamp(c.NotBefore), stamp(c.NotAfter), stamp(o.Now))
		}
	}
	return cose.VerifyChain(o.Chain)
}

// checkOwner wants the key to be the leaf's, and finds out whose it is otherwise.
func checkOwner(o SignOptions) error {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	own, ok := o.Key.Public().(equaler)
	if !ok {
		return fmt.Errorf("key: got one of type %T, want ECDSA, RSA or Ed25519", o.Key)
	}
	if own.Equal(o.Chain[0].PublicKey) {
		return nil
	}
	for i, c := range o.Chain {
		if own.Equal(c.PublicKey) {
			return fmt.Errorf("chain: the key is that of certificate %d, %.128q, want it to be the first's (leaf first, root last)", i, c.Subject)
		}
	}
	if last := o.Chain[len(o.Chain)-1]; !bytes.Equal(last.RawSubject, last.RawIssuer) && bytes.Equal(o.Chain[0].RawSubject, o.Chain[0].RawIssuer) {
		return errors.New("chain: it begins with a root, want the leaf first and the root last")
	}
	return fmt.Errorf("key: it is not that of the leaf, %.128q", o.Chain[0].Subject)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
