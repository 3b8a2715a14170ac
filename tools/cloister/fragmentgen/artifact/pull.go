package artifact

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"

	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// MaxFragments bounds how many fragments of one image are looked at: a guest loads as many in its life.
const MaxFragments = 256

// errTooMany ends the reading of a list of referrers.
var errTooMany = fmt.Errorf("more than %d artifacts are attached", MaxFragments)

// Found is a fragment at a place. Nobody has looked at the document.
type Found struct {
	Digest  string `json:"digest"`            // of its manifest
	Subject string `json:"subject,omitempty"` // the image it is attached to
	Size    int64  `json:"bytes"`             // of the document
	Title   string `json:"title,omitempty"`   // the name that whoever pushed it gave it

	layer ocispec.Descriptor
	from  content.Fetcher
}

// List finds the fragment that the reference names, or those attached to the image that it names: to the image or index itself, and to
// the index's image for the platform. Problems are of artifacts that claim to be fragments and cannot be read; they are left out.
func (p *Place) List(ctx context.Context, platform string) (list []Found, problems []error, err error) {
	from, err := p.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	desc, err := p.resolve(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	m, err := readManifest(ctx, from, desc)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p, err)
	}
	if isFragment(m) {
		found, err := documents(from, desc, m)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p, err)
		}
		return found, nil, nil
	}
	subjects := []ocispec.Descriptor{desc}
	for _, child := range m.Manifests {
		if platformName(child.Platform) == platform {
			subjects = append(subjects, child)
		}
	}
	for _, subject := range subjects {
		found, wrong, err := p.attached(ctx, from, subject)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p, err)
		}
		list, problems = append(list, found...), append(problems, wrong...)
	}
	return list, problems, nil
}

// attached are the fragments that refer to an image.
func (p *Place) attached(ctx context.Context, from oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) (list []Found, problems []error, err error) {
	referrers, err := referrersOf(ctx, from, subject)
	if err != nil {
		return nil, nil, fmt.Errorf("list what is attached to %s: %w", subject.Digest, err)
	}
	for _, desc := range referrers {
		m, err := readManifest(ctx, from, desc)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		// The list is the registry's word, the manifest is what was pushed.
		if !isFragment(m) || m.Subject == nil || m.Subject.Digest != subject.Digest {
			continue
		}
		found, err := documents(from, desc, m)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		list = append(list, found...)
	}
	return list, problems, nil
}

// referrersOf lists the artifacts that may be of our type. The filter is not left to the registry: some tell the type of the (empty)
// configuration instead of the artifact's, and would filter all away.
func referrersOf(ctx context.Context, from oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) (list []ocispec.Descriptor, err error) {
	if lister, ok := from.(registry.ReferrerLister); ok {
		err = lister.Referrers(ctx, subject, "", func(page []ocispec.Descriptor) error {
			for _, desc := range page {
				if desc.ArtifactType != ArtifactType && desc.ArtifactType != ocispec.MediaTypeEmptyJSON && desc.ArtifactType != "" {
					continue
				}
				if list = append(list, desc); len(list) > MaxFragments {
					return errTooMany
				}
			}
			return nil
		})
		return list, err
	}
	nodes, err := from.Predecessors(ctx, ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size})
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		if node.MediaType == ocispec.MediaTypeImageManifest {
			list = append(list, node)
		}
	}
	if len(list) > MaxFragments {
		return nil, errTooMany
	}
	return list, nil
}

// isFragment says whether an artifact calls itself a fragment. Older tools have the type of an artifact as its configuration's.
func isFragment(m *manifest) bool {
	return m.ArtifactType == ArtifactType || m.ArtifactType == "" && m.Config.MediaType == ArtifactType
}

// documents are the layers that are fragments.
func documents(from content.Fetcher, desc ocispec.Descriptor, m *manifest) ([]Found, error) {
	var out []Found
	for _, l := range m.Layers {
		if l.MediaType != fragment.MediaTypeRego {
			continue
		}
		if err := l.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("artifact %s: its document's digest %.128q: %w", desc.Digest, l.Digest, err)
		}
		if l.Size > fragment.MaxSize {
			return nil, fmt.Errorf("artifact %s: its document has %d bytes, want at most %d", desc.Digest, l.Size, fragment.MaxSize)
		}
		f := Found{Digest: desc.Digest.String(), Size: l.Size, Title: l.Annotations[ocispec.AnnotationTitle], layer: l, from: from}
		if m.Subject != nil {
			f.Subject = m.Subject.Digest.String()
		}
		if out = append(out, f); len(out) > MaxFragments {
			return nil, errTooMany
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("artifact %s: no layer of type %s in it", desc.Digest, fragment.MediaTypeRego)
	}
	return out, nil
}

// Fetch reads the document of a fragment that List found here.
func (p *Place) Fetch(ctx context.Context, f Found) ([]byte, error) {
	if f.from == nil {
		return nil, errors.New("fetch a fragment: it was not found by List")
	}
	raw, err := fetch(ctx, f.from, f.layer, fragment.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return raw, nil
}
