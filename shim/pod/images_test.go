package pod

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func TestFindImage(t *testing.T) {
	dir := t.TempDir()
	a := testImage(t, v1.Config{User: "a"}, testLayer(t, file{name: "a", body: "a"}))
	b := testImage(t, v1.Config{User: "b"}, testLayer(t, file{name: "b", body: "b"}))
	writeLayout(t, dir, "one", "", a)
	writeLayout(t, dir, "tagged", "latest", a)
	writeLayout(t, dir, "tagged", "v2", b)
	writeLayout(t, dir, "team/app", "v1", a)
	writeLayout(t, dir, "twice", "v1", a)
	writeLayout(t, dir, "twice", "v1", b)
	writeLayout(t, dir, ".", "registry.example/shared:v1", b)
	images, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, ref, want, err string }{
		{"only-image", "one", "a", ""},
		{"only-image-other-tag", "one:v9", "", "0 of its 1 images"},
		{"default-tag", "tagged", "a", ""},
		{"tag", "tagged:v2", "b", ""},
		{"digest", "tagged@" + digest.String(), "b", ""},
		{"tag-and-digest", "tagged:latest@" + digest.String(), "b", ""},
		{"path", "team/app:v1", "a", ""},
		{"shared-layout", "registry.example/shared:v1", "b", ""},
		{"shared-layout-needs-whole-name", "v1", "", "0 of its 1 images"},
		{"ambiguous", "twice:v1", "", "2 of its 2 images"},
		{"not-there", "tagged:v3", "", "0 of its 2 images"},
		{"traversal", "../" + filepath.Base(dir) + "/one", "", "image"},
		{"upper-case", "One", "", "image"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			img, err := images.Find(c.ref)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if img.Config.User != c.want {
				t.Errorf("got image %q, want %q", img.Config.User, c.want)
			}
		})
	}
}

func TestFindImageInIndex(t *testing.T) {
	dir := t.TempDir()
	amd64 := testImage(t, v1.Config{User: "amd64"}, testLayer(t, file{name: "a", body: "a"}))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	p, err := layout.Write(filepath.Join(dir, "multi"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{refNameAnnotation: "latest"})); err != nil {
		t.Fatal(err)
	}
	images, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Find("multi")
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.User != "amd64" {
		t.Errorf("got image %q", img.Config.User)
	}
}

// TestFindImageChangedBlob changes what a digest names: the library reads blobs of a directory without looking.
func TestFindImageChangedBlob(t *testing.T) {
	for _, which := range []string{"manifest", "config"} {
		t.Run(which, func(t *testing.T) {
			dir := t.TempDir()
			img := testImage(t, v1.Config{User: "web"}, testLayer(t, file{name: "a", body: "a"}))
			writeLayout(t, dir, "app", "latest", img)
			digest, err := img.Digest()
			if which == "config" {
				digest, err = img.ConfigName()
			}
			if err != nil {
				t.Fatal(err)
			}
			blob := filepath.Join(dir, "app", "blobs", "sha256", digest.Hex)
			data, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blob, append(data, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			images, err := OpenImages(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := images.Find("app"); err == nil || !strings.Contains(err.Error(), which+" blob: got sha256:") {
				t.Errorf("got %v, want a refusal of the %s", err, which)
			}
		})
	}
}

func TestReadFilesOfLayers(t *testing.T) {
	base := []file{{name: "etc/", kind: '5'}, {name: "etc/passwd", body: "base"}}
	cases := []struct {
		name   string
		layers [][]file
		want   string
		err    string
	}{
		{name: "base-only", layers: [][]file{base}, want: "base"},
		{name: "top-wins", layers: [][]file{base, {{name: "./etc/passwd", body: "top"}}}, want: "top"},
		{name: "untouched-above", layers: [][]file{base, {{name: "etc/group", body: "g"}}}, want: "base"},
		{name: "whiteout", layers: [][]file{base, {{name: "etc/.wh.passwd"}}}},
		{name: "whiteout-of-directory", layers: [][]file{base, {{name: ".wh.etc"}}}},
		{name: "opaque", layers: [][]file{base, {{name: "etc/.wh..wh..opq"}}}},
		{name: "opaque-root", layers: [][]file{base, {{name: ".wh..wh..opq"}}}},
		{name: "opaque-elsewhere", layers: [][]file{base, {{name: "usr/.wh..wh..opq"}}}, want: "base"},
		{name: "opaque-then-file", layers: [][]file{base, {{name: "etc/.wh..wh..opq"}, {name: "etc/passwd", body: "top"}}}, want: "top"},
		{name: "file-then-opaque", layers: [][]file{base, {{name: "etc/passwd", body: "top"}, {name: "etc/.wh..wh..opq"}}}, want: "top"},
		{name: "back-after-whiteout", layers: [][]file{base, {{name: "etc/.wh.passwd"}}, {{name: "etc/passwd", body: "again"}}}, want: "again"},
		{name: "whiteout-of-prefix", layers: [][]file{base, {{name: "etc/.wh.pass"}}}, want: "base"},
		{name: "later-entry-wins", layers: [][]file{{{name: "etc/passwd", body: "one"}, {name: "etc/passwd", body: "two"}}}, want: "two"},
		{name: "hard-link", layers: [][]file{{{name: "usr/p", body: "linked"}, {name: "etc/passwd", link: "usr/p", kind: '1'}}}, want: "linked"},
		{name: "hard-link-to-nothing", layers: [][]file{{{name: "etc/passwd", link: "usr/p", kind: '1'}}}, err: "not a regular file"},
		{name: "symbolic-link", layers: [][]file{{{name: "etc/passwd", link: "/usr/p", kind: '2'}}}, err: "not a regular file"},
		{name: "parent-is-symbolic-link", layers: [][]file{base, {{name: "etc", link: "/usr", kind: '2'}}}, err: "not a regular file"},
		{name: "too-large", layers: [][]file{{{name: "etc/passwd", body: strings.Repeat("x", maxAccountFile+1)}}}, err: "is larger than"},
		{name: "missing", layers: [][]file{{{name: "bin/sh", body: "x"}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var layers []v1.Layer
			for _, files := range c.layers {
				layers = append(layers, testLayer(t, files...))
			}
			found, err := readFiles(t.Context(), podLayers(t, layers...), []string{"etc/passwd"})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(found["etc/passwd"]); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestReadFilesChangedLayer(t *testing.T) {
	layers := podLayers(t, testLayer(t, file{name: "etc/passwd", body: "root:x:0:0::/:"}))
	other := tarOf(t, file{name: "etc/passwd", body: "root:x:7:7::/:"})
	layers[0].Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(other)), nil }
	if _, err := readFiles(t.Context(), layers, []string{"etc/passwd"}); err == nil || !strings.Contains(err.Error(), "content is sha256:") {
		t.Errorf("got %v, want a refusal of the content", err)
	}
}

// TestImageNotFoundNamesOthers: a mistyped name shows beside those that are there, of which five are named.
func TestImageNotFoundNamesOthers(t *testing.T) {
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		err := p.AppendDescriptor(v1.Descriptor{
			MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(fmt.Sprint(i), 64)},
			Annotations: map[string]string{refNameAnnotation: fmt.Sprintf("web:%d", i)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Find("wbe:1")
	var none *NotFoundError
	if !errors.As(err, &none) || !strings.HasSuffix(err.Error(), `0 of its 7 images have that name; it has "web:0", "web:1", "web:2", "web:3", "web:4" and 2 more`) {
		t.Errorf("got %v", err)
	}
}
