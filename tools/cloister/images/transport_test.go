package images

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// A connection that breaks within a layer is tried again; it counts only when all of it is right.
func TestRegistryBrokenTransfer(t *testing.T) {
	r := newRegistry(t)
	img := newImage(t, "base", "app")
	ref := r.push(t, "web:1", img)
	layer1 := must(img.Manifest())(t).Layers[1].Digest.String()
	var left atomic.Int32
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/blobs/"+layer1) || left.Add(-1) < 0 {
			return false
		}
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte{0x1f})
		must(0, http.NewResponseController(w).Flush())(t) // the answer begins, then the connection breaks
		panic(http.ErrAbortHandler)
	})
	left.Store(tries - 1)
	img.check(t, find(t, Options{Registry: true}, ref))
	left.Store(tries)
	if err := findErr(t, Options{Registry: true}, ref); !strings.Contains(err.Error(), "layer 1") {
		t.Errorf("got %v", err)
	}
}

// Names that resolve to other machines are spoken to with TLS, whatever the registry or a redirect says.
func TestGuardRefusesPlainHTTP(t *testing.T) {
	g := must(newGuard([]string{"plain.example:5000"}))(t)
	for url, refused := range map[string]bool{
		"http://10.0.0.1/v2/":              true, // the library would take such an address for a safe one
		"http://registry.example/v2/":      true,
		"http://plain.example/v2/":         true,
		"http://localhost.example/v2/":     true,
		"http://127.0.0.1:1/v2/":           false,
		"http://localhost:1/v2/":           false,
		"http://[::1]:1/v2/":               false,
		"http://plain.example:5000/v2/":    false,
		"https://registry.example:443/v2/": false,
	} {
		req := must(http.NewRequestWithContext(canceled(t), http.MethodGet, url, nil))(t)
		resp, err := g.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if got := err != nil && strings.Contains(err.Error(), "without TLS"); got != refused {
			t.Errorf("%s: got %v, want refused: %v", url, err, refused)
		}
	}
	r := newRegistry(t)
	img := newImage(t, "web")
	ref := r.push(t, "web:1", img)
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/blobs/") {
			http.Redirect(w, req, "http://elsewhere.example"+req.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	if err := findErr(t, Options{Registry: true}, ref); !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("got %v, want that the redirect is refused", err)
	}
}

// The wait for a registry ends with the context.
func TestRegistryContext(t *testing.T) {
	r := newRegistry(t)
	asked := make(chan struct{}, 8)
	r.intercept(func(_ http.ResponseWriter, req *http.Request) bool {
		asked <- struct{}{}
		<-req.Context().Done()
		return true
	})
	src := open(t, Options{Registry: true})
	ctx, cancel := cancelable(t)
	done := make(chan error, 1)
	go func() {
		_, err := src.Image(ctx, r.host+"/web:1")
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; err == nil {
		t.Error("got no error from an ended context")
	}
}
