package images

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// guard is what every request goes through: registries, token servers and whatever they redirect to.
type guard struct {
	http  *http.Transport
	plain []string // hosts that may be spoken to without TLS
	// limit is how slow an answer may be.
	limit func(what string, layer bool) pace
}

func newGuard(plain []string) (*guard, error) {
	base, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("registry client: default transport: got %T", remote.DefaultTransport)
	}
	t := base.Clone()
	t.DisableCompression = true // a blob's bytes are the ones that its digest names
	return &guard{http: t, plain: plain, limit: paceOf}, nil
}

// RoundTrip refuses to speak without TLS: a token or a manifest by tag is anybody's on such a way. An answer that drips would
// hold us for ever: it ends with a slowError.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) && !slices.Contains(g.plain, req.URL.Host) {
		return nil, fmt.Errorf("%s would be asked without TLS (--plain-http with this host allows it)", quote(req.URL.Host))
	}
	w, req := watch(req, g.limit)
	var resp *http.Response
	if _, err := w.during(func() (_ int, err error) {
		resp, err = g.http.RoundTrip(req)
		return 0, err
	}); err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, err
	}
	w.ReadCloser, resp.Body = resp.Body, w
	if strings.Contains(req.URL.Path, "/manifests/") || strings.Contains(req.URL.Path, "/referrers/") {
		resp.Body = &boundedBody{resp.Body, maxManifest}
	}
	return resp, nil
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
