package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

const refNameAnnotation = "org.opencontainers.image.ref.name"

// Images finds images in a directory: either one OCI layout that holds several, or a layout per image in a
// subdirectory of the image's name.
type Images struct{ dir string }

// Image is an image for linux/amd64.
type Image struct {
	Digest string // of the manifest
	Config v1.Config
	Layers []Layer // base first
	// Accounts are /etc/passwd and /etc/group where the source has read them already; nil to look into the layers.
	Accounts *AccountFiles
}

// Layer is one layer's content.
type Layer struct {
	DiffID string // "sha256:…" of the uncompressed tar; "" where only the root is known
	// Open gives the uncompressed tar; who reads it has to compare the digest. Nil where the content is not at hand.
	Open func() (io.ReadCloser, error)
	Root string // root hash of its verity disk, where the source knows it already
}

// ImagesDirName is where a user's images are, below the data directory.
const ImagesDirName = "cloister/images"

// DefaultImagesDir is $XDG_DATA_HOME/cloister/images.
func DefaultImagesDir() (string, error) {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the specification tells to ignore relative ones
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no images directory: %w", err)
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, ImagesDirName), nil
}

// OpenImages checks that the directory is there.
func OpenImages(dir string) (*Images, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open images %q: not a directory", dir)
	}
	return &Images{dir: dir}, nil
}

// reference is an image reference taken apart.
type reference struct {
	repository string // as written, without tag and digest
	tag        string // "" when none was written
	digest     string
	full       string // with registry and tag filled in
}

func parseReference(ref string) (reference, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return reference{}, fmt.Errorf("image %q: %w", clip(ref), err)
	}
	r := reference{repository: ref, full: parsed.Name()}
	r.repository, r.digest, _ = strings.Cut(r.repository, "@")
	if colon := strings.LastIndexByte(r.repository, ':'); colon > strings.LastIndexByte(r.repository, '/') {
		r.repository, r.tag = r.repository[:colon], r.repository[colon+1:]
	}
	return r, nil
}

// Image is Find, as Source wants it.
func (s *Images) Image(_ context.Context, reference string) (*Image, error) { return s.Find(reference) }

// Find resolves a reference as a Pod writes it: by digest if it has one, else by the layout's ref.name annotations.
func (s *Images) Find(ref string) (*Image, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	// The reference's grammar has no empty, "." or ".." component, but this joins a path: hold on to it here.
	if !filepath.IsLocal(r.repository) {
		return nil, fmt.Errorf("image %q: not a local name", clip(ref))
	}
	for _, place := range []struct {
		dir string
		own bool // the layout is this repository's own, so a bare tag names the image
	}{{filepath.Join(s.dir, r.repository), true}, {s.dir, false}} {
		if _, err := os.Stat(filepath.Join(place.dir, "oci-layout")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		img, err := findInLayout(place.dir, r, place.own)
		if err != nil {
			return nil, fmt.Errorf("image %q in %q: %w", clip(ref), place.dir, err)
		}
		return img, nil
	}
	return nil, &NotFoundError{fmt.Sprintf("image %q: neither %q nor %q is an OCI layout", clip(ref), filepath.Join(s.dir, r.repository), s.dir)}
}

// NotFoundError says that no layout has an image.
type NotFoundError struct{ text string }

func (e *NotFoundError) Error() string { return e.text }

func findInLayout(dir string, r reference, own bool) (*Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	for _, d := range manifest.Manifests {
		if r.names(d, own, len(manifest.Manifests) == 1) {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, &NotFoundError{fmt.Sprintf("0 of its %d images have that name%s", len(manifest.Manifests), namesIn(manifest.Manifests))}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d of its %d images have that name", len(found), len(manifest.Manifests))
	}
	return loadImage(index, found[0])
}

// namesIn lists some of the names that a layout's images have: a mistyped reference shows beside them.
func namesIn(list []v1.Descriptor) string {
	const most = 5
	var names []string
	for _, d := range list {
		if n := d.Annotations[refNameAnnotation]; n != "" {
			names = append(names, fmt.Sprintf("%q", clip(n)))
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		return fmt.Sprintf("; it has %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "; it has " + strings.Join(names, ", ")
}

// names tells whether a descriptor of the layout's index is the image referred to.
func (r reference) names(d v1.Descriptor, own, only bool) bool {
	if r.digest != "" {
		return d.Digest.String() == r.digest
	}
	tag := r.tag
	if tag == "" {
		tag = "latest"
	}
	annotated, ok := d.Annotations[refNameAnnotation]
	if !ok {
		return own && only && r.tag == ""
	}
	return annotated == r.full || annotated == r.repository+":"+tag ||
		(own && annotated == tag) || (r.tag == "" && annotated == r.repository)
}

// loadImage follows an index to its linux/amd64 image. The blobs are read from a directory, so each is compared with the
// digest that names it: the library does not.
func loadImage(index v1.ImageIndex, d v1.Descriptor) (*Image, error) {
	if d.MediaType.IsIndex() {
		nested, err := index.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		raw, err := nested.RawManifest()
		if err != nil {
			return nil, err
		}
		if err := checkDigest("index", raw, d.Digest); err != nil {
			return nil, err
		}
		if d, err = platformManifest(raw); err != nil {
			return nil, err
		}
		index = nested
	}
	if !d.MediaType.IsImage() {
		return nil, fmt.Errorf("manifest %s is a %q, want an image", d.Digest, d.MediaType)
	}
	img, err := index.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	return newImage(img, d.Digest)
}

func platformManifest(raw []byte) (v1.Descriptor, error) {
	manifest, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range manifest.Manifests {
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" && d.MediaType.IsImage() {
			return d, nil
		}
	}
	return v1.Descriptor{}, errors.New("index has no linux/amd64 image")
}

func newImage(img v1.Image, digest v1.Hash) (*Image, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	if err := checkDigest("manifest", raw, digest); err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	rawConfig, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	if err := checkDigest("config", rawConfig, manifest.Config.Digest); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if config.OS != "linux" || config.Architecture != "amd64" {
		return nil, fmt.Errorf("image is for %s/%s, want linux/amd64", clip(config.OS), clip(config.Architecture))
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 || len(layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("image has %d layers and %d diff ids", len(layers), len(config.RootFS.DiffIDs))
	}
	out := &Image{Digest: digest.String(), Config: config.Config}
	for i, l := range layers {
		out.Layers = append(out.Layers, Layer{DiffID: config.RootFS.DiffIDs[i].String(), Open: l.Uncompressed})
	}
	return out, nil
}

func checkDigest(what string, raw []byte, want v1.Hash) error {
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s blob: got %s, want %s", what, got, want)
	}
	return nil
}
