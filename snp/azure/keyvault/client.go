package keyvault

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp/azure/internal/call"
)

// APIVersion is the one that is asked for.
const APIVersion = "7.4"

// The audiences of tokens for the two services.
const (
	AudienceVault = "https://vault.azure.net"
	AudienceHSM   = "https://managedhsm.azure.net"
)

// Client speaks with one vault or managed HSM.
type Client struct {
	host  string
	roots *x509.CertPool
	Call  call.Client
	Now   func() time.Time // nil: the clock
}

// New makes a client of the service at endpoint, a host's name or an https URL without path. roots are whose certificates on answers are believed,
// nil for the system's; http may be nil.
func New(endpoint string, roots *x509.CertPool, http *http.Client) (*Client, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("key service: got %.128q, want a host's name or an https URL without path", endpoint)
	}
	return &Client{host: u.Host, roots: roots, Call: call.Client{HTTP: http}}, nil
}

// Audience is whom a bearer token for this service has to be for.
func (c *Client) Audience() string {
	if strings.Contains(c.host, "managedhsm") {
		return AudienceHSM
	}
	return AudienceVault
}

// azureHosts are where Azure's own key services live, in its public and sovereign clouds.
var azureHosts = []string{
	".vault.azure.net", ".managedhsm.azure.net", ".vault.azure.cn", ".managedhsm.azure.cn", ".vault.usgovcloudapi.net", ".managedhsm.usgovcloudapi.net",
}

// Host is the service's host, with its port where the endpoint has one.
func (c *Client) Host() string { return c.host }

// Azure says whether the endpoint is one of Azure's own, by its name: others must not be given an identity's token.
func (c *Client) Azure() bool {
	host := strings.ToLower((&url.URL{Host: c.host}).Hostname())
	for _, suffix := range azureHosts {
		if name, ok := strings.CutSuffix(host, suffix); ok && name != "" && !strings.Contains(name, ".") {
			return true
		}
	}
	return false
}

// keyName is a key's name, with a version or without.
var keyName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}(/[0-9a-zA-Z]{1,64})?$`)

func (c *Client) url(kid, verb string) (string, error) {
	if !keyName.MatchString(kid) {
		return "", fmt.Errorf("key: got %.128q, want NAME or NAME/VERSION", kid)
	}
	return "https://" + c.host + "/keys/" + kid + verb + "?api-version=" + APIVersion, nil
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// Release asks for a key with an attestation token, which names the key to wrap it for. The answer is verified.
func (c *Client) Release(ctx context.Context, kid, attestation, token string) (*Answer, error) {
	a, err := c.release(ctx, kid, attestation, token)
	if err != nil {
		return nil, fmt.Errorf("release key: %w", explained(err))
	}
	return a, nil
}

func (c *Client) release(ctx context.Context, kid, attestation, token string) (*Answer, error) {
	at, err := c.url(kid, "/release")
	if err != nil {
		return nil, err
	}
	var answer struct{ Value string }
	question := call.Question{Method: http.MethodPost, URL: at, Header: bearer(token), Body: map[string]string{"target": attestation}}
	if err := c.Call.JSON(ctx, question, &answer); err != nil {
		return nil, err
	}
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	name := (&url.URL{Host: c.host}).Hostname()
	return ReadAnswer(answer.Value, Trust{Roots: c.roots, Host: name, Now: now})
}

// Policy asks for a key's release policy. Not everybody who may release a key may see it.
func (c *Client) Policy(ctx context.Context, kid, token string) (*Policy, error) {
	at, err := c.url(kid, "")
	if err != nil {
		return nil, fmt.Errorf("release policy: %w", err)
	}
	var answer struct {
		Policy struct {
			Data string `json:"data"`
		} `json:"release_policy"`
	}
	if err := c.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: at, Header: bearer(token)}, &answer); err != nil {
		return nil, fmt.Errorf("release policy: %w", explained(err))
	}
	text, err := decode(answer.Policy.Data)
	if err != nil {
		return nil, fmt.Errorf("release policy: %w", err)
	}
	return ParsePolicy(text)
}

// Import brings a key, a JSON Web Key with its secret members, under a release policy. Without versions in the answer it is an error.
func (c *Client) Import(ctx context.Context, name string, key json.RawMessage, policy *Policy, token string) (kid string, err error) {
	text, err := policy.Marshal()
	if err != nil {
		return "", fmt.Errorf("import key: %w", err)
	}
	at, err := c.url(name, "")
	if err == nil && strings.Contains(name, "/") {
		err = fmt.Errorf("key: got %q, want a name without a version", name)
	}
	if err != nil {
		return "", fmt.Errorf("import key: %w", err)
	}
	body := struct {
		Key        json.RawMessage `json:"key"`
		HSM        bool            `json:"hsm"`
		Attributes struct {
			Exportable bool `json:"exportable"`
		} `json:"attributes"`
		Policy struct {
			ContentType string `json:"contentType"`
			Data        string `json:"data"`
			Immutable   bool   `json:"immutable"`
		} `json:"release_policy"`
	}{Key: key, HSM: true}
	body.Attributes.Exportable = true
	body.Policy.ContentType, body.Policy.Data = "application/json; charset=utf-8", base64.RawURLEncoding.EncodeToString(text)
	var answer struct {
		Key struct {
			KID string `json:"kid"`
		} `json:"key"`
	}
	err = c.Call.JSON(ctx, call.Question{Method: http.MethodPut, URL: at, Header: bearer(token), Body: body}, &answer)
	if err == nil && answer.Key.KID == "" {
		err = errors.New("the answer names no key")
	}
	if err != nil {
		return "", fmt.Errorf("import key: %w", explained(err))
	}
	return answer.Key.KID, nil
}

// Refused is a service's no with what to do about it.
type Refused struct {
	Answer *call.Error
	Next   string
}

func (r *Refused) Error() string { return r.Answer.Error() + " (" + r.Next + ")" }
func (r *Refused) Unwrap() error { return r.Answer }

// explained adds the next step to refusals whose reason is known.
func explained(err error) error {
	var e *call.Error
	if !errors.As(err, &e) {
		return err
	}
	next := map[int]string{
		http.StatusUnauthorized: "the bearer token is missing, expired, or for another audience than the key service: get one for this service's audience",
		http.StatusNotFound:     "compare the key's name and version with what the service has, and the endpoint with the service the key was imported into",
	}[e.Status]
	switch {
	case e.Status == http.StatusForbidden && strings.Contains(e.Message, "release policy"):
		next = "a claim of the token is not what the key's release policy wants: compare HOST_DATA first, it changes with every character of the confidential computing policy"
	case e.Status == http.StatusForbidden && strings.Contains(e.Message, "attestation statement"):
		next = "the key service could not verify the token: is its issuer the authority of the release policy, and is it still valid?"
	case e.Status == http.StatusForbidden:
		next = "does the identity have the role that may release keys (Key Vault Crypto Service Release User, Managed HSM Crypto Service Release User)?"
	}
	if next == "" {
		return err
	}
	return &Refused{e, next}
}
