package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/cloister-cc/cloister/verity/layer"
)

// oneFileTar is a layer of one file.
func oneFileTar(t *testing.T, name string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLayerCache: layers of images and files are where containerd looks for them, each once, with the roots of EROFS disks.
func TestLayerCache(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // of known roots
	inImage, alone := oneFileTar(t, "a"), oneFileTar(t, "b")
	l, err := tarball.LayerFromFile(inImage)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.OS, file.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	layouts := t.TempDir()
	path, err := layout.Write(filepath.Join(layouts, "registry.example", "web"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out, err := layerCommand(t, nil, "cache", "--dir", dir, "--offline", "--images", layouts, "registry.example/web", alone, inImage)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q, want a line for each of two layers", out)
	}
	for i, tarPath := range []string{alone, inImage} {
		want, err := layerCommand(t, nil, "root", "--format", "erofs", tarPath)
		if err != nil {
			t.Fatal(err)
		}
		diffID, root, _ := strings.Cut(lines[i], " ")
		if root != want {
			t.Errorf("%s: got root %q, want %q", tarPath, root, want)
		}
		blob := layer.ContainerdPath(dir, strings.TrimPrefix(diffID, "sha256:"))
		if img, err := layer.InspectFile(t.Context(), blob, true); err != nil || img.Root.String() != want {
			t.Errorf("%s: got %+v, %v, want root %s", blob, img, err, want)
		}
		text, err := os.ReadFile(blob + ".dmverity")
		var sidecar struct{ RootHash string }
		if err != nil || json.Unmarshal(text, &sidecar) != nil || sidecar.RootHash != want {
			t.Errorf("%s.dmverity: got %s, %v, want root %s", blob, text, err, want)
		}
	}
	if _, err := layerCommand(t, nil, "cache", alone); !isUsage(err) {
		t.Errorf("no --dir: got %v, want a usage error", err)
	}
	if _, err := layerCommand(t, nil, "cache", "--dir", dir, "--offline", "--images", layouts, "registry.example/other"); err == nil {
		t.Error("an image that is nowhere: got no error")
	}
}
