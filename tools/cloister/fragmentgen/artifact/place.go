package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// LayoutPrefix begins the name of an OCI layout: oci:DIR[:TAG] or oci:DIR@DIGEST.
const LayoutPrefix = "oci:"

const (
	// maxManifest bounds a manifest, an index and one page of a list of referrers.
	maxManifest = 4 << 20
	// maxPages bounds how often a registry may say that there is more.
	maxPages = 64
)

// Options say how a place is spoken to.
type Options struct {
	// PlainHTTP speaks to the registry without TLS. The loopback is spoken to so by itself.
	PlainHTTP bool
	// Client replaces the transport; nil is one that retries what may be retried.
	Client *http.Client
}

// Place is a reference: a repository or a layout, and what in it is meant.
type Place struct {
	text string
	// ref is a tag or digest; empty in a layout where none was given.
	ref string
	// dir is the layout's directory, empty for a registry.
	dir  string
	repo *remote.Repository
}

// String is the reference as it was given.
func (p *Place) String() string { return p.text }

// Repository is the name without tag and digest, empty for a layout.
func (p *Place) Repository() string {
	if p.repo == nil {
		return ""
	}
	return p.repo.Reference.Registry + "/" + p.repo.Reference.Repository
}

// Open understands a reference. Nothing is touched yet.
func Open(text string, o Options) (*Place, error) {
	if rest, ok := strings.CutPrefix(text, LayoutPrefix); ok {
		return layout(text, rest)
	}
	parsed, err := name.ParseReference(text)
	if err != nil {
		return nil, fmt.Errorf("reference %.256q: %w (an OCI layout is written %sDIR[:TAG])", text, err, LayoutPrefix)
	}
	host := parsed.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	repo, err := remote.NewRepository(host + "/" + parsed.Context().RepositoryStr())
	if err != nil {
		return nil, fmt.Errorf("reference %.256q: %w", text, err)
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the credentials of Docker's configuration: %w", err)
	}
	client := o.Client
	if client == nil {
		client = retry.NewClient()
	}
	repo.Client = &auth.Client{Client: client, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	repo.PlainHTTP = o.PlainHTTP || loopback(host)
	repo.MaxMetadataBytes, repo.ReferrerListMaxPages = maxManifest, maxPages
	// Registries that have no referrers API often refuse deletions too.
	repo.SkipReferrersGC = true
	return &Place{text: text, ref: parsed.Identifier(), repo: repo}, nil
}

func layout(text, rest string) (*Place, error) {
	dir, ref := rest, ""
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		dir, ref = rest[:at], rest[at+1:]
	} else if at := strings.LastIndex(rest, ":"); at > strings.LastIndex(rest, "/") {
		dir, ref = rest[:at], rest[at+1:]
	}
	if dir == "" || ref == "" && dir != rest {
		return nil, fmt.Errorf("reference %.256q: want %sDIR, %[2]sDIR:TAG or %[2]sDIR@DIGEST", text, LayoutPrefix)
	}
	return &Place{text: text, ref: ref, dir: filepath.Clean(dir)}, nil
}

// loopback says whether a host with an optional port is this machine by its name alone.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// reader opens the place to be read.
func (p *Place) reader(ctx context.Context) (oras.ReadOnlyGraphTarget, error) {
	if p.repo != nil {
		return p.repo, nil
	}
	if _, err := p.index(); err != nil {
		return nil, err
	}
	store, err := oci.NewFromFS(ctx, os.DirFS(p.dir))
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", p.dir, err)
	}
	return store, nil
}

// writer opens the place to be written. A layout that does not exist is made if create is set.
func (p *Place) writer(ctx context.Context, create bool) (oras.GraphTarget, error) {
	if p.repo != nil {
		return p.repo, nil
	}
	if _, err := p.index(); err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	store, err := oci.NewWithContext(ctx, p.dir)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", p.dir, err)
	}
	return store, nil
}

// index reads a layout's index.
func (p *Place) index() (*ocispec.Index, error) {
	f, err := os.Open(filepath.Join(p.dir, ocispec.ImageIndexFile))
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", p.dir, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", p.dir, err)
	}
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("OCI layout %q: index.json has more than %d bytes", p.dir, maxManifest)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("OCI layout %q: index.json: %w", p.dir, err)
	}
	return &index, nil
}

// resolve finds what the reference names.
func (p *Place) resolve(ctx context.Context, from oras.ReadOnlyGraphTarget) (ocispec.Descriptor, error) {
	if p.ref != "" {
		desc, err := from.Resolve(ctx, p.ref)
		if errors.Is(err, errdef.ErrNotFound) {
			return desc, fmt.Errorf("%s: it is not there: %w", p, err)
		}
		if err != nil {
			return desc, fmt.Errorf("%s: %w", p, err)
		}
		return p.typed(ctx, from, desc)
	}
	index, err := p.index()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var found []ocispec.Descriptor
	for _, desc := range index.Manifests {
		m, err := readManifest(ctx, from, desc)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("%s: %w", p, err)
		}
		if m.Subject == nil {
			found = append(found, desc)
		}
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("%s: the layout has %d images and artifacts, want one named (%sDIR:TAG or %[3]sDIR@DIGEST)", p, len(found), LayoutPrefix)
	}
	return found[0], nil
}

// typed finds the media type of a blob that a layout knows by its digest only.
func (p *Place) typed(ctx context.Context, from oras.ReadOnlyGraphTarget, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	if p.dir == "" || desc.MediaType != "application/octet-stream" {
		return desc, nil
	}
	m, err := readManifest(ctx, from, desc)
	if err != nil {
		return desc, fmt.Errorf("%s: %w", p, err)
	}
	desc.MediaType = m.MediaType
	return desc, nil
}

// manifest is of an image, an artifact or an index: what of them matters here.
type manifest struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       ocispec.Descriptor   `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
}

func readManifest(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor) (*manifest, error) {
	raw, err := fetch(ctx, from, desc, maxManifest)
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return &m, nil
}

// fetch reads content of at most so many bytes and compares size and digest.
func fetch(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor, most int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > most {
		return nil, fmt.Errorf("%.256s: got a size of %d bytes, want at most %d", desc.Digest, desc.Size, most)
	}
	raw, err := content.FetchAll(ctx, from, desc)
	if err != nil {
		return nil, fmt.Errorf("%.256s: %w", desc.Digest, err)
	}
	return raw, nil
}
