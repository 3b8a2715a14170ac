package signature

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// Media types and annotations: cosign's signature and bundle specifications, the Notary Project's signature specification.
const (
	simpleSigning     = "application/vnd.dev.cosign.simplesigning.v1+json"
	cosignArtifact    = "application/vnd.dev.cosign.artifact.sig.v1+json"
	bundlePrefix      = "application/vnd.dev.sigstore.bundle"
	emptyConfig       = "application/vnd.oci.empty.v1+json"
	notationArtifact  = "application/vnd.cncf.notary.signature"
	envelopeJWS       = "application/jose+json"
	envelopeCOSE      = "application/cose"
	annotationPrefix  = "dev.sigstore.cosign/"
	signatureKey      = "dev.cosignproject.cosign/signature"
	certificateKey    = annotationPrefix + "certificate"
	chainKey          = annotationPrefix + "chain"
	logEntryKey       = annotationPrefix + "bundle"
	timestampKey      = annotationPrefix + "rfc3161timestamp"
	predicateTypeNote = "dev.sigstore.bundle.predicateType"
)

// candidate is something that may be a signature of the image. One of its last three members is set.
type candidate struct {
	where    string // for messages: the tag or digest that it was found by, or a file
	simple   *simpleSignature
	bundle   []byte // a Sigstore bundle, JSON
	envelope *envelope
}

func (c candidate) String() string {
	switch {
	case c.envelope != nil:
		return "notation signature in " + c.where
	case c.bundle != nil:
		return "Sigstore bundle in " + c.where
	default:
		return "cosign signature in " + c.where
	}
}

// raw are the bytes that were read for it.
func (c candidate) raw() []byte {
	switch {
	case c.envelope != nil:
		return c.envelope.raw
	case c.simple != nil:
		return c.simple.payload
	}
	return c.bundle
}

// envelope is a signature of the Notary Project as it is stored.
type envelope struct {
	mediaType string
	raw       []byte
}

// blobs reads what a manifest names. Bytes have the digest that they were asked by.
type blobs interface {
	Blob(ctx context.Context, d v1.Descriptor) ([]byte, error)
}

// gathered are the candidates of an image and what was seen beside them, for the refusal.
type gathered struct {
	candidates []candidate
	notes      []string
	bytes      int64 // read so far
}

// errTooMany ends the search: whoever stores that many signatures hides one, or wants the time or the memory.
var errTooMany = fmt.Errorf("got more than %d signatures or %d MiB of them", maxSignatures, maxTotal>>20)

func (g *gathered) count(raw []byte) error {
	if g.bytes += int64(len(raw)); g.bytes > maxTotal {
		return errTooMany
	}
	return nil
}

func (g *gathered) add(c candidate) error {
	if len(g.candidates) == maxSignatures {
		return errTooMany
	}
	g.candidates = append(g.candidates, c)
	return nil
}

func (g *gathered) note(format string, args ...any) {
	if len(g.notes) < maxSignatures {
		g.notes = append(g.notes, oneLine(fmt.Errorf(format, args...)))
	}
}

// gather asks a store for all that may sign a manifest: the tag that cosign makes of its digest, and the manifests that refer to
// it. What is broken becomes a note: somebody who may write beside an image must not be able to break its other signatures.
func (g *gathered) gather(ctx context.Context, store images.Store, digest string, want wanted) error {
	tag := strings.Replace(digest, ":", "-", 1) + ".sig"
	_, raw, err := store.Manifest(ctx, tag)
	switch {
	case errors.Is(err, images.ErrNotFound):
	case err != nil:
		return fmt.Errorf("look for tag %s: %w", tag, err)
	default:
		if err := g.manifest(ctx, "tag "+tag, raw, store); err != nil {
			return err
		}
	}
	list, err := store.Referrers(ctx, digest)
	if errors.Is(err, images.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for what refers to %s: %w", digest, err)
	}
	if len(list) > maxReferrers {
		return fmt.Errorf("what refers to %s: got %d manifests, want at most %d", digest, len(list), maxReferrers)
	}
	for _, d := range list {
		if err := g.referrer(ctx, d, store, want); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the predicate types that some requirement asks for: attestations can be large, and those that nobody asks for are
// not read. The annotation is a stranger's word, but all it can do is to hide a signature.
type wanted map[string]bool

func (g *gathered) referrer(ctx context.Context, d v1.Descriptor, store images.Store, want wanted) error {
	where := "referrer " + d.Digest.String()
	switch t := d.ArtifactType; {
	case t == "", t == emptyConfig, t == notationArtifact, t == cosignArtifact:
		// A registry that does not tell kinds of artifacts answers nothing, or the media type of their configuration.
	case strings.HasPrefix(t, bundlePrefix):
		if p := d.Annotations[predicateTypeNote]; p != "" && !want[p] {
			g.note("%s: is an attestation of type %s, which nobody asked for", where, quote(p))
			return nil
		}
	default:
		return nil // an SBOM, a Helm chart: not a signature
	}
	_, raw, err := store.Manifest(ctx, d.Digest.String())
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.note("%s: %v", where, err)
		return nil
	}
	return g.manifest(ctx, where, raw, store)
}

// manifest takes the signatures out of an artifact's manifest.
func (g *gathered) manifest(ctx context.Context, where string, raw []byte, from blobs) error {
	if err := g.count(raw); err != nil {
		return err
	}
	if len(raw) > maxManifest {
		g.note("%s: got a manifest of %d bytes, want at most %d", where, len(raw), maxManifest)
		return nil
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		g.note("%s: not a manifest: %v", where, err)
		return nil
	}
	for i, layer := range m.Layers {
		c, err := fromLayer(ctx, fmt.Sprintf("%s, layer %d", where, i), layer, from)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c != nil {
			if err := g.count(c.raw()); err != nil {
				return err
			}
		}
		if err != nil {
			g.note("%s, layer %d: %v", where, i, err)
			continue
		}
		if c == nil {
			continue
		}
		if err := g.add(*c); err != nil {
			return err
		}
	}
	return nil
}

// fromLayer reads one signature; nil is a layer that is none.
func fromLayer(ctx context.Context, where string, d v1.Descriptor, from blobs) (*candidate, error) {
	media := string(d.MediaType)
	read := func(limit int64) ([]byte, error) {
		if d.Size < 0 || d.Size > limit {
			return nil, fmt.Errorf("blob: got %d bytes, want at most %d", d.Size, limit)
		}
		raw, err := from.Blob(ctx, d)
		if err == nil && int64(len(raw)) > limit {
			return nil, fmt.Errorf("blob: got %d bytes, want at most %d", len(raw), limit)
		}
		return raw, err
	}
	switch {
	case media == simpleSigning:
		raw, err := read(maxPayload)
		if err != nil {
			return nil, err
		}
		s, err := parseSimple(raw, d.Annotations)
		if err != nil {
			return nil, err
		}
		return &candidate{where: where, simple: s}, nil
	case strings.HasPrefix(media, bundlePrefix):
		raw, err := read(maxBundle)
		return &candidate{where: where, bundle: raw}, err
	case media == envelopeJWS, media == envelopeCOSE:
		raw, err := read(maxEnvelope)
		return &candidate{where: where, envelope: &envelope{media, raw}}, err
	}
	return nil, nil
}
