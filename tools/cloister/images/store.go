package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxSideBlob bounds signatures, certificates and the like.
	maxSideBlob = 8 << 20
	// maxReferrers bounds how many manifests are read to find those with a subject.
	maxReferrers = 1000
	// kindAnnotation tells image and signatures apart in what "cosign save" writes.
	kindAnnotation = "kind"
	cosignKind     = "dev.cosignproject.cosign/"
)

// signs tells whether a descriptor is of signatures or attestations rather than of an image.
func signs(d v1.Descriptor) bool {
	kind := d.Annotations[kindAnnotation]
	return strings.HasPrefix(kind, cosignKind) && !strings.HasPrefix(kind, cosignKind+"image")
}

// indexStore is what lies beside an image in an OCI layout.
type indexStore struct {
	place string
	from  blobs
	list  []v1.Descriptor
}

// Manifest finds a manifest by digest or by tag.
func (s *indexStore) Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error) {
	d, err := s.descriptor(ctx, reference)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("%s: manifest %s: %w", s.place, quote(reference), err)
	}
	raw, err := readBlob(ctx, s.from, "manifest", d, maxManifest)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("%s: %w", s.place, err)
	}
	return d, raw, nil
}

func (s *indexStore) descriptor(ctx context.Context, reference string) (v1.Descriptor, error) {
	if digest, err := parseDigest(reference); err == nil {
		return pickDigest(ctx, s.list, s.from, digest)
	}
	for _, d := range s.list {
		for _, name := range []string{d.Annotations[refNameAnnotation], d.Annotations[imageNameAnnotation]} {
			if name == reference || strings.HasSuffix(name, ":"+reference) {
				return d, nil
			}
		}
	}
	// "cosign save" gives signatures no tag.
	for suffix, kind := range map[string]string{".sig": "sigs", ".att": "atts"} {
		if !strings.HasSuffix(reference, suffix) {
			continue
		}
		for _, d := range s.list {
			if d.Annotations[kindAnnotation] == cosignKind+kind {
				return d, nil
			}
		}
	}
	return v1.Descriptor{}, &missing{}
}

// Blob reads a blob that a manifest names.
func (s *indexStore) Blob(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := readBlob(ctx, s.from, "blob", d, maxSideBlob)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.place, err)
	}
	return raw, nil
}

// Referrers reads the manifests of the layout for their subject, and the index that stands in for the registry's interface.
func (s *indexStore) Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error) {
	if _, err := parseDigest(digest); err != nil {
		return nil, err
	}
	if len(s.list) > maxReferrers {
		return nil, fmt.Errorf("%s: referrers: got %d manifests, want at most %d", s.place, len(s.list), maxReferrers)
	}
	var out []v1.Descriptor
	for _, d := range s.list {
		raw, err := readBlob(ctx, s.from, "manifest", d, maxManifest)
		if errors.Is(err, ErrNotFound) {
			continue // a layout need not hold everything that its index names
		}
		if err != nil {
			return nil, fmt.Errorf("%s: referrers: %w", s.place, err)
		}
		var doc document
		if json.Unmarshal(raw, &doc) == nil && doc.Subject != nil && doc.Subject.Digest.String() == digest {
			out = append(out, withType(d, &doc))
		}
	}
	more, err := tagged(ctx, s, digest)
	return append(out, more...), err
}

// withType gives a descriptor what a registry's answer has: the kind of artifact.
func withType(d v1.Descriptor, doc *document) v1.Descriptor {
	if d.MediaType == "" {
		d.MediaType = doc.MediaType
	}
	if d.ArtifactType == "" {
		d.ArtifactType = doc.ArtifactType
	}
	if d.ArtifactType == "" && doc.Config != nil {
		d.ArtifactType = string(doc.Config.MediaType)
	}
	return d
}

// tagged reads the index under the tag "sha256-<hex>", where clients put referrers that a place does not list itself.
func tagged(ctx context.Context, s Store, digest string) ([]v1.Descriptor, error) {
	_, raw, err := s.Manifest(ctx, strings.Replace(digest, ":", "-", 1))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", digest, err)
	}
	return doc.Manifests, nil
}

// lockedStore answers for images of which only the lock file may be asked.
type lockedStore struct{}

func (lockedStore) Manifest(context.Context, string) (v1.Descriptor, []byte, error) {
	return v1.Descriptor{}, nil, ErrLocked
}

func (lockedStore) Blob(context.Context, v1.Descriptor) ([]byte, error) { return nil, ErrLocked }

func (lockedStore) Referrers(context.Context, string) ([]v1.Descriptor, error) { return nil, ErrLocked }
