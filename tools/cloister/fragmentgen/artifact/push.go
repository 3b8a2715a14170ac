package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"

	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// ArtifactType is how the peers' tools find fragments (services contract, section 2.7).
const ArtifactType = "application/x-ms-ccepolicy-frag"

// Pushed is where a fragment went.
type Pushed struct {
	Digest string `json:"digest"` // of the manifest
	Layer  string `json:"layer"`  // of the document
	// Subject is the image's manifest, of a fragment that is attached.
	Subject string `json:"subject,omitempty"`
	// Reference by which the fragment can be pulled.
	Reference string `json:"reference"`
}

// Push puts a document where the reference says, under its tag. A layout that does not exist is made.
func (p *Place) Push(ctx context.Context, document []byte, title string) (*Pushed, error) {
	if strings.HasPrefix(p.ref, "sha256:") {
		return nil, fmt.Errorf("%s: a digest cannot be pushed to, want a tag", p)
	}
	to, err := p.writer(ctx, true)
	if err != nil {
		return nil, err
	}
	return p.put(ctx, to, document, title, nil, p.ref)
}

// Attach puts a document beside the image that the reference names, as one that refers to it. A platform, os/architecture[/variant], chooses an
// image of an index; without one the index itself is referred to.
func (p *Place) Attach(ctx context.Context, document []byte, title, platform string) (*Pushed, error) {
	to, err := p.writer(ctx, false)
	if err != nil {
		return nil, err
	}
	subject, err := p.resolve(ctx, to)
	if err != nil {
		return nil, err
	}
	if platform != "" {
		if subject, err = p.child(ctx, to, subject, platform); err != nil {
			return nil, err
		}
	}
	if m, err := readManifest(ctx, to, subject); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	} else if isFragment(m) {
		return nil, fmt.Errorf("%s: it is a fragment, want the image to attach one to", p)
	}
	// The plain descriptor: what else this place says of the image is not part of the reference.
	plain := ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	return p.put(ctx, to, document, title, &plain, "")
}

// child is the image of an index for a platform.
func (p *Place) child(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor, platform string) (ocispec.Descriptor, error) {
	m, err := readManifest(ctx, from, desc)
	if err != nil {
		return desc, fmt.Errorf("%s: %w", p, err)
	}
	if len(m.Manifests) == 0 {
		return desc, nil // one image; it is for the platform it is for
	}
	var have []string
	for _, d := range m.Manifests {
		name := platformName(d.Platform)
		if name == platform {
			return d, nil
		}
		have = append(have, name)
	}
	return desc, fmt.Errorf("%s: no image for %.64q in the index: it has %.512s", p, platform, strings.Join(have, ", "))
}

func platformName(p *ocispec.Platform) string {
	if p == nil {
		return "unknown"
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

func (p *Place) put(ctx context.Context, to oras.GraphTarget, document []byte, title string, subject *ocispec.Descriptor, tag string) (*Pushed, error) {
	if len(document) > fragment.MaxSize {
		return nil, fmt.Errorf("fragment: got %d bytes, want at most %d", len(document), fragment.MaxSize)
	}
	layer := content.NewDescriptorFromBytes(fragment.MediaTypeRego, document)
	if title != "" {
		layer.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: subject,
	})
	if err != nil {
		return nil, err
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	desc.ArtifactType = ArtifactType
	for _, blob := range []struct {
		desc ocispec.Descriptor
		data []byte
	}{{ocispec.DescriptorEmptyJSON, ocispec.DescriptorEmptyJSON.Data}, {layer, document}} {
		if err := pushOnce(ctx, to, blob.desc, blob.data); err != nil {
			return nil, fmt.Errorf("%s: push %s: %w", p, blob.desc.Digest, err)
		}
	}
	if err := p.pushManifest(ctx, to, desc, raw, tag); err != nil {
		return nil, fmt.Errorf("%s: push the manifest: %w", p, err)
	}
	out := &Pushed{Digest: desc.Digest.String(), Layer: layer.Digest.String(), Reference: p.name() + "@" + desc.Digest.String()}
	if subject != nil {
		out.Subject = subject.Digest.String()
	}
	return out, nil
}

// name is the place without tag and digest.
func (p *Place) name() string {
	if p.dir != "" {
		return LayoutPrefix + p.dir
	}
	return p.Repository()
}

func (p *Place) pushManifest(ctx context.Context, to oras.GraphTarget, desc ocispec.Descriptor, raw []byte, tag string) error {
	if pusher, ok := to.(registry.ReferencePusher); ok && tag != "" {
		return pusher.PushReference(ctx, desc, bytes.NewReader(raw), tag)
	}
	if err := pushOnce(ctx, to, desc, raw); err != nil {
		return err
	}
	if tag == "" {
		return nil
	}
	return to.Tag(ctx, desc, tag)
}

// pushOnce pushes what is not there yet.
func pushOnce(ctx context.Context, to content.Storage, desc ocispec.Descriptor, data []byte) error {
	// The manifest of a fragment that is attached is pushed even if it is there: that a registry lists it follows from the push.
	if desc.ArtifactType == "" {
		if there, err := to.Exists(ctx, desc); err == nil && there {
			return nil
		}
	}
	err := to.Push(ctx, desc, bytes.NewReader(data))
	if errors.Is(err, errdef.ErrAlreadyExists) {
		return nil
	}
	return err
}
