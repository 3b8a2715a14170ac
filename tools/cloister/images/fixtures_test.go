package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/verity/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must keeps the making of fixtures readable.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tarOf is a layer with one file.
func tarOf(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1700000000, 0)}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rootOf is what the layer converter itself says.
func rootOf(t testing.TB, layerTar []byte) string {
	t.Helper()
	res, err := layer.Root(t.Context(), bytes.NewReader(layerTar), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res.RootHash.String()
}

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// testImage is an image and what must be found out about it.
type testImage struct {
	v1.Image
	digest string
	tars   [][]byte // base first
}

// newImage makes an image for linux/amd64 with one gzip layer a text.
func newImage(t testing.TB, texts ...string) *testImage {
	t.Helper()
	return newImageFor(t, v1.Platform{OS: "linux", Architecture: "amd64"}, texts...)
}

func newImageFor(t testing.TB, p v1.Platform, texts ...string) *testImage {
	t.Helper()
	img := &testImage{Image: mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)}
	for i, text := range texts {
		raw := tarOf(t, fmt.Sprintf("file-%d", i), text)
		l := must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
			tarball.WithMediaType(types.OCILayer)))(t)
		img.Image = must(mutate.AppendLayers(img.Image, l))(t)
		img.tars = append(img.tars, raw)
	}
	c := must(img.ConfigFile())(t).DeepCopy()
	c.OS, c.Architecture, c.Variant = p.OS, p.Architecture, p.Variant
	c.Config = v1.Config{Env: []string{"PATH=/bin", "TEXT=" + texts[0]}, Cmd: []string{"/file-0"}, User: "1000", WorkingDir: "/w", StopSignal: "SIGTERM"}
	img.Image = must(mutate.ConfigFile(img.Image, c))(t)
	img.digest = must(img.Digest())(t).String()
	return img
}

// check compares an image that was found with the one that was made.
func (i *testImage) check(t *testing.T, got *Image) {
	t.Helper()
	if got.Digest != "" && got.Digest != i.digest {
		t.Errorf("digest: got %s, want %s", got.Digest, i.digest)
	}
	c := must(i.ConfigFile())(t)
	if len(got.Config.Env) != 2 || got.Config.Env[1] != c.Config.Env[1] || got.Config.WorkingDir != "/w" {
		t.Errorf("configuration: got %+v, want %+v", got.Config, c.Config)
	}
	if len(got.Layers) != len(i.tars) {
		t.Fatalf("layers: got %d, want %d", len(got.Layers), len(i.tars))
	}
	for n, l := range got.Layers {
		if want := rootOf(t, i.tars[n]); l.Ext4 != want || l.DiffID != sha(i.tars[n]) {
			t.Errorf("layer %d: got %+v, want root %s of %s", n, l, want, sha(i.tars[n]))
		}
	}
}

// writeLayout writes a layout with one image a name; an empty name writes none.
func writeLayout(t testing.TB, dir string, images map[string]*testImage) string {
	t.Helper()
	p := must(layout.Write(dir, empty.Index))(t)
	for name, img := range images {
		var opts []layout.Option
		if name != "" {
			opts = append(opts, layout.WithAnnotations(map[string]string{refNameAnnotation: name}))
		}
		if err := p.AppendImage(img, opts...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// open makes a resolver without a cache of roots, unless the test gives one.
func open(t testing.TB, o Options) *Resolver {
	t.Helper()
	if o.Cache == "" {
		o.Cache = "-"
	}
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r.backoff = time.Millisecond
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func find(t *testing.T, o Options, ref string) *Image {
	t.Helper()
	img, err := open(t, o).Image(t.Context(), ref)
	if err != nil {
		t.Fatalf("image %q: %v", ref, err)
	}
	return img
}

func findErr(t *testing.T, o Options, ref string) error {
	t.Helper()
	img, err := open(t, o).Image(t.Context(), ref)
	if err == nil {
		t.Fatalf("image %q: got %+v, want an error", ref, img)
	}
	return err
}

// entry is a file of an archive.
type entry struct {
	name, link string
	body       []byte
	kind       byte
}

func writeTar(t testing.TB, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o644, Size: int64(len(e.body))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return writeFixture(t, b.Bytes())
}

func writeFixture(t testing.TB, content []byte) string {
	t.Helper()
	f := must(os.CreateTemp(t.TempDir(), "fixture-*"))(t)
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func gzipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// dirTar packs a directory as `tar -C dir -c .` does.
func dirTar(t testing.TB, dir string, more ...entry) string {
	t.Helper()
	var entries []entry
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		entries = append(entries, entry{name: "." + path[len(dir):], body: raw})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return writeTar(t, append(entries, more...)...)
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	return must(json.Marshal(v))(t)
}

func cancelable(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

func canceled(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := cancelable(t)
	cancel()
	return ctx
}
