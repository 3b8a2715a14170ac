package skr

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp/azure/keyvault"
)

// PolicyRefusal is a key service's no with the claims that it was about. They come from the key's release policy, where the service shows it, and
// the guest's own token.
type PolicyRefusal struct {
	Mismatches []keyvault.Mismatch
	Issuer     string // of the token, when the policy does not know it
	Err        error
}

func (p *PolicyRefusal) Error() string {
	var why []string
	for _, m := range p.Mismatches {
		why = append(why, m.String())
	}
	if p.Issuer != "" {
		why = append(why, fmt.Sprintf("the release policy knows no authority %s", p.Issuer))
	}
	return fmt.Sprintf("%v: %s", p.Err, strings.Join(why, "; "))
}

func (p *PolicyRefusal) Unwrap() error { return p.Err }

// explain looks why a key was refused, if the service lets us.
func (r *Releaser) explain(ctx context.Context, vault *keyvault.Client, kid, bearer, token string, err error) error {
	var refused *keyvault.Refused
	if !errors.As(err, &refused) || refused.Answer.Status != http.StatusForbidden {
		return err
	}
	policy, getErr := vault.Policy(ctx, kid, bearer)
	if getErr != nil {
		return err
	}
	payload, decodeErr := payloadOf(token)
	if decodeErr != nil {
		return err
	}
	claims, parseErr := keyvault.ParseClaims(payload)
	if parseErr != nil {
		return err
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	_ = json.Unmarshal(payload, &said) // an empty issuer is no authority's
	verdict := policy.Evaluate(said.Issuer, claims)
	switch {
	case verdict.Released:
		return err // it is something else
	case verdict.Authority == "":
		return &PolicyRefusal{Issuer: said.Issuer, Err: err}
	}
	return &PolicyRefusal{Mismatches: verdict.Mismatches, Err: err}
}

// payloadOf reads the claims of our own token: it came from the service that we asked, and decides nothing here.
func payloadOf(token string) ([]byte, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("token: want three parts")
	}
	return base64.RawURLEncoding.DecodeString(parts[1])
}

// expiry is when our own token ends.
func expiry(token string) (time.Time, error) {
	payload, err := payloadOf(token)
	if err != nil {
		return time.Time{}, fmt.Errorf("attest: %w", err)
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Expires <= 0 {
		return time.Time{}, errors.New("attest: the token does not say when it ends")
	}
	return time.Unix(claims.Expires, 0), nil
}
