package images

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// guard is what every request goes through: registries, token servers and whatever they redirect to.
type guard struct {
	http  *http.Transport
	plain []string // hosts that may be spoken to without TLS
	// patience is how long a connection may be silent.
	patience time.Duration
}

func newGuard(plain []string) (*guard, error) {
	base, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("registry client: default transport: got %T", remote.DefaultTransport)
	}
	t := base.Clone()
	t.DisableCompression = true // a blob's bytes are the ones that its digest names
	g := &guard{http: t, plain: plain, patience: 2 * time.Minute}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatient{c, g.patience}, nil
	}
	return g, nil
}

// impatient is a connection on which silence is an error: a registry that stops within a layer would hold us for ever.
type impatient struct {
	net.Conn
	patience time.Duration
}

func (c *impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// RoundTrip refuses to speak without TLS: a token or a manifest by tag is anybody's on such a way.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) && !slices.Contains(g.plain, req.URL.Host) {
		return nil, fmt.Errorf("%s would be asked without TLS (--plain-http with this host allows it)", quote(req.URL.Host))
	}
	resp, err := g.http.RoundTrip(req)
	if err == nil && (strings.Contains(req.URL.Path, "/manifests/") || strings.Contains(req.URL.Path, "/referrers/")) {
		resp.Body = &boundedBody{resp.Body, maxManifest}
	}
	return resp, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// boundedBody ends with an error when it is longer than a manifest may be.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("manifest: got more than %d bytes", int64(maxManifest))
	}
	return n, err
}
