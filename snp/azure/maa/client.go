package maa

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cloister-cc/cloister/snp/azure/internal/call"
)

// APIVersion is the one whose request this package writes.
const APIVersion = "2020-10-01"

// Client attests at one instance of the service.
type Client struct {
	Base      string // "https://HOST"; without a scheme it is https
	UserAgent string
	Call      call.Client
}

// New makes a client of the instance at base, a host's name or a URL without path. http may be nil.
func New(base string, http *http.Client) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("attestation service: got %.128q, want a host's name or an https URL without path", base)
	}
	return &Client{Base: "https://" + u.Host, Call: call.Client{HTTP: http}}, nil
}

// Attest gives evidence to the service and returns its token. What the token says is not looked at: Verifier does that.
func (c *Client) Attest(ctx context.Context, r *Request) (string, error) {
	header := http.Header{}
	if c.UserAgent != "" {
		header.Set("User-Agent", c.UserAgent)
	}
	var answer struct{ Token string }
	err := c.Call.JSON(ctx, call.Question{Method: http.MethodPost, URL: c.Base + "/attest/SevSnpVm?api-version=" + APIVersion, Header: header, Body: r}, &answer)
	if err == nil && answer.Token == "" {
		err = errors.New("the answer has no token")
	}
	if err != nil {
		return "", fmt.Errorf("attest: %w", err)
	}
	return answer.Token, nil
}
