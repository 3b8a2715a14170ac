package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
)

// layoutDir is a directory: one OCI layout with several images, or a layout per image in a subdirectory of the image's
// repository, or both.
type layoutDir struct {
	name string
	// only, if set, is the one reference that this layout was named for: an image without a name is meant too.
	only string
}

func openLayoutDir(dir, only string) (*layoutDir, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open OCI layout: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("open OCI layout %q: not a directory", dir)
	}
	return &layoutDir{name: dir, only: only}, nil
}

func (l *layoutDir) String() string { return fmt.Sprintf("OCI layout %q", l.name) }

func (l *layoutDir) Close() error { return nil }

// find looks in the repository's own layout first. Two layouts that answer to one name with different images are an error.
func (l *layoutDir) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	var have []string
	var found *candidate
	dirs := []string{ref.written, ref.repository(), "."}
	for i, dir := range dirs {
		// The grammar of references has no "..", but this joins a path: hold on to it here.
		if !filepath.IsLocal(dir) || i > 0 && dir == dirs[i-1] {
			continue
		}
		c, err := l.findIn(ctx, dir, l.naming(dir), ref, want)
		var none *missing
		switch {
		case errors.As(err, &none):
			have = append(have, none.have...)
		case err != nil:
			return nil, err
		case found != nil && found.digest != c.digest:
			return nil, fmt.Errorf("two images have that name: %s in %s, %s in %s", found.digest, found.place, c.digest, c.place)
		default:
			found = c
		}
	}
	if found == nil {
		return nil, &missing{have: have}
	}
	return found, nil
}

func (l *layoutDir) naming(dir string) naming {
	switch {
	case dir != ".":
		return ownTags
	case l.only != "":
		return givenFor
	}
	return fullNames
}

func (l *layoutDir) findIn(ctx context.Context, dir string, how naming, ref reference, want platform) (*candidate, error) {
	dir = filepath.Join(l.name, dir)
	if _, err := os.Stat(filepath.Join(dir, layoutFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, &missing{}
	} else if err != nil {
		return nil, err
	}
	place := fmt.Sprintf("OCI layout %q", dir)
	raw, err := readIndex(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return findInIndex(ctx, place, raw, dirBlobs(dir), how, ref, want)
}

func readIndex(dir string) ([]byte, error) {
	f, err := openRegular(filepath.Join(dir, indexFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, indexFile, maxLayoutIndex)
}

// readBounded reads all of a stream that has at most limit bytes.
func readBounded(r io.Reader, what string, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s: got more than %d bytes", what, limit)
	}
	return raw, err
}

// findInIndex finds an image in a layout's index.json.
func findInIndex(ctx context.Context, place string, index []byte, from blobs, how naming, ref reference, want platform) (*candidate, error) {
	var doc document
	if err := json.Unmarshal(index, &doc); err != nil {
		return nil, fmt.Errorf("%s: index.json: %w", place, err)
	}
	d, err := pick(ctx, doc.Manifests, from, how, ref, want)
	if err != nil {
		if none := (*missing)(nil); errors.As(err, &none) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	c, err := load(ctx, from, d, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	c.place = place
	c.store = &indexStore{place: place, from: from, list: doc.Manifests}
	return c, nil
}

// naming says how far a layout's images are known by where the layout is.
type naming int

const (
	fullNames naming = iota // several repositories' images: only full names count
	ownTags                 // one repository's images: a bare tag names one, and an only image without a name is the latest
	givenFor                // given for one reference: an only image is meant, whatever its name
)

// pick finds the one descriptor that a reference names.
func pick(ctx context.Context, list []v1.Descriptor, from blobs, how naming, ref reference, want platform) (v1.Descriptor, error) {
	if ref.hasDigest() {
		return pickDigest(ctx, list, from, ref.digest)
	}
	var full, bare, images []v1.Descriptor
	var have []string
	for _, d := range list {
		if signs(d) {
			continue
		}
		images = append(images, d)
		if n := nameOf(d); n != "" {
			have = append(have, n)
		}
		switch {
		case ref.isNamed(d.Annotations[imageNameAnnotation]), ref.isNamed(d.Annotations[refNameAnnotation]):
			full = append(full, d)
		case d.Annotations[imageNameAnnotation] == "" && d.Annotations[refNameAnnotation] == ref.tag:
			bare = append(bare, d)
		}
	}
	found := full
	if len(found) == 0 && how != fullNames {
		found = bare
	}
	unnamed := len(images) == 1 && nameOf(images[0]) == "" && ref.tag == name.DefaultTag
	if len(found) == 0 && (how == givenFor && len(images) == 1 || how == ownTags && unnamed) {
		found = images
	}
	return oneOf(found, have, want)
}

// oneOf refuses a name that several images have.
func oneOf(found []v1.Descriptor, have []string, want platform) (v1.Descriptor, error) {
	if len(found) == 0 {
		return v1.Descriptor{}, &missing{have: have}
	}
	same := true
	for _, d := range found {
		same = same && d.Digest == found[0].Digest
	}
	if same {
		return found[0], nil
	}
	// A layout may name the images of several platforms alike, without an index of their own.
	var of []v1.Descriptor
	for _, d := range found {
		if d.Platform == nil || platformOf(d.Platform) == want {
			of = append(of, d)
		}
	}
	if len(of) != 1 {
		return v1.Descriptor{}, fmt.Errorf("%d images have that name, among them %s and %s (name one by its digest)", len(found), found[0].Digest, found[1].Digest)
	}
	return of[0], nil
}

// pickDigest finds a manifest by digest, also one that only an index names.
func pickDigest(ctx context.Context, list []v1.Descriptor, from blobs, digest v1.Hash) (v1.Descriptor, error) {
	for _, d := range list {
		if d.Digest == digest {
			return d, nil
		}
	}
	d, err := describe(ctx, from, digest)
	if errors.Is(err, ErrNotFound) {
		return v1.Descriptor{}, &missing{}
	}
	return d, err
}

// describe makes the descriptor of a manifest of which only the digest is known.
func describe(ctx context.Context, from blobs, digest v1.Hash) (v1.Descriptor, error) {
	rc, err := from.open(ctx, v1.Descriptor{Digest: digest, Size: -1})
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer rc.Close()
	raw, err := readBounded(rc, "manifest "+digest.String(), maxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{Digest: digest, Size: int64(len(raw))}, checkBytes("manifest", raw, digest)
}

// nameOf is the name by which a person knows an image of a layout.
func nameOf(d v1.Descriptor) string {
	if n := d.Annotations[imageNameAnnotation]; n != "" {
		return n
	}
	return d.Annotations[refNameAnnotation]
}

// dirBlobs are the blobs of a layout directory, or of containerd's content store. Links are followed: build systems share blobs
// with them, and a blob counts by its digest only.
type dirBlobs string

func (b dirBlobs) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if _, err := parseDigest(d.Digest.String()); err != nil {
		return nil, err
	}
	f, err := openRegular(filepath.Join(string(b), "blobs", d.Digest.Algorithm, d.Digest.Hex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob is %w in %q", ErrNotFound, string(b))
	}
	return f, err
}

// openRegular opens a file that must not be a pipe or a device, on which a reader would wait for ever.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q: got %s, want a regular file", path, info.Mode().Type())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
