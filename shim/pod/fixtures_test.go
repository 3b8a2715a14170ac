package pod

import (
	"archive/tar"
	"bytes"
	"io"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// file is one tar entry of a test layer; its zero type is a regular file.
type file struct {
	name, body, link string
	kind             byte
}

func tarOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Linkname: f.link, Typeflag: f.kind, Mode: 0o644, Size: int64(len(f.body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func testLayer(t *testing.T, files ...file) v1.Layer {
	t.Helper()
	data := tarOf(t, files...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func podLayers(t *testing.T, layers ...v1.Layer) []Layer {
	t.Helper()
	var out []Layer
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Layer{DiffID: id.String(), Open: l.Uncompressed})
	}
	return out
}

func testImage(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		t.Fatal(err)
	}
	return img
}

// writeLayout puts one image into dir/name under an optional ref.name.
func writeLayout(t *testing.T, dir, name, refName string, img v1.Image) layout.Path {
	t.Helper()
	at := filepath.Join(dir, name)
	p, err := layout.FromPath(at)
	if err != nil {
		if p, err = layout.Write(at, empty.Index); err != nil {
			t.Fatal(err)
		}
	}
	var options []layout.Option
	if refName != "" {
		options = append(options, layout.WithAnnotations(map[string]string{refNameAnnotation: refName}))
	}
	if err := p.AppendImage(img, options...); err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	passwdText = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken line\nweb:x:33:44:web:/:/bin/false\n"
	groupText  = "root:x:0:\nadm:x:4:root,web\nweb:x:44:\nlogs:x:70:web\n"
)

// testImages is a directory with the image "app" the tests resolve.
func testImages(t *testing.T, config v1.Config) *Images {
	t.Helper()
	dir := t.TempDir()
	img := testImage(t, config, testLayer(t, file{name: "etc/passwd", body: passwdText}, file{name: "etc/group", body: groupText}))
	writeLayout(t, dir, "app", "latest", img)
	images, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	return images
}
