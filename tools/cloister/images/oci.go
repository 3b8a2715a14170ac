package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerZstd is what BuildKit writes for zstd in Docker's manifests.
const dockerZstd types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"

// maxDepth bounds indexes in indexes; two occur.
const maxDepth = 4

// candidate is an image that a place has, its layers not read yet.
type candidate struct {
	place  string // for messages
	digest string // of the manifest; "" where the place has none
	index  string
	config imageConfig
	layers []layerBlob
	store  Store
}

// layerBlob is where a layer's bytes are.
type layerBlob struct {
	diffID string
	blob   v1.Descriptor // Digest is zero where nothing names the stored bytes
	from   blobs
}

func (c *candidate) diffIDs() []string {
	var ids []string
	for _, l := range c.layers {
		ids = append(ids, l.diffID)
	}
	return ids
}

// document is a manifest or an index. Both are decoded by one type, so that one that is both is seen (the ambiguity that
// lets two tools see two images in one digest).
type document struct {
	MediaType    types.MediaType `json:"mediaType"`
	Config       *v1.Descriptor  `json:"config"`
	Layers       []v1.Descriptor `json:"layers"`
	Manifests    []v1.Descriptor `json:"manifests"`
	FSLayers     json.RawMessage `json:"fsLayers"`
	ArtifactType string          `json:"artifactType"`
	Subject      *v1.Descriptor  `json:"subject"`
}

func (d *document) isIndex() bool { return d.Manifests != nil }

// parseDocument reads a manifest or an index whose descriptor has the media type, "" if it says none.
func parseDocument(raw []byte, media types.MediaType) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("not a manifest: %w", err)
	}
	if d.MediaType != "" && media != "" && d.MediaType != media {
		return nil, fmt.Errorf("media type: the manifest says %s, its descriptor %s", quote(string(d.MediaType)), quote(string(media)))
	}
	if d.MediaType != "" {
		media = d.MediaType
	}
	isImage := d.Config != nil || d.Layers != nil
	switch {
	case d.FSLayers != nil || media.IsSchema1():
		return nil, errors.New("manifest has schema version 1, which names no configuration (push the image again with a present-day tool)")
	case d.isIndex() && isImage:
		return nil, errors.New("document is a manifest and an index at once")
	case d.isIndex() && media != "" && !media.IsIndex(), isImage && media != "" && !media.IsImage():
		return nil, fmt.Errorf("media type: got %s, which the document's members contradict", quote(string(media)))
	case !d.isIndex() && !isImage:
		return nil, fmt.Errorf("manifest has neither layers nor manifests (media type %s)", quote(string(media)))
	}
	return &d, nil
}

// load follows a descriptor to the platform's image.
func load(ctx context.Context, from blobs, d v1.Descriptor, want platform) (*candidate, error) {
	c := &candidate{}
	for range maxDepth {
		raw, err := readBlob(ctx, from, "manifest", d, maxManifest)
		if err != nil {
			return nil, err
		}
		doc, err := parseDocument(raw, d.MediaType)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		if !doc.isIndex() {
			c.digest = d.Digest.String()
			if err := c.fill(ctx, from, doc, want); err != nil {
				return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
			}
			return c, nil
		}
		c.index = d.Digest.String()
		if d, err = want.choose(doc.Manifests); err != nil {
			return nil, fmt.Errorf("index %s: %w", c.index, err)
		}
	}
	return nil, fmt.Errorf("index %s: got more than %d indexes in each other", c.index, maxDepth-1)
}

// fill reads the configuration and pairs layers with diff ids.
func (c *candidate) fill(ctx context.Context, from blobs, doc *document, want platform) error {
	if doc.Config == nil {
		return errors.New("it names no configuration")
	}
	if !doc.Config.MediaType.IsConfig() {
		return fmt.Errorf("configuration has media type %s, so this is an artifact and no image", quote(string(doc.Config.MediaType)))
	}
	raw, err := readBlob(ctx, from, "configuration", *doc.Config, maxConfig)
	if err != nil {
		return err
	}
	if c.config, err = parseImageConfig(raw, want); err != nil {
		return err
	}
	ids := c.config.doc.RootFS.DiffIDs
	if len(doc.Layers) != len(ids) {
		return fmt.Errorf("layers: got %d in the manifest and %d diff ids in the configuration", len(doc.Layers), len(ids))
	}
	for i, l := range doc.Layers {
		if err := checkLayer(l); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		c.layers = append(c.layers, layerBlob{diffID: ids[i], blob: l, from: from})
	}
	return nil
}

func checkLayer(d v1.Descriptor) error {
	switch {
	case strings.HasSuffix(string(d.MediaType), "+encrypted"):
		return fmt.Errorf("media type %s: the layer is encrypted, so its root hash cannot be told", quote(string(d.MediaType)))
	case !d.MediaType.IsLayer() && d.MediaType != dockerZstd:
		return fmt.Errorf("media type %s is no file system", quote(string(d.MediaType)))
	case !d.MediaType.IsDistributable():
		return fmt.Errorf("media type %s: its bytes are not in the registry", quote(string(d.MediaType)))
	case d.Digest.Algorithm != "sha256":
		return fmt.Errorf("digest %s: want sha256", quote(d.Digest.String()))
	case d.Size < 0 || d.Size > maxLayerBlob:
		return fmt.Errorf("got a size of %d bytes, want at most %d", d.Size, int64(maxLayerBlob))
	}
	return nil
}

// prefixed serves the bytes of one descriptor from memory and the rest from a place: registries answer a tag with the manifest.
type prefixed struct {
	digest v1.Hash
	raw    memory
	rest   blobs
}

func (p prefixed) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest == p.digest {
		return p.raw.open(ctx, d)
	}
	return p.rest.open(ctx, d)
}
