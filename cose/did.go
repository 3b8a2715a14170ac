package cose

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

const didPrefix = "did:x509:0:"

// fingerprints are the hashes that may name a certificate, in did:x509's spelling.
var fingerprints = map[string]func([]byte) []byte{
	"sha256": thumbprints[-16],
	"sha384": thumbprints[-43],
	"sha512": thumbprints[-44],
}

// did is a did:x509 taken apart.
type did struct {
	hash        string
	fingerprint []byte
	policies    []policy
}

// policy is one predicate over the leaf: the parts of its value, percent-decoded.
type policy struct {
	name   string
	fields []string
}

// ResolveDID checks the chain and that the identifier belongs to it: one of the leaf's issuers has the fingerprint, and every policy
// holds for the leaf.
func ResolveDID(did string, chain []*x509.Certificate) error {
	if err := VerifyChain(chain); err != nil {
		return err
	}
	return resolve(did, chain)
}

// resolve is ResolveDID for a chain that is verified already.
func resolve(s string, chain []*x509.Certificate) error {
	d, err := parseDID(s)
	if err != nil {
		return err
	}
	if !d.pins(chain) {
		return failf(ErrDID, "no issuer in the chain has the %s fingerprint %s", d.hash, base64.RawURLEncoding.EncodeToString(d.fingerprint))
	}
	if usage := chain[0].KeyUsage; usage != 0 && usage&(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement) == 0 {
		return failf(ErrDID, "the leaf's key usage has neither digitalSignature nor keyAgreement")
	}
	for _, p := range d.policies {
		if err := p.match(chain[0]); err != nil {
			return err
		}
	}
	return nil
}

// pins says whether an issuer has the fingerprint. The leaf does not count: anybody can make a leaf.
func (d did) pins(chain []*x509.Certificate) bool {
	if len(chain) < 2 {
		return false
	}
	for _, c := range chain[1:] {
		if bytes.Equal(fingerprints[d.hash](c.Raw), d.fingerprint) {
			return true
		}
	}
	return false
}

func parseDID(s string) (did, error) {
	if len(s) > MaxIssuer {
		return did{}, failf(ErrDID, "got %d bytes, want at most %d", len(s), MaxIssuer)
	}
	rest, ok := strings.CutPrefix(s, didPrefix)
	if !ok {
		return did{}, failf(ErrDID, "got %q, want an identifier that begins %q", clip(s), didPrefix)
	}
	parts := strings.Split(rest, "::")
	name, encoded, ok := strings.Cut(parts[0], ":")
	hash := fingerprints[name]
	if !ok || hash == nil {
		return did{}, failf(ErrDID, "fingerprint: got %q, want sha256, sha384 or sha512, a colon and the fingerprint", clip(parts[0]))
	}
	print, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	// The decoder passes over line breaks.
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return did{}, failf(ErrDID, "fingerprint %q is not base64url without padding", clip(encoded))
	}
	if want := len(hash(nil)); len(print) != want {
		return did{}, failf(ErrDID, "fingerprint: got %d bytes, want the %d of %s", len(print), want, name)
	}
	if len(parts) == 1 {
		return did{}, failf(ErrDID, "no policy, want at least one after \"::\"")
	}
	d := did{hash: name, fingerprint: print}
	for _, part := range parts[1:] {
		p, err := parsePolicy(part)
		if err != nil {
			return did{}, err
		}
		d.policies = append(d.policies, p)
	}
	return d, nil
}

// parsePolicy checks name, characters and the form that belongs to the name, so that a DID with a policy of a wrong form is wrong for
// every chain.
func parsePolicy(s string) (policy, error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok || value == "" {
		return policy{}, failf(ErrDID, "policy %q has no value", clip(s))
	}
	kind, ok := kinds[name]
	if !ok {
		return policy{}, failf(ErrDID, "got policy %q, want subject, san, eku or fulcio-issuer", clip(name))
	}
	raw := strings.Split(value, ":")
	p := policy{name: name}
	for _, field := range raw {
		decoded, err := unescape(field)
		if err != nil {
			return policy{}, failf(ErrDID, "policy %s: %w", name, err)
		}
		if decoded == "" {
			return policy{}, failf(ErrDID, "policy %s: %q has an empty part", name, clip(value))
		}
		p.fields = append(p.fields, decoded)
	}
	if err := kind.form(raw); err != nil {
		return policy{}, failf(ErrDID, "policy %s: %w", name, err)
	}
	return p, nil
}

func (p policy) match(leaf *x509.Certificate) error {
	if err := kinds[p.name].match(p.fields, leaf); err != nil {
		return failf(ErrDID, "policy %s: %w", p.name, err)
	}
	return nil
}

// plain are the characters that stand for themselves. '~' is not among them, unlike in URLs, and '+' is not a blank.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func unescape(s string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			out.WriteByte(s[i])
			continue
		}
		if s[i] != '%' {
			return "", fmt.Errorf("%q: character %q must be percent-encoded", clip(s), s[i])
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q ends within a percent-encoding", clip(s))
		}
		hi, ok1 := hexDigit(s[i+1])
		lo, ok2 := hexDigit(s[i+2])
		if !ok1 || !ok2 {
			return "", fmt.Errorf("%q: %q is not a percent-encoding", clip(s), s[i:i+3])
		}
		out.WriteByte(hi<<4 | lo)
		i += 2
	}
	if !utf8.ValidString(out.String()) {
		return "", fmt.Errorf("%q does not decode to UTF-8", clip(s))
	}
	return out.String(), nil
}

func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			out.WriteByte(s[i])
			continue
		}
		out.Write([]byte{'%', digits[s[i]>>4], digits[s[i]&15]})
	}
	return out.String()
}
