package maa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloister-cc/cloister/snp/azure/internal/call"
)

// maxToken bounds a token, in bytes.
const maxToken = 128 << 10

// leeway is how far clocks may differ.
const leeway = 5 * time.Minute

// Token is a verified token.
type Token struct {
	Issuer  string
	Expires time.Time
	Payload []byte // the claims, as JSON
}

// times are the claims that a verifier itself looks at.
type times struct {
	Issuer    string   `json:"iss"`
	NotBefore *float64 `json:"nbf"`
	Expires   *float64 `json:"exp"`
}

// Verifier checks tokens by the keys that their issuer publishes. Issuers must be named: an issuer that a token names is only an address.
type Verifier struct {
	Issuers []string // URLs
	Call    call.Client
	Now     func() time.Time // nil: the clock
}

var tokenAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512}

// Refusals of tokens, for errors.Is.
var (
	ErrIssuer    = errors.New("the token is of an issuer that is not trusted")
	ErrExpired   = errors.New("the token is expired")
	ErrNotYet    = errors.New("the token is not valid yet")
	ErrSignature = errors.New("the token's signature does not verify")
)

// Verify fetches the issuer's keys and checks a token with them.
func (v *Verifier) Verify(ctx context.Context, token string) (*Token, error) {
	t, err := v.verify(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	return t, nil
}

func (v *Verifier) verify(ctx context.Context, text string) (*Token, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(text), maxToken)
	}
	signed, err := jose.ParseSignedCompact(text, tokenAlgorithms)
	if err != nil {
		return nil, err
	}
	var claimed times
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claimed); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	issuer, err := v.trusted(claimed.Issuer)
	if err != nil {
		return nil, err
	}
	keys, err := v.keys(ctx, issuer)
	if err != nil {
		return nil, err
	}
	payload, err := verifyWith(signed, keys)
	if err != nil {
		return nil, err
	}
	return v.within(claimed, payload)
}

func (v *Verifier) trusted(issuer string) (string, error) {
	for _, known := range v.Issuers {
		if strings.TrimSuffix(known, "/") == strings.TrimSuffix(issuer, "/") && issuer != "" {
			return strings.TrimSuffix(known, "/"), nil
		}
	}
	return "", fmt.Errorf("%w: got %.128q, want one of %q", ErrIssuer, issuer, v.Issuers)
}

// keys asks the issuer's discovery document for its keys. They have to be at the issuer's own host: elsewhere anybody could keep them.
func (v *Verifier) keys(ctx context.Context, issuer string) (*jose.JSONWebKeySet, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := v.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: issuer + "/.well-known/openid-configuration"}, &discovery); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", issuer, err)
	}
	if strings.TrimSuffix(discovery.Issuer, "/") != issuer {
		return nil, fmt.Errorf("keys of %s: its document is of issuer %.128q", issuer, discovery.Issuer)
	}
	at, err := url.Parse(discovery.Keys)
	if home, parseErr := url.Parse(issuer); err != nil || parseErr != nil || at.Host != home.Host || at.Scheme != home.Scheme {
		return nil, fmt.Errorf("keys of %s: got jwks_uri %.128q, want one at the issuer's host", issuer, discovery.Keys)
	}
	var set jose.JSONWebKeySet
	if err := v.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: discovery.Keys}, &set); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", issuer, err)
	}
	return &set, nil
}

func verifyWith(signed *jose.JSONWebSignature, keys *jose.JSONWebKeySet) ([]byte, error) {
	kid := signed.Signatures[0].Protected.KeyID
	for _, key := range keys.Keys {
		if kid != "" && key.KeyID != kid || !key.IsPublic() {
			continue
		}
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("%w by any of its issuer's %d keys (kid %.64q)", ErrSignature, len(keys.Keys), kid)
}

// within checks the times. A token without an end is not taken.
func (v *Verifier) within(t times, payload []byte) (*Token, error) {
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	if t.Expires == nil || *t.Expires < 0 || *t.Expires > 1<<40 {
		return nil, errors.New("exp: got none or one out of range, want the token's end")
	}
	expires := time.Unix(int64(*t.Expires), 0)
	if now.After(expires.Add(leeway)) {
		return nil, fmt.Errorf("%w since %s", ErrExpired, expires.UTC().Format(time.RFC3339))
	}
	if t.NotBefore != nil && float64(now.Add(leeway).Unix()) < *t.NotBefore {
		return nil, ErrNotYet
	}
	return &Token{Issuer: strings.TrimSuffix(t.Issuer, "/"), Expires: expires, Payload: payload}, nil
}
