package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen/artifact"
)

// put stores a manifest and its blobs in a registry, whatever they say.
func put(t *testing.T, host, repository, reference string, m any, blobs ...string) {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, url, kind string, body []byte) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s %s: %s %s", method, url, resp.Status, text)
		}
		return resp
	}
	for _, b := range blobs {
		h, _, err := v1.SHA256(strings.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		send(http.MethodPost, "http://"+host+"/v2/"+repository+"/blobs/uploads/?digest="+h.String(), "application/octet-stream", []byte(b))
	}
	send(http.MethodPut, "http://"+host+"/v2/"+repository+"/manifests/"+reference, ocispec.MediaTypeImageManifest, raw)
}

func descriptor(t *testing.T, mediaType, data string) map[string]any {
	t.Helper()
	h, n, err := v1.SHA256(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"mediaType": mediaType, "digest": h.String(), "size": n}
}

// What a registry serves that is no fragment, too large or not what its digest says is an error.
func TestHostileManifests(t *testing.T) {
	type object = map[string]any
	layer := descriptor(t, fragment.MediaTypeRego, "document")
	with := func(key string, value any) object {
		d := object{"mediaType": layer["mediaType"], "digest": layer["digest"], "size": layer["size"]}
		d[key] = value
		return d
	}
	host := serve(t, true, nil)
	for name, c := range map[string]struct {
		layers []any
		want   string
	}{
		"no-layers":   {nil, "no layer of type"},
		"other-type":  {[]any{with("mediaType", "text/plain")}, "no layer of type"},
		"too-large":   {[]any{with("size", fragment.MaxSize+1)}, "at most"},
		"negative":    {[]any{with("size", -1)}, "at most"},
		"longer":      {[]any{with("size", 9)}, "document"},
		"shorter":     {[]any{with("size", 7)}, "sha256:"},
		"not-there":   {[]any{with("digest", "sha256:"+strings.Repeat("0", 64))}, "not found"},
		"bad-digest":  {[]any{with("digest", "sha256:../../etc/passwd")}, "digest"},
		"no-digest":   {[]any{with("digest", "")}, "digest"},
		"too-many":    {slices.Repeat([]any{layer}, artifact.MaxFragments+1), "more than 256"},
		"path-titles": {[]any{with("annotations", object{ocispec.AnnotationTitle: "../../x"})}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, host, "side", name, object{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": artifact.ArtifactType,
				"config": descriptor(t, "application/vnd.oci.empty.v1+json", "{}"), "layers": c.layers,
			}, "{}", "document")
			p := open(t, host+"/side:"+name)
			found, _, err := p.List(t.Context(), "")
			for _, f := range found {
				if err == nil {
					_, err = p.Fetch(t.Context(), f)
				}
			}
			if c.want == "" && err == nil {
				return
			}
			if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) && name != "longer" {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A broken artifact beside a good one is told, and the good one is found. One of another type, or that says it is about another
// image, is not looked at.
func TestBrokenNeighbour(t *testing.T) {
	host := serve(t, true, nil)
	image := pushImage(t, host+"/app:1")
	attach(t, open(t, host+"/app:1"), "good", "")
	subject := map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": image, "size": 1}
	for tag, kind := range map[string]string{"broken": artifact.ArtifactType, "signature": "application/vnd.example"} {
		put(t, host, "app", tag, map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": kind, "subject": subject,
			"config": descriptor(t, "application/vnd.oci.empty.v1+json", "{}"), "layers": []any{},
		}, "{}")
	}
	found, problems, err := open(t, host+"/app:1").List(t.Context(), "")
	if err != nil || len(found) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "no layer of type") {
		t.Errorf("got %+v, %v, %v", found, problems, err)
	}
}

// A registry that lists without end is not listened to for ever.
func TestEndlessReferrers(t *testing.T) {
	const page = `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [%s]}`
	many := make([]string, artifact.MaxFragments/4)
	for i := range many {
		many[i] = fmt.Sprintf(`{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:%064x", "size": 2, "artifactType": %q}`, i, artifact.ArtifactType)
	}
	for name, items := range map[string]string{"many": strings.Join(many, ","), "empty": "", "long": strings.Repeat(" ", 5<<20)} {
		pages := 0
		host := serve(t, true, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					next.ServeHTTP(w, r)
					return
				}
				pages++
				w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, pages))
				fmt.Fprintf(w, page, items)
			})
		})
		pushImage(t, host+"/app:1")
		if found, _, err := open(t, host+"/app:1").List(t.Context(), ""); err == nil {
			t.Errorf("%s: got %d", name, len(found))
		}
		if pages == 0 || pages > 64 {
			t.Errorf("%s: %d pages were asked for", name, pages)
		}
	}
}

// A layout that somebody else made is bounded as a registry is.
func TestHostileLayout(t *testing.T) {
	dir := t.TempDir()
	p := open(t, "oci:"+dir+":side")
	if _, err := p.Push(t.Context(), []byte("document"), ""); err != nil {
		t.Fatal(err)
	}
	found := pull(t, p, "document")
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("got %q, %v", blobs, err)
	}
	for _, b := range blobs {
		raw, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(b, 0o644); err != nil {
			t.Fatal(err)
		}
		if string(raw) != "document" {
			continue
		}
		if err := os.WriteFile(b, []byte("documenT"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := p.Fetch(t.Context(), found[0]); err == nil {
		t.Errorf("got %q", raw)
	}
	if err := os.Truncate(filepath.Join(dir, "index.json"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
	if _, err := p.Fetch(t.Context(), artifact.Found{}); err == nil {
		t.Error("fetched what was not found")
	}
}

// A command that was given up ends.
func TestCancelled(t *testing.T) {
	entered := make(chan struct{}, 1)
	host := serve(t, true, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-r.Context().Done()
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, _, err := open(t, host+"/app:1").List(ctx, ""); err == nil {
		t.Error("got an answer")
	}
}
