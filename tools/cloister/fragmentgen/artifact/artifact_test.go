package artifact_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	gcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen/artifact"
)

// serve runs a registry on the loopback and returns its host and port. wrap may change what it answers.
func serve(t *testing.T, referrers bool, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	handler := registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func open(t *testing.T, reference string) *artifact.Place {
	t.Helper()
	p, err := artifact.Open(reference, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pushImage puts an image under a tag and returns its digest.
func pushImage(t *testing.T, reference string) string {
	t.Helper()
	image, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return digest(t, image)
}

func digest(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// layoutImage writes a layout with one tagged image, and an index of two platforms tagged "multi".
func layoutImage(t *testing.T) (dir, image, index, child string) {
	t.Helper()
	dir = t.TempDir()
	one, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	multi := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}})
	path, err := gcrlayout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	tag := func(name string) gcrlayout.Option {
		return gcrlayout.WithAnnotations(map[string]string{ocispec.AnnotationRefName: name})
	}
	if err := path.AppendImage(one, tag("one")); err != nil {
		t.Fatal(err)
	}
	if err := path.AppendIndex(multi, tag("multi")); err != nil {
		t.Fatal(err)
	}
	return dir, digest(t, one), digest(t, multi), digest(t, other)
}

// pull lists and fetches, and wants these documents in any order.
func pull(t *testing.T, p *artifact.Place, want ...string) []artifact.Found {
	t.Helper()
	found, problems, err := p.List(t.Context(), "linux/amd64")
	if err != nil || len(problems) > 0 {
		t.Fatalf("%s: %v, %v", p, problems, err)
	}
	var got []string
	for _, f := range found {
		raw, err := p.Fetch(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(raw))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", p, got, want)
	}
	return found
}

func attach(t *testing.T, p *artifact.Place, document, platform string) *artifact.Pushed {
	t.Helper()
	done, err := p.Attach(t.Context(), []byte(document), "side.rego.cose", platform)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestRegistry(t *testing.T) {
	for name, referrers := range map[string]bool{"referrers-api": true, "tag-schema": false} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, referrers, nil)
			alone := open(t, host+"/side:1")
			done, err := alone.Push(t.Context(), []byte("document"), "side.rego.cose")
			if err != nil {
				t.Fatal(err)
			}
			again, err := alone.Push(t.Context(), []byte("document"), "side.rego.cose")
			if err != nil || *again != *done {
				t.Errorf("pushed twice: got %+v, %v, want %+v", again, err, done)
			}
			found := pull(t, alone, "document")
			if len(found) != 1 || found[0].Digest != done.Digest || found[0].Size != 8 || found[0].Title != "side.rego.cose" || found[0].Subject != "" {
				t.Errorf("got %+v", found)
			}
			pull(t, open(t, done.Reference), "document")

			image := pushImage(t, host+"/app:1")
			for range 2 {
				if got := attach(t, open(t, host+"/app:1"), "first", ""); got.Subject != image {
					t.Errorf("got %+v, want subject %s", got, image)
				}
			}
			attach(t, open(t, host+"/app@"+image), "second", "linux/amd64")
			for _, f := range pull(t, open(t, host+"/app:1"), "first", "second") {
				if f.Subject != image {
					t.Errorf("got %+v, want subject %s", f, image)
				}
			}
			pushImage(t, host+"/app:2")
			pull(t, open(t, host+"/app:2"))
		})
	}
}

// The manifest is what the peers' tools look for.
func TestManifest(t *testing.T) {
	dir := t.TempDir()
	p := open(t, "oci:"+dir+":side")
	done, err := p.Push(t.Context(), []byte("document"), "side.rego.cose")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(done.Digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x-ms-ccepolicy-frag",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},` +
		`"layers":[{"mediaType":"application/cose-x509+rego","digest":"sha256:3b6b9cf86dd3d5fa1b3b75a6ab0ee8eb7f4a6fba9b8a5c2fb2a7d8cd34dc0c00","size":8,"annotations":{"org.opencontainers.image.title":"side.rego.cose"}}]}`
	if got := strings.Replace(string(raw), done.Layer, "sha256:3b6b9cf86dd3d5fa1b3b75a6ab0ee8eb7f4a6fba9b8a5c2fb2a7d8cd34dc0c00", 1); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestLayout(t *testing.T) {
	dir, image, index, child := layoutImage(t)
	one, multi := open(t, "oci:"+dir+":one"), open(t, "oci:"+dir+":multi")
	if got := attach(t, one, "first", ""); got.Subject != image {
		t.Errorf("got %+v, want subject %s", got, image)
	}
	attach(t, one, "first", "")
	if got := attach(t, multi, "index", ""); got.Subject != index {
		t.Errorf("got %+v, want subject %s", got, index)
	}
	if got := attach(t, multi, "child", "linux/amd64"); got.Subject != child {
		t.Errorf("got %+v, want subject %s", got, child)
	}
	pull(t, one, "first")
	pull(t, multi, "index", "child")
	pull(t, open(t, "oci:"+dir+"@"+child), "child")
	found, _, err := multi.List(t.Context(), "linux/arm64/v8")
	if err != nil || len(found) != 2 { // the index's, and that of the image which is also tagged "one"
		t.Errorf("got %+v, %v", found, err)
	}
	if _, err := multi.Attach(t.Context(), []byte("x"), "", "windows/amd64"); err == nil || !strings.Contains(err.Error(), "linux/amd64, linux/arm64/v8") {
		t.Errorf("got %v", err)
	}
	if _, _, err := open(t, "oci:"+dir).List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "2 images and artifacts") {
		t.Errorf("got %v", err)
	}
	if _, err := open(t, "oci:"+filepath.Join(dir, "absent")+":one").Attach(t.Context(), nil, "", ""); err == nil {
		t.Error("attached to a layout that is not there")
	}
	if _, err := os.Stat(filepath.Join(dir, "absent")); err == nil {
		t.Error("attach made a layout")
	}
}

// A layout with one thing in it needs no tag, however many fragments are attached.
func TestLayoutWithoutTag(t *testing.T) {
	dir := t.TempDir()
	p := open(t, "oci:"+dir)
	if _, err := p.Push(t.Context(), []byte("document"), ""); err != nil {
		t.Fatal(err)
	}
	pull(t, p, "document")
	if _, err := p.Attach(t.Context(), []byte("x"), "", ""); err == nil || !strings.Contains(err.Error(), "it is a fragment") {
		t.Errorf("got %v", err)
	}
	if _, err := open(t, "oci:"+dir+"@sha256:"+strings.Repeat("0", 64)).Push(t.Context(), nil, ""); err == nil || !strings.Contains(err.Error(), "want a tag") {
		t.Errorf("got %v", err)
	}
	if _, err := p.Push(t.Context(), make([]byte, fragment.MaxSize+1), ""); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, text := range []string{"", "oci:", "oci::tag", "oci:dir:", "UPPER/case", "a b", "https://registry.example/x", "x@sha256:12"} {
		if p, err := artifact.Open(text, artifact.Options{}); err == nil {
			t.Errorf("%q: got %v", text, p)
		}
	}
	for text, want := range map[string]string{"nginx": "docker.io/library/nginx", "ghcr.io/a/b:1": "ghcr.io/a/b", "localhost:5000/x@sha256:" + strings.Repeat("1", 64): "localhost:5000/x", "oci:dir": ""} {
		p, err := artifact.Open(text, artifact.Options{})
		if err != nil || p.Repository() != want || p.String() != text {
			t.Errorf("%q: got %v, %v", text, p, err)
		}
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Open("nginx", artifact.Options{}); err == nil {
		t.Error("a broken configuration was passed over")
	}
}

// recorder keeps the URLs that a place asks for and answers none.
type recorder struct{ urls []string }

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.urls = append(r.urls, q.URL.String())
	return nil, fmt.Errorf("no network in this test")
}

// Without TLS goes what is on this machine, or was asked for, and nothing else.
func TestPlainHTTP(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for host, want := range map[string]string{
		"localhost:5000": "http", "127.0.0.1:5000": "http", "127.8.8.8:80": "http", "[::1]:5000": "http", "registry.example": "https", "localhost.example:5000": "https", "10.0.0.1:5000": "https",
		"127.0.0.1.example": "https",
	} {
		for _, plain := range []bool{false, true} {
			r := &recorder{}
			p, err := artifact.Open(host+"/x:1", artifact.Options{PlainHTTP: plain, Client: &http.Client{Transport: r}})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := p.List(t.Context(), ""); err == nil {
				t.Fatal("got an answer")
			}
			scheme := want
			if plain {
				scheme = "http"
			}
			if len(r.urls) == 0 || !strings.HasPrefix(r.urls[0], scheme+"://"+host+"/v2/x/") {
				t.Errorf("%s, plain %v: got %q, want %s", host, plain, r.urls, scheme)
			}
		}
	}
}

// Credentials of Docker's configuration are used, those in it and those of a helper.
func TestCredentials(t *testing.T) {
	const user, password = "me", "secret"
	host := serve(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	configure := func(config string) {
		if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, host+"/side:1").Push(t.Context(), []byte("document"), ""); err == nil {
		t.Fatal("pushed without credentials")
	}
	configure(fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password))))
	if _, err := open(t, host+"/side:1").Push(t.Context(), []byte("document"), ""); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	helper := "#!/bin/sh\ncat >/dev/null\nprintf '%s' '{\"ServerURL\": \"x\", \"Username\": \"" + user + "\", \"Secret\": \"" + password + "\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	configure(fmt.Sprintf(`{"credHelpers": {%q: "test"}}`, host))
	pull(t, open(t, host+"/side:1"), "document")
}
