package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hasty makes a resolver that waits 20 milliseconds for the answer with this name and a minute for the others.
func hasty(t *testing.T, what string, o Options) *Resolver {
	t.Helper()
	o.Registry = true
	src := open(t, o)
	reg, ok := src.others[0].(*registries)
	if !ok {
		t.Fatalf("got %T", src.others[0])
	}
	reg.guard.limit = func(name string, layer bool) pace {
		p := paceOf(name, layer)
		p.window = time.Minute
		if name == what {
			p.window = 20 * time.Millisecond
		}
		return p
	}
	return src
}

// drip answers with a byte each millisecond ("drips"), with a header only ("stops") or with nothing, until nobody listens.
func drip(w http.ResponseWriter, req *http.Request, how string) {
	if how == "silent" {
		<-req.Context().Done()
		return
	}
	w.Header().Set("Content-Length", "1000000")
	c := http.NewResponseController(w)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.Flush() == nil {
		select {
		case <-req.Context().Done():
			return
		case <-tick.C:
		}
		if how == "drips" {
			if _, err := io.WriteString(w, "x"); err != nil {
				return
			}
		}
	}
}

// A registry that drips, or falls silent, does not hold us: each kind of answer has its time, and the error says which it was.
func TestRegistryDrips(t *testing.T) {
	img := newImage(t, "base")
	m := must(img.Manifest())(t)
	config, layer := m.Config.Digest.String(), m.Layers[0].Digest.String()
	for name, c := range map[string]struct {
		path, what string
		tries      int32 // at most; 0: not counted, the client has its own ways
	}{
		"first-answer":  {"/v2/", "its first answer", 0},
		"token":         {"/token", "token", 0},
		"manifest":      {"/manifests/1", `manifest "1"`, 1},
		"configuration": {"/blobs/" + config, fmt.Sprintf("blob %q", config), 1},
		"layer":         {"/blobs/" + layer, fmt.Sprintf("blob %q", layer), tries},
		"redirected":    {"/elsewhere", fmt.Sprintf("blob %q", layer), tries},
	} {
		for _, how := range []string{"drips", "stops", "silent"} {
			if name == "first-answer" && how != "silent" {
				continue // its header is all that counts
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				r := newRegistry(t)
				ref := r.push(t, "web:1", img)
				var drips atomic.Int32
				r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
					switch {
					case strings.HasSuffix(req.URL.Path, c.path):
						drips.Add(1)
						drip(w, req, how)
					case name == "token":
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.host))
						w.WriteHeader(http.StatusUnauthorized)
					case name == "redirected" && strings.HasSuffix(req.URL.Path, layer):
						http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
					default:
						return false
					}
					return true
				})
				_, err := hasty(t, c.what, Options{}).Image(t.Context(), ref)
				var slow *slowError
				if !errors.As(err, &slow) || slow.what != c.what || !strings.HasPrefix(slow.host, r.host) || !strings.Contains(err.Error(), "too slow") {
					t.Errorf("got %v, want that %s of %s was too slow", err, c.what, r.host)
				}
				// On a busy machine a try may end before the registry sees it.
				if n := drips.Load(); c.tries != 0 && n > c.tries {
					t.Errorf("got %d tries, want at most %d", n, c.tries)
				}
				if !broken(err) {
					t.Errorf("got %v, want an error after which a layer is tried again", err)
				}
			})
		}
	}
}

// dripping is an answer of which so many bytes come after each pause.
type dripping struct {
	left, bytes int64
	pause       time.Duration
}

func (d *dripping) Read(p []byte) (int, error) {
	if d.left <= 0 {
		return 0, io.EOF
	}
	time.Sleep(d.pause) // the clock of the bubble
	n := min(int64(len(p)), d.bytes, d.left)
	d.left -= n
	return int(n), nil
}

func (d *dripping) Close() error { return nil }

// The real limits, by a clock of their own.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		body    dripping
		layer   bool
		between time.Duration // in which the reader does something else
		slow    bool
		most    time.Duration // after which it must have ended
	}{
		"manifest-drips":   {body: dripping{4 << 20, 1, time.Second / 2}, slow: true, most: time.Minute + time.Second},
		"manifest-in-time": {body: dripping{4 << 20, 128 << 10, time.Second}, most: 33 * time.Second},
		"layer-drips":      {body: dripping{1 << 30, 1, time.Second / 2}, layer: true, slow: true, most: 2*time.Minute + time.Second},
		"layer-below-rate": {body: dripping{1 << 30, 32 << 10, 61 * time.Second}, layer: true, slow: true, most: 3 * time.Minute},
		"layer-at-rate":    {body: dripping{1 << 20, 32 << 10, 59 * time.Second}, layer: true, most: time.Hour},
		"layer-in-bursts":  {body: dripping{1 << 20, 256 << 10, 119 * time.Second}, layer: true, most: 8 * time.Minute},
		"reader-is-slow":   {body: dripping{64 << 10, 1 << 10, time.Millisecond}, layer: true, between: time.Hour, most: 70 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.example/v2/web/blobs/sha256:1", nil))(t)
				w, req := watch(req, func(string, bool) pace { return paceOf("", c.layer) })
				w.ReadCloser = &c.body
				begin, size := time.Now(), c.body.left
				var got int64
				var err error
				for buf := make([]byte, 256<<10); err == nil; time.Sleep(c.between) {
					var n int
					n, err = w.Read(buf)
					got += int64(n)
				}
				var slow *slowError
				if errors.As(err, &slow) != c.slow || !c.slow && (!errors.Is(err, io.EOF) || got != size) {
					t.Errorf("got %d of %d bytes, %v, want slow: %v", got, size, err, c.slow)
				}
				if took := time.Since(begin); took > c.most {
					t.Errorf("got an end after %s, want one within %s", took, c.most)
				}
				if req.Context().Err() == nil {
					t.Error("the request's context is left open")
				}
			})
		})
	}
}

// Only the very layer that is read has a layer's time: a token or another blob under its context has not.
func TestAsked(t *testing.T) {
	ctx := context.WithValue(t.Context(), layerKey{}, "sha256:1")
	for url, want := range map[string]bool{
		"https://r.example/v2/web/blobs/sha256:1":     true,
		"https://r.example/v2/web/blobs/sha256:2":     false,
		"https://r.example/v2/web/manifests/sha256:1": false,
		"https://r.example/v2/web/referrers/sha256:1": false,
		"https://r.example/v2/":                       false,
		"https://r.example/token/sha256:1":            false,
	} {
		host, what, layer := asked(must(http.NewRequestWithContext(ctx, http.MethodGet, url, nil))(t))
		if layer != want || host != "r.example" || what == "" {
			t.Errorf("%s: got %s, %s, layer %v, want %v", url, host, what, layer, want)
		}
		if _, _, layer := asked(must(http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))(t)); layer {
			t.Errorf("%s: got a layer where none is read", url)
		}
	}
}
