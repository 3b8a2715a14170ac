package images

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestReferenceSpellings(t *testing.T) {
	digest := "sha256:" + root1
	for text, want := range map[string]string{
		"nginx":                               "docker.io/library/nginx:latest",
		"nginx:1.27":                          "docker.io/library/nginx:1.27",
		"library/nginx":                       "docker.io/library/nginx:latest",
		"docker.io/nginx":                     "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx":       "docker.io/library/nginx:latest",
		"me/app":                              "docker.io/me/app:latest",
		"localhost:5000/app":                  "localhost:5000/app:latest",
		"mcr.microsoft.com/aci/skr:2.7":       "mcr.microsoft.com/aci/skr:2.7",
		"nginx@" + digest:                     "docker.io/library/nginx@" + digest,
		"nginx:1@" + digest:                   "docker.io/library/nginx@" + digest,
		"ghcr.io/a/b/c:v1.0_x-y":              "ghcr.io/a/b/c:v1.0_x-y",
		"registry.example:443/a/b@" + digest:  "registry.example:443/a/b@" + digest,
		"docker.io/library/nginx:latest":      "docker.io/library/nginx:latest",
		"index.docker.io/me/app:1":            "docker.io/me/app:1",
		"registry-1.docker.io/library/nginx":  "registry-1.docker.io/library/nginx:latest", // another host, whatever answers there
		"docker.io/docker.io/library/nginx:1": "docker.io/docker.io/library/nginx:1",
	} {
		ref, err := parseReference(text)
		if err != nil || ref.canonical() != want {
			t.Errorf("%s: got %s, %v, want %s", text, ref.canonical(), err, want)
		}
	}
	for _, text := range []string{"", ":", "Nginx", "a b", "nginx:", "nginx@sha256:12", "nginx@sha512:" + root1 + root1, "-/x y", "../x:1 ", "nginx:" + strings.Repeat("x", maxReference)} {
		if ref, err := parseReference(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, ref.canonical())
		}
	}
}

func TestPlatforms(t *testing.T) {
	for text, want := range map[string]string{
		"": "linux/amd64", "linux/amd64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "linux/amd64/v2": "linux/amd64/v2", "linux/x86_64": "linux/amd64",
		"linux/arm64/v8": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm": "linux/arm", "linux/arm/v7": "linux/arm", "linux/arm/v6": "linux/arm/v6",
	} {
		if p, err := parsePlatform(text); err != nil || p.String() != want {
			t.Errorf("%q: got %s, %v, want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"amd64", "linux/", "/amd64", "linux/arm/v7/x"} {
		if p, err := parsePlatform(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, p)
		}
	}
}

func TestDocumentRefused(t *testing.T) {
	d := `{"mediaType":"x","digest":"sha256:` + root1 + `","size":1}`
	for name, c := range map[string]struct {
		raw   string
		media types.MediaType
		want  string
	}{
		"no-json":          {"x", "", "not a manifest"},
		"neither":          {`{"schemaVersion":2}`, "", "neither layers nor manifests"},
		"both":             {`{"config":` + d + `,"layers":[],"manifests":[]}`, "", "at once"},
		"schema-1":         {`{"schemaVersion":1,"fsLayers":[]}`, "", "schema version 1"},
		"schema-1-type":    {`{"config":` + d + `}`, types.DockerManifestSchema1Signed, "schema version 1"},
		"index-as-image":   {`{"manifests":[]}`, types.OCIManifestSchema1, "contradict"},
		"image-as-index":   {`{"config":` + d + `}`, types.OCIImageIndex, "contradict"},
		"type-differs":     {`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, types.DockerManifestList, "its descriptor"},
		"bad-digest":       {`{"config":{"digest":"sha256:1"}}`, "", "not a manifest"},
		"other-media-type": {`{"layers":[]}`, "application/json", "contradict"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseDocument([]byte(c.raw), c.media); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", got, err, c.want)
			}
		})
	}
}

// What is no image, or one whose layers cannot be read, is refused with its reason.
func TestImageRefused(t *testing.T) {
	good := newImage(t, "base")
	layerOf := func(media types.MediaType) v1.Image {
		return must(mutate.Append(good, mutate.Addendum{Layer: static.NewLayer(gzipped(t, tarOf(t, "x", "y")), media), MediaType: media}))(t)
	}
	config := func(f func(*v1.ConfigFile)) v1.Image {
		c := must(good.ConfigFile())(t).DeepCopy()
		f(c)
		return must(mutate.ConfigFile(good, c))(t)
	}
	for name, c := range map[string]struct {
		img  v1.Image
		want string
	}{
		"foreign-layer":   {layerOf(types.DockerForeignLayer), "not in the registry"},
		"encrypted-layer": {layerOf("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "encrypted"},
		"chart":           {layerOf("application/vnd.cncf.helm.chart.content.v1.tar+gzip"), "no file system"},
		"artifact":        {mutate.ConfigMediaType(good, "application/vnd.example+json"), "artifact"},
		"no-layers":       {mutate.MediaType(mutate.ConfigMediaType(must(mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64"}))(t), types.OCIConfigJSON), types.OCIManifestSchema1), "got 0 layers"},
		"no-platform":     {config(func(c *v1.ConfigFile) { c.OS, c.Architecture = "", "" }), "want linux/amd64"},
		"windows":         {config(func(c *v1.ConfigFile) { c.OS = "windows" }), "got windows/amd64"},
		"fewer-diff-ids":  {config(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, c.RootFS.DiffIDs[0]) }), "got 1 in the manifest and 2 diff ids"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := must(layout.Write(dir, empty.Index))(t)
			if err := p.AppendImage(c.img, layout.WithAnnotations(map[string]string{refNameAnnotation: "web:1"})); err != nil {
				t.Fatal(err)
			}
			if err := findErr(t, Options{Layouts: []string{dir}}, "web:1"); errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	// A diff id that the layer does not have.
	c := must(good.ConfigFile())(t).DeepCopy()
	c.RootFS.DiffIDs[0].Hex = root1
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))(t)
	if err := p.AppendImage(must(mutate.ConfigFile(good, c))(t), layout.WithAnnotations(map[string]string{refNameAnnotation: "web:1"})); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if err := findErr(t, Options{Layouts: []string{dir}, Cache: cache}, "web:1"); !strings.Contains(err.Error(), root1) {
		t.Errorf("got %v", err)
	}
	if _, known := rootCache(cache).get("sha256:"+root1, "ext4"); known {
		t.Error("a refused layer is in the cache")
	}
}

// Indexes within indexes end somewhere.
func TestIndexDepth(t *testing.T) {
	img := newImage(t, "base")
	amd := &v1.Platform{OS: "linux", Architecture: "amd64"}
	for depth := 1; depth <= maxDepth; depth++ {
		index := indexOf(t, map[string]*testImage{"linux/amd64": img})
		for range depth - 1 {
			index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Platform: amd}})
		}
		dir := t.TempDir()
		p := must(layout.Write(dir, empty.Index))(t)
		if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{refNameAnnotation: "web:1"})); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, Options{Layouts: []string{dir}}).Image(t.Context(), "web:1")
		if got := fmt.Sprint(err); (err == nil) != (depth < maxDepth) || err != nil && !strings.Contains(got, "indexes in each other") {
			t.Errorf("depth %d: got %v", depth, err)
		}
	}
}
