package images

import (
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cloister-cc/cloister/verity/layer"
)

// fakeRegistry is a registry on the loopback through which tests can reach.
type fakeRegistry struct {
	host string
	mu   sync.Mutex
	asks map[string]int // "GET /v2/…" -> how often
	// before, if set, may answer a request itself.
	before func(w http.ResponseWriter, req *http.Request) bool
}

func newRegistry(t testing.TB) *fakeRegistry {
	t.Helper()
	r := &fakeRegistry{asks: map[string]int{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.asks[req.Method+" "+req.URL.Path]++
		before := r.before
		r.mu.Unlock()
		if before == nil || !before(w, req) {
			inner.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	return r
}

func (r *fakeRegistry) intercept(f func(w http.ResponseWriter, req *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

func (r *fakeRegistry) count(method, part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for k, times := range r.asks {
		if strings.HasPrefix(k, method+" ") && strings.Contains(k, part) {
			n += times
		}
	}
	return n
}

// client closes its connections, so that no goroutine outlives the test.
func client(t testing.TB) remote.Option {
	t.Helper()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(tr.CloseIdleConnections)
	return remote.WithTransport(tr)
}

func (r *fakeRegistry) push(t testing.TB, ref string, img v1.Image) string {
	t.Helper()
	full := r.host + "/" + ref
	if err := remote.Write(must(name.ParseReference(full))(t), img, client(t)); err != nil {
		t.Fatal(err)
	}
	return full
}

func TestRegistry(t *testing.T) {
	r := newRegistry(t)
	img := newImage(t, "base", "app")
	ref := r.push(t, "team/web:1", img)
	for _, ref := range []string{ref, r.host + "/team/web@" + img.digest, r.host + "/team/web:1@" + img.digest} {
		got := find(t, Options{Registry: true}, ref)
		img.check(t, got)
		if got.Digest != img.digest {
			t.Errorf("digest: got %s, want %s", got.Digest, img.digest)
		}
	}
	err := findErr(t, Options{Registry: true}, r.host+"/team/web:2")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "team/web:2 is not there") {
		t.Errorf("got %v", err)
	}
	// Without leave, the network is not touched.
	before := r.count("GET", "")
	if err := findErr(t, Options{}, ref); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "leave --offline out") {
		t.Errorf("got %v", err)
	}
	if after := r.count("GET", ""); after != before {
		t.Errorf("got %d requests without leave", after-before)
	}
}

func TestRegistryPlatforms(t *testing.T) {
	r := newRegistry(t)
	arm := newImageFor(t, v1.Platform{OS: "linux", Architecture: "arm64"}, "arm")
	amd := newImage(t, "amd")
	index := indexOf(t, map[string]*testImage{"linux/arm64/v8": arm, "linux/amd64": amd})
	ref := must(name.ParseReference(r.host + "/web:1"))(t)
	if err := remote.WriteIndex(ref, index, client(t)); err != nil {
		t.Fatal(err)
	}
	digest := must(index.Digest())(t).String()
	for platform, want := range map[string]*testImage{"linux/amd64": amd, "linux/arm64": arm} {
		for _, ref := range []string{r.host + "/web:1", r.host + "/web@" + digest} {
			got := find(t, Options{Registry: true, Platform: platform}, ref)
			want.check(t, got)
			if got.Platform != platform || got.Digest != want.digest {
				t.Errorf("got %s for %s, want %s for %s", got.Digest, got.Platform, want.digest, platform)
			}
		}
	}
	if err := findErr(t, Options{Registry: true, Platform: "linux/s390x"}, ref.Name()); !strings.Contains(err.Error(), "want linux/s390x") {
		t.Errorf("got %v", err)
	}
}

// Credentials come from Docker's configuration; without them the error says what to do.
func TestRegistryLogin(t *testing.T) {
	r := newRegistry(t)
	img := newImage(t, "secret")
	ref := r.push(t, "web:1", img)
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if user, password, _ := req.BasicAuth(); user == "me" && password == "word" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}`, http.StatusUnauthorized)
		return true
	})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	layout := writeLayout(t, t.TempDir(), map[string]*testImage{"near:1": img})
	if err := findErr(t, Options{Registry: true, Layouts: []string{layout}}, ref); !strings.Contains(err.Error(), "docker login "+r.host) || !strings.Contains(err.Error(), "it has near:1") {
		t.Errorf("got %v, want what to do, and what was nearer", err)
	}
	config := mustJSON(t, map[string]any{"auths": map[string]any{r.host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("me:word"))}}})
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	img.check(t, find(t, Options{Registry: true}, ref))
}

// A credential helper is a program of Docker's protocol.
func TestRegistryCredentialHelper(t *testing.T) {
	r := newRegistry(t)
	img := newImage(t, "secret")
	ref := r.push(t, "web:1", img)
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if user, password, _ := req.BasicAuth(); user == "helped" && password == "token" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	dir := t.TempDir()
	helper := "#!/bin/sh\nread host\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"helped\",\"Secret\":\"token\"}' \"$host\"\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helper), 0o700); err != nil {
		t.Fatal(err)
	}
	config := mustJSON(t, map[string]any{"credHelpers": map[string]string{r.host: "test"}})
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	img.check(t, find(t, Options{Registry: true}, ref))
}

func TestRegistryMirrors(t *testing.T) {
	origin, mirror, dead := newRegistry(t), newRegistry(t), newRegistry(t)
	img := newImage(t, "web")
	ref := origin.push(t, "team/web:1", img)
	mirror.push(t, "hub/team/web:1", img)
	dead.intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true })
	o := Options{Registry: true, Mirrors: map[string][]string{origin.host: {dead.host, mirror.host + "/hub/"}}}
	before := origin.count("GET", "")
	img.check(t, find(t, o, ref))
	if after := origin.count("GET", ""); after != before {
		t.Errorf("the registry was asked %d times beside its mirror", after-before)
	}
	// What no mirror has, the registry itself is asked for.
	other := newImage(t, "other")
	img2 := origin.push(t, "team/other:1", other)
	other.check(t, find(t, o, img2))
	if err := findErr(t, o, origin.host+"/team/none:1"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), dead.host) {
		t.Errorf("got %v, want what the mirrors said too", err)
	}
	if _, err := Open(t.Context(), Options{Registry: true, Mirrors: map[string][]string{"docker.io": {"Not A Host"}}}); err == nil {
		t.Error("a mirror that is no host: got no error")
	}
}

// A mirror that lies about content is found out, and passed over.
func TestRegistryMirrorLies(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	img, evil := newImage(t, "web"), newImage(t, "evil")
	ref := origin.push(t, "web:1", img)
	mirror.push(t, "web:1", evil)
	o := Options{Registry: true, Mirrors: map[string][]string{origin.host: {mirror.host}}}
	mirror.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.HasSuffix(req.URL.Path, "/manifests/"+img.digest) {
			w.Header().Set("Content-Type", string(must(evil.MediaType())(t)))
			_, _ = w.Write(must(evil.RawManifest())(t))
			return true
		}
		return false
	})
	img.check(t, find(t, o, strings.TrimSuffix(ref, ":1")+"@"+img.digest))
}

// A registry is a stranger: each thing it gives is compared.
func TestRegistryLies(t *testing.T) {
	img := newImage(t, "base", "app")
	m := must(img.Manifest())(t)
	swap := func(part string, body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method != http.MethodGet || !strings.HasSuffix(req.URL.Path, part) {
				return false
			}
			w.Header().Set("Content-Type", string(m.MediaType))
			_, _ = w.Write(body)
			return true
		}
	}
	changed := func(raw []byte) []byte { return append(raw[:len(raw)-1:len(raw)-1], ' ') }
	layer1 := m.Layers[1].Digest.String()
	for name, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		"manifest-by-digest": {swap("/manifests/"+img.digest, []byte(`{"schemaVersion":2}`)), "digest"},
		"manifest-huge":      {swap("/manifests/"+img.digest, make([]byte, maxManifest+1)), "more than"},
		"config":             {swap("/blobs/"+m.Config.Digest.String(), changed(must(img.RawConfigFile())(t))), "configuration"},
		"layer":              {swap("/blobs/"+layer1, gzipped(t, tarOf(t, "evil", "x"))), "layer 1"},
		"layer-cut":          {swap("/blobs/"+layer1, nil), "layer 1"},
		"layer-huge": {func(w http.ResponseWriter, req *http.Request) bool {
			if !strings.HasSuffix(req.URL.Path, "/blobs/"+layer1) {
				return false
			}
			for range 64 { // no length announced
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					break
				}
			}
			return true
		}, "layer 1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			r.push(t, "web:1", img)
			r.intercept(c.before)
			if err := findErr(t, Options{Registry: true}, r.host+"/web@"+img.digest); !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A tag that moved since it was locked is told when it is asked for again.
func TestRegistryTagMoved(t *testing.T) {
	r := newRegistry(t)
	old, moved := newImage(t, "old"), newImage(t, "moved")
	ref := r.push(t, "web:1", old)
	lock := filepath.Join(t.TempDir(), "lock")
	src := open(t, Options{Registry: true, Lock: lock})
	must(src.Image(t.Context(), ref))(t)
	write(t, src, lock)
	r.push(t, "web:1", moved)
	before := r.count("GET", "")
	old.check(t, find(t, Options{Registry: true, Lock: lock}, ref))
	if after := r.count("GET", ""); after != before {
		t.Errorf("the registry was asked %d times for what the lock file has", after-before)
	}
	err := findErr(t, Options{Registry: true, Lock: lock, Formats: []layer.Format{layer.Ext4, layer.EROFS}}, ref)
	var e *ChangedError
	if !errors.As(err, &e) || e.Old != old.digest || e.New != moved.digest {
		t.Errorf("got %v, want both digests", err)
	}
	moved.check(t, find(t, Options{Registry: true, Lock: lock, Update: true}, ref))
}

// refuseReferrers answers as registries did before there was such an interface.
func refuseReferrers(w http.ResponseWriter, req *http.Request) bool {
	if strings.Contains(req.URL.Path, "/referrers/") {
		http.NotFound(w, req)
		return true
	}
	return false
}
