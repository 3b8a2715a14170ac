package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

func TestLayoutNames(t *testing.T) {
	web, db := newImage(t, "web", "shared"), newImage(t, "db", "shared")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"docker.io/library/web:1.27": web, "ghcr.io/me/db:latest": db})
	for ref, want := range map[string]*testImage{
		"web:1.27":                         web,
		"docker.io/web:1.27":               web,
		"index.docker.io/library/web:1.27": web,
		"ghcr.io/me/db":                    db,
		"ghcr.io/me/db:latest":             db,
		"db@" + db.digest:                  db,
	} {
		t.Run(ref, func(t *testing.T) {
			got := find(t, Options{Layouts: []string{dir}}, ref)
			want.check(t, got)
			if got.Reference != ref || got.Digest != want.digest || got.Platform != "linux/amd64" {
				t.Errorf("got %s of %s for %s", got.Digest, got.Reference, got.Platform)
			}
		})
	}
	for _, ref := range []string{"web", "web:1.28", "me/db", "ghcr.io/me/db@" + sha([]byte("other"))} {
		t.Run(ref, func(t *testing.T) {
			err := findErr(t, Options{Layouts: []string{dir}}, ref)
			var none *NotFoundError
			if !errors.As(err, &none) || !errors.Is(err, ErrNotFound) || len(none.Searched) != 1 {
				t.Errorf("got %v, want that the image is not found", err)
			}
			if !strings.Contains(ref, "@") && !strings.Contains(err.Error(), "ghcr.io/me/db:latest") {
				t.Errorf("got %v, want the names that are there", err)
			}
		})
	}
}

// A layout in a directory of its repository's name has tags only.
func TestLayoutPerImage(t *testing.T) {
	root := t.TempDir()
	one, two, only := newImage(t, "one"), newImage(t, "two"), newImage(t, "only")
	writeLayout(t, filepath.Join(root, "web"), map[string]*testImage{"1": one, "latest": two})
	writeLayout(t, filepath.Join(root, "ghcr.io/me/app"), map[string]*testImage{"": only})
	writeLayout(t, filepath.Join(root, "docker.io/library/full"), map[string]*testImage{"1": one})
	for ref, want := range map[string]*testImage{"web:1": one, "web": two, "ghcr.io/me/app": only, "full:1": one} {
		want.check(t, find(t, Options{Layouts: []string{root}}, ref))
	}
	findErr(t, Options{Layouts: []string{root}}, "1")
	findErr(t, Options{Layouts: []string{root}}, "web:2")
	findErr(t, Options{Layouts: []string{root}}, "ghcr.io/me/app:7")            // an image without a name is the latest
	findErr(t, Options{Layouts: []string{filepath.Join(root, "web")}}, "web:1") // a bare tag names nothing here
	// Given for a reference, a layout needs no names.
	only.check(t, find(t, Options{Archives: map[string]string{"x:3": filepath.Join(root, "ghcr.io/me/app")}}, "docker.io/library/x:3"))
}

// What docker saves has equal bare tags beside full names.
func TestLayoutDockerNames(t *testing.T) {
	web, db := newImage(t, "web"), newImage(t, "db")
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))(t)
	for name, img := range map[string]*testImage{"docker.io/library/web:1": web, "docker.io/library/db:1": db} {
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{imageNameAnnotation: name, refNameAnnotation: "1"})); err != nil {
			t.Fatal(err)
		}
	}
	for ref, img := range map[string]*testImage{"web:1": web, "db:1": db} {
		for _, o := range []Options{{Layouts: []string{dir}}, {Archives: map[string]string{ref: dir}}, {ArchiveFiles: []string{dirTar(t, dir)}}} {
			img.check(t, find(t, o, ref))
		}
	}
	findErr(t, Options{Archives: map[string]string{"other:1": dir}}, "other:1")
	one := t.TempDir()
	p = must(layout.Write(one, empty.Index))(t)
	if err := p.AppendImage(web, layout.WithAnnotations(map[string]string{imageNameAnnotation: "docker.io/library/built:dev", refNameAnnotation: "dev"})); err != nil {
		t.Fatal(err)
	}
	web.check(t, find(t, Options{Archives: map[string]string{"registry.example/web:1": one}}, "registry.example/web:1"))
	findErr(t, Options{Layouts: []string{one}}, "registry.example/web:1")
}

func TestLayoutAmbiguous(t *testing.T) {
	one, two := newImage(t, "one"), newImage(t, "two")
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))(t)
	for _, img := range []*testImage{one, two} {
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refNameAnnotation: "web:1"})); err != nil {
			t.Fatal(err)
		}
	}
	if err := findErr(t, Options{Layouts: []string{dir}}, "web:1"); !strings.Contains(err.Error(), "2 images have that name") {
		t.Errorf("got %v", err)
	}
	one.check(t, find(t, Options{Layouts: []string{dir}}, "web@"+one.digest))

	a := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": one})
	b := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": two})
	err := findErr(t, Options{Layouts: []string{a, b}}, "web:1")
	if !strings.Contains(err.Error(), one.digest) || !strings.Contains(err.Error(), two.digest) {
		t.Errorf("got %v, want both digests", err)
	}
	both := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": one})
	writeLayout(t, filepath.Join(both, "web"), map[string]*testImage{"1": two})
	if err := findErr(t, Options{Layouts: []string{both}}, "web:1"); !strings.Contains(err.Error(), "two images have that name") {
		t.Errorf("got %v", err)
	}
	same := writeLayout(t, t.TempDir(), map[string]*testImage{"docker.io/library/web:1": one})
	one.check(t, find(t, Options{Layouts: []string{a, same}}, "web:1"))
}

// indexOf is an index of one image for each platform.
func indexOf(t testing.TB, images map[string]*testImage) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range []string{"linux/arm64/v8", "linux/amd64", "linux/amd64/v3", "linux/arm/v7", "unknown/unknown"} {
		if img, ok := images[p]; ok {
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: must(v1.ParsePlatform(p))(t)}})
		}
	}
	return index
}

func TestIndexPlatforms(t *testing.T) {
	arm := newImageFor(t, v1.Platform{OS: "linux", Architecture: "arm64"}, "arm")
	amd := newImage(t, "amd")
	fast := newImageFor(t, v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}, "fast")
	all := map[string]*testImage{"linux/arm64/v8": arm, "linux/amd64": amd, "linux/amd64/v3": fast, "unknown/unknown": newImage(t, "attestation")}
	index := indexOf(t, all)
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))(t)
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{refNameAnnotation: "web:1"})); err != nil {
		t.Fatal(err)
	}
	for platform, want := range map[string]*testImage{"": amd, "linux/amd64": amd, "linux/x86_64": amd, "linux/arm64": arm, "linux/aarch64": arm, "linux/amd64/v3": fast} {
		got := find(t, Options{Layouts: []string{dir}, Platform: platform}, "web:1")
		want.check(t, got)
		if got.Digest != want.digest {
			t.Errorf("platform %q: got %s, want the manifest %s", platform, got.Digest, want.digest)
		}
	}
	for _, ref := range []string{"web@" + must(index.Digest())(t).String(), "web@" + amd.digest} {
		amd.check(t, find(t, Options{Layouts: []string{dir}}, ref))
	}
	err := findErr(t, Options{Layouts: []string{dir}, Platform: "linux/riscv64"}, "web:1")
	if !strings.Contains(err.Error(), "got linux/arm64, linux/amd64, linux/amd64/v3, want linux/riscv64") {
		t.Errorf("got %v, want the platforms that are there, without attestations", err)
	}
	// An image without an index says in its configuration what it is for.
	single := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": arm})
	if err := findErr(t, Options{Layouts: []string{single}}, "web:1"); !strings.Contains(err.Error(), "got linux/arm64, want linux/amd64") {
		t.Errorf("got %v", err)
	}
}

func blobPath(dir, digest string) string {
	return filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// Each blob counts by its digest and size, and each layer by its diff id.
func TestLayoutWrongContent(t *testing.T) {
	img := newImage(t, "base", "app")
	m := must(img.Manifest())(t)
	change := func(digest string, f func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := blobPath(dir, digest)
			raw := must(os.ReadFile(path))(t)
			if err := os.WriteFile(path, f(raw), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }
	longer := func(raw []byte) []byte { return append(raw, 0) }
	shorter := func(raw []byte) []byte { return raw[:len(raw)-1] }
	layerDigest := m.Layers[1].Digest.String()
	for name, c := range map[string]struct {
		break_ func(*testing.T, string)
		want   string
	}{
		"manifest":         {change(img.digest, flip), "want " + img.digest},
		"manifest-longer":  {change(img.digest, longer), "got more than"},
		"manifest-shorter": {change(img.digest, shorter), "unexpected EOF"},
		"config":           {change(m.Config.Digest.String(), flip), m.Config.Digest.String()},
		"layer":            {change(layerDigest, flip), "layer 1"},
		"layer-gzip-time":  {change(layerDigest, func(raw []byte) []byte { raw[4] ^= 1; return raw }), "want " + layerDigest}, // the same tar
		"layer-longer":     {change(layerDigest, longer), "layer 1"},
		"layer-shorter":    {change(layerDigest, shorter), "layer 1"},
		"layer-other":      {change(layerDigest, func([]byte) []byte { return gzipped(t, tarOf(t, "evil", "x")) }), "layer 1"},
		"layer-missing":    {func(t *testing.T, dir string) { must(0, os.Remove(blobPath(dir, layerDigest)))(t) }, "not found"},
		"layer-pipe": {func(t *testing.T, dir string) { // on which a reader would wait for ever
			must(0, os.Remove(blobPath(dir, layerDigest)))(t)
			must(0, unix.Mkfifo(blobPath(dir, layerDigest), 0o644))(t)
		}, "want a regular file"},
		"layer-directory": {func(t *testing.T, dir string) {
			must(0, os.Remove(blobPath(dir, layerDigest)))(t)
			must(0, os.Mkdir(blobPath(dir, layerDigest), 0o755))(t)
		}, "want a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
			c.break_(t, dir)
			if err := findErr(t, Options{Layouts: []string{dir}}, "web:1"); !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
