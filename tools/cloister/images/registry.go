package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// registries are all registries, each behind its mirrors.
type registries struct {
	guard   *guard
	puller  *remote.Puller
	mirrors map[string][]string
	plain   []string
}

func openRegistry(opts Options) (*registries, error) {
	g, err := newGuard(opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	p, err := remote.NewPuller(remote.WithTransport(g), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("cloister"))
	if err != nil {
		return nil, fmt.Errorf("registry client: %w", err)
	}
	mirrors := map[string][]string{}
	for _, host := range slices.Sorted(maps.Keys(opts.Mirrors)) {
		list := opts.Mirrors[host]
		if host == name.DefaultRegistry {
			host = dockerHub
		}
		mirrors[host] = append(mirrors[host], list...)
		for _, m := range list {
			if _, err := name.NewRepository(strings.TrimSuffix(m, "/") + "/x"); err != nil || m == "" {
				return nil, fmt.Errorf("mirror of %s: got %s, want HOST or HOST/PREFIX", quote(host), quote(m))
			}
		}
	}
	return &registries{guard: g, puller: p, mirrors: mirrors, plain: opts.PlainHTTP}, nil
}

func (r *registries) String() string { return "registry" }

func (r *registries) Close() error {
	r.guard.http.CloseIdleConnections()
	return nil
}

// find asks the mirrors in order, then the registry itself. A mirror that fails in any way is passed over; what it answers is
// checked like the registry's own answer.
func (r *registries) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	host, rest, _ := strings.Cut(ref.repository(), "/")
	var passed []error
	for _, m := range r.mirrors[host] {
		c, err := r.findAt(ctx, strings.TrimSuffix(m, "/")+"/"+rest, ref, want)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		passed = append(passed, err)
	}
	c, err := r.findAt(ctx, host+"/"+rest, ref, want)
	if err == nil || len(passed) == 0 {
		return c, err
	}
	// Only the registry's own word says that there is no such image.
	mirrors := strings.ReplaceAll(errors.Join(passed...).Error(), "\n", "; ")
	var none *missing
	if errors.As(err, &none) {
		return nil, &missing{why: none.Error() + "; before it: " + mirrors}
	}
	return nil, fmt.Errorf("%w; before it: %s", err, mirrors)
}

func (r *registries) findAt(ctx context.Context, repository string, ref reference, want platform) (*candidate, error) {
	repo, err := r.parse(repository)
	if err != nil {
		return nil, err
	}
	place := fmt.Sprintf("registry %s", repo.RegistryStr())
	var at name.Reference = repo.Tag(ref.tag)
	if ref.hasDigest() {
		at = repo.Digest(ref.digest.String())
	}
	got, err := r.puller.Get(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, explainRegistry(err, at))
	}
	d := got.Descriptor
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() && !d.MediaType.IsSchema1() {
		d.MediaType = "" // some registries send a content type of their own; the document says what it is
	}
	from := &registryBlobs{puller: r.puller, repo: repo}
	c, err := load(ctx, prefixed{digest: d.Digest, raw: got.Manifest, rest: from}, d, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	c.place = place
	c.store = &registryStore{place: place, from: from}
	return c, nil
}

func (r *registries) parse(repository string) (name.Repository, error) {
	host, _, _ := strings.Cut(repository, "/")
	var opts []name.Option
	if slices.Contains(r.plain, host) {
		opts = append(opts, name.Insecure)
	}
	return name.NewRepository(repository, opts...)
}

// explainRegistry says what a person can do about a registry's refusal.
func explainRegistry(err error, at name.Reference) error {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", at.Name(), err)
	}
	switch refused.StatusCode {
	case http.StatusNotFound:
		return &missing{why: fmt.Sprintf("%s is not there", at.Name())}
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: it is not there, or wants a login: %w (log in with docker login %s; its credential helpers are used)",
			at.Name(), err, at.Context().RegistryStr())
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s: %w (the registry limits how often it is asked: log in, or use a mirror)", at.Name(), err)
	}
	return fmt.Errorf("%s: %w", at.Name(), err)
}

// registryBlobs are the manifests and blobs of one repository.
type registryBlobs struct {
	puller *remote.Puller
	repo   name.Repository
}

func (b *registryBlobs) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	at := b.repo.Digest(d.Digest.String())
	if d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType.IsSchema1() {
		got, err := b.puller.Get(ctx, at)
		if err != nil {
			return nil, notThere(err)
		}
		return memory(got.Manifest).open(ctx, d)
	}
	l, err := b.puller.Layer(ctx, at)
	if err != nil {
		return nil, notThere(err)
	}
	rc, err := l.Compressed()
	return rc, notThere(err)
}

// notThere makes a registry's 404 ErrNotFound.
func notThere(err error) error {
	var refused *transport.Error
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// remoteBlob tells whether a blob comes over a network, where a transfer may break.
func remoteBlob(b blobs) bool {
	switch t := b.(type) {
	case prefixed:
		return remoteBlob(t.rest)
	case *registryBlobs:
		return true
	}
	return false
}

// registryStore is what lies beside an image in its repository.
type registryStore struct {
	place string
	from  *registryBlobs
}

// Manifest reads a manifest by digest or by tag.
func (s *registryStore) Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error) {
	var at name.Reference = s.from.repo.Tag(reference)
	if _, err := parseDigest(reference); err == nil {
		at = s.from.repo.Digest(reference)
	}
	got, err := s.from.puller.Get(ctx, at)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("%s: %s: %w", s.place, at.Name(), notThere(err))
	}
	return got.Descriptor, got.Manifest, nil
}

// Blob reads a blob that a manifest names.
func (s *registryStore) Blob(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := readBlob(ctx, s.from, "blob", d, maxSideBlob)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.place, err)
	}
	return raw, nil
}

// Referrers asks the registry, or the tag that stands in for the answer of older ones.
func (s *registryStore) Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error) {
	if _, err := parseDigest(digest); err != nil {
		return nil, err
	}
	index, err := remote.Referrers(s.from.repo.Digest(digest), remote.WithContext(ctx), remote.Reuse(s.from.puller))
	if err != nil {
		return nil, fmt.Errorf("%s: referrers of %s: %w", s.place, digest, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s: referrers of %s: %w", s.place, digest, err)
	}
	return list.Manifests, nil
}
