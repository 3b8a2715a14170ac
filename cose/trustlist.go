package cose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// MediaTypeTrustList is how a trust list is delivered.
const MediaTypeTrustList = "application/vnd.transparency-trust-list.v1+cose"

// Bounds of a trust list.
const (
	// MaxLedgers bounds the ledgers of a list, MaxKeys the keys of each.
	MaxLedgers = 256
	MaxKeys    = 64
)

// TrustList is a transparency trust list: keys of ledgers, vouched for by its issuer.
type TrustList struct {
	Issuer, Subject string
	SVN             int64
	// Ledgers maps a ledger's name to its keys.
	Ledgers map[string][]Key
}

// OpenTrustList opens a document (see Open) and reads its payload as a trust list. Whether the issuer may vouch for ledgers is for the
// caller, and so is which of them: see Restrict.
func OpenTrustList(raw []byte, o Options) (*TrustList, error) {
	d, err := Open(raw, o)
	if err != nil {
		return nil, err
	}
	if d.SVN == nil {
		return nil, failf(ErrTrustList, "no svn in the CWT claims")
	}
	ledgers, err := readLedgers(d.Payload)
	if err != nil {
		return nil, err
	}
	return &TrustList{Issuer: d.Issuer, Subject: d.Feed, SVN: *d.SVN, Ledgers: ledgers}, nil
}

// Names returns the ledgers, sorted.
func (l *TrustList) Names() []string {
	return slices.Sorted(maps.Keys(l.Ledgers))
}

// Restrict returns the list with the allowed ledgers only; "*" allows all.
func (l *TrustList) Restrict(allowed []string) *TrustList {
	out := *l
	out.Ledgers = map[string][]Key{}
	for name, keys := range l.Ledgers {
		if slices.Contains(allowed, name) || slices.Contains(allowed, "*") {
			out.Ledgers[name] = keys
		}
	}
	return &out
}

func readLedgers(payload []byte) (map[string][]Key, error) {
	doc, err := readJSON(payload)
	if err != nil {
		return nil, failf(ErrTrustList, "%w", err)
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, failf(ErrTrustList, "want a JSON object of ledgers")
	}
	if len(object) == 0 || len(object) > MaxLedgers {
		return nil, failf(ErrTrustList, "got %d ledgers, want 1 to %d", len(object), MaxLedgers)
	}
	out := map[string][]Key{}
	for name, set := range object {
		if name == "" || name == "*" || len(name) > MaxIssuer {
			return nil, failf(ErrTrustList, "%q is not the name of a ledger", clip(name))
		}
		keys, err := readKeySet(set)
		if err != nil {
			return nil, failf(ErrTrustList, "ledger %q: %w", clip(name), err)
		}
		out[name] = keys
	}
	return out, nil
}

func readKeySet(set any) ([]Key, error) {
	object, ok := set.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want a JWK set")
	}
	items, ok := object["keys"].([]any)
	if !ok || len(items) > MaxKeys {
		return nil, fmt.Errorf("want \"keys\" to be an array of at most %d", MaxKeys)
	}
	var out []Key
	for i, item := range items {
		jwk, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("key %d is not an object", i)
		}
		kty, ok := jwk["kty"].(string)
		if !ok {
			return nil, fmt.Errorf("key %d has no kty", i)
		}
		if kty != "EC" {
			continue
		}
		k, err := readKey(jwk)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if slices.ContainsFunc(out, func(o Key) bool { return o.KID == k.KID }) {
			return nil, fmt.Errorf("key %d: kid %q is repeated", i, clip(k.KID))
		}
		out = append(out, k)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no EC key")
	}
	return out, nil
}

func readKey(jwk map[string]any) (Key, error) {
	text := func(name string) (string, error) {
		s, ok := jwk[name].(string)
		if !ok || s == "" {
			return "", fmt.Errorf("no %s", name)
		}
		return s, nil
	}
	kid, err := text("kid")
	if err != nil {
		return Key{}, err
	}
	crv, err := text("crv")
	if err != nil {
		return Key{}, err
	}
	curves := map[string]struct {
		curve elliptic.Curve
		alg   string
	}{"P-256": {elliptic.P256(), "ES256"}, "P-384": {elliptic.P384(), "ES384"}}
	c, ok := curves[crv]
	if !ok {
		return Key{}, fmt.Errorf("crv: got %q, want P-256 or P-384", clip(crv))
	}
	if alg, given := jwk["alg"]; given && alg != c.alg {
		return Key{}, fmt.Errorf("alg: got %q, want %s for %s", clip(fmt.Sprint(alg)), c.alg, crv)
	}
	point := []byte{4}
	for _, name := range []string{"x", "y"} {
		s, err := text(name)
		if err != nil {
			return Key{}, err
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || strings.ContainsAny(s, "\r\n") || len(b) != (c.curve.Params().BitSize+7)/8 {
			return Key{}, fmt.Errorf("%s is not a coordinate on %s", name, crv)
		}
		point = append(point, b...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(c.curve, point)
	if err != nil {
		return Key{}, err
	}
	return Key{KID: kid, Public: public}, nil
}

// readJSON decodes one JSON value. Unlike encoding/json it refuses repeated names, of which readers differ in which one counts, and it
// never matches names whatever their case, since it leaves the matching to the caller.
func readJSON(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("payload is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	v, err := readValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("payload has more than one JSON value")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("payload nests deeper than %d", maxNesting)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return readObject(d, depth)
	case json.Delim('['):
		out := []any{}
		for d.More() {
			v, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		_, err := d.Token()
		return out, err
	}
	return token, nil
}

func readObject(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("payload has a name that is not a string")
		}
		if _, ok := out[name]; ok {
			return nil, fmt.Errorf("name %q is repeated", clip(name))
		}
		if out[name], err = readValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return out, err
}
