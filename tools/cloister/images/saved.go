package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxSaved bounds the images of one archive.
const maxSaved = 10_000

// saved is one image of a manifest.json. Members that we do not use (Parent, LayerSources) may be there.
type saved struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// parseSaved reads a manifest.json.
func parseSaved(raw []byte) ([]saved, error) {
	var list []saved
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	if len(list) > maxSaved {
		return nil, fmt.Errorf("%s: got %d images, want at most %d", manifestFile, len(list), maxSaved)
	}
	for i, s := range list {
		if s.Config == "" || len(s.Layers) == 0 || len(s.Layers) > maxLayers {
			return nil, fmt.Errorf("%s: image %d: got configuration %s and %d layers, want a configuration and 1 to %d layers",
				manifestFile, i, quote(s.Config), len(s.Layers), maxLayers)
		}
	}
	return list, nil
}

// findSaved finds an image by manifest.json. It has no manifest, hence no digest.
func (a *archive) findSaved(ctx context.Context, ref reference, want platform) (*candidate, error) {
	raw, err := a.read(manifestFile, maxManifest)
	if err != nil {
		return nil, err
	}
	list, err := parseSaved(raw)
	if err != nil {
		return nil, err
	}
	if ref.hasDigest() {
		return nil, &missing{why: "docker save's older form has no digests, so none can be matched"}
	}
	var have []string
	var found []saved
	for _, s := range list {
		have = append(have, s.RepoTags...)
		if slices.ContainsFunc(s.RepoTags, ref.isNamed) {
			found = append(found, s)
		}
	}
	if len(found) == 0 && a.only != "" && len(list) == 1 {
		found = list
	}
	switch len(found) {
	case 0:
		return nil, &missing{have: have}
	case 1:
		return a.loadSaved(ctx, found[0], want)
	}
	return nil, fmt.Errorf("%s: %d images have that name", manifestFile, len(found))
}

// loadSaved reads the configuration and finds the layers' files.
func (a *archive) loadSaved(_ context.Context, s saved, want platform) (*candidate, error) {
	raw, err := a.read(s.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	if digest, named := digestOfName(s.Config); named {
		if err := checkBytes("configuration "+quote(s.Config), raw, digest); err != nil {
			return nil, err
		}
	}
	c := &candidate{place: a.String(), store: lockedStore{}}
	if c.config, err = parseImageConfig(raw, want); err != nil {
		return nil, err
	}
	ids := c.config.doc.RootFS.DiffIDs
	if len(s.Layers) != len(ids) {
		return nil, fmt.Errorf("layers: got %d files and %d diff ids in the configuration", len(s.Layers), len(ids))
	}
	for i, file := range s.Layers {
		at, err := a.at(file)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		digest, _ := digestOfName(file)
		c.layers = append(c.layers, layerBlob{diffID: ids[i], blob: v1.Descriptor{Digest: digest, Size: at.size}, from: fileBlob{a, at}})
	}
	return c, nil
}

// digestName is how a file tells the digest of its bytes: "<hex>.json", "sha256:<hex>" and "blobs/sha256/<hex>". The directories
// of the older layers ("<hex>/layer.tar") are names of another kind.
var digestName = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{64})(?:\.json)?$`)

func digestOfName(name string) (v1.Hash, bool) {
	m := digestName.FindStringSubmatch(path.Base(name))
	if m == nil {
		return v1.Hash{}, false
	}
	return v1.Hash{Algorithm: "sha256", Hex: m[1]}, true
}

// fileBlob is one file of an archive.
type fileBlob struct {
	a  *archive
	at section
}

func (f fileBlob) open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(f.a.reader(f.at)), nil
}

var errNoManifest = errors.New("it comes from an archive without manifests, which no signature names (save it as an OCI layout)")
