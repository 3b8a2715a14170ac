package images

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// TestContent: what a lock file or a cache answered for is opened where it is, and is the layer, uncompressed.
func TestContent(t *testing.T) {
	made := newImage(t, "one", "two")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"app:1": made})
	lock := filepath.Join(t.TempDir(), "lock.json")
	r := open(t, Options{Layouts: []string{dir}})
	img, err := r.Image(t.Context(), "app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteLock(lock); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Layouts: []string{dir}}, {Layouts: []string{dir}, Lock: lock}} {
		layers, err := open(t, o).Content(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		for i, opened := range layers {
			rc, err := opened()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if err != nil || !bytes.Equal(got, made.tars[i]) {
				t.Errorf("layer %d: got %d bytes, %v, want the tar", i, len(got), err)
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(layers) != len(made.tars) {
			t.Errorf("got %d layers, want %d", len(layers), len(made.tars))
		}
	}
	if _, err := open(t, Options{Lock: lock, Locked: true}).Content(t.Context(), img); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	other := writeLayout(t, t.TempDir(), map[string]*testImage{"app:1": newImage(t, "one", "three")})
	if _, err := open(t, Options{Layouts: []string{other}}).Content(t.Context(), img); !errors.Is(err, errContent) {
		t.Errorf("got %v, want a refusal of the other image", err)
	}
	img.Layers[0].DiffID = ""
	if _, err := r.Content(t.Context(), img); !errors.Is(err, errContent) {
		t.Errorf("got %v, want a refusal without diff ids", err)
	}
	if _, err := open(t, Options{}).Content(t.Context(), img); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestUncompressed(t *testing.T) {
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	zs, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gz, zs} {
		if _, err := io.WriteString(w, "content"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, stored := range map[string]string{"plain": "content", "gzip": zipped.String(), "zstd": packed.String(), "short": "co"} {
		closed := &closing{Reader: strings.NewReader(stored)}
		rc, err := uncompressed(closed, closed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if want := "content"; err != nil || string(got) != want[:len(got)] || len(got) < 2 {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if err := rc.Close(); err != nil || closed.times != 1 {
			t.Errorf("%s: closed %d times, %v", name, closed.times, err)
		}
	}
	broken := &closing{Reader: strings.NewReader("\x1f\x8bxx")}
	if _, err := uncompressed(broken, broken); err == nil || broken.times != 1 {
		t.Errorf("got %v and %d closes of a broken stream", err, broken.times)
	}
}

type closing struct {
	io.Reader
	times int
}

func (c *closing) Close() error { c.times++; return nil }
