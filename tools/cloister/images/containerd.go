package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// maxChunk bounds one message of containerd; it sends blobs in far smaller ones.
const maxChunk = 16 << 20

// openContainerd opens containerd's socket, or a directory of its content store, which knows blobs but no names.
func openContainerd(_ context.Context, address, namespace string) (place, error) {
	path := strings.TrimPrefix(address, "unix://")
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open containerd: %w", err)
	}
	if info.IsDir() {
		for _, dir := range []string{path, filepath.Join(path, "io.containerd.content.v1.content")} {
			if _, err := os.Stat(filepath.Join(dir, "blobs")); err == nil {
				return contentDir(dir), nil
			}
		}
		return nil, fmt.Errorf("open containerd %q: got a directory without blobs, want a content store or containerd's socket", path)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), // a local socket
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxChunk)))
	if err != nil {
		return nil, fmt.Errorf("open containerd %q: %w", path, err)
	}
	if namespace == "" {
		namespace = os.Getenv("CONTAINERD_NAMESPACE")
	}
	spaces := []string{"k8s.io", "default"}
	if namespace != "" {
		spaces = []string{namespace}
	}
	return &containerd{conn: conn, path: path, namespaces: spaces}, nil
}

// containerd is asked over its socket. It is another program's store: everything it says is checked like a registry's word.
type containerd struct {
	conn       *grpc.ClientConn
	path       string
	namespaces []string
}

func (c *containerd) String() string {
	return fmt.Sprintf("containerd %q (namespace %s)", c.path, strings.Join(c.namespaces, " and "))
}

func (c *containerd) Close() error { return c.conn.Close() }

// find looks in each namespace; two that have different images of one name are an error.
func (c *containerd) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	var found *candidate
	why := &missing{}
	for _, ns := range c.namespaces {
		next, err := c.findIn(ctx, ns, ref, want)
		var none *missing
		switch {
		case errors.As(err, &none):
			if none.why != "" {
				why = none
			}
		case err != nil:
			return nil, fmt.Errorf("containerd %q: namespace %s: %w", c.path, ns, err)
		case found != nil && !sameContent(found, next):
			return nil, fmt.Errorf("%s has %s, %s has %s (choose one with --containerd-namespace)", found.place, found.name(), next.place, next.name())
		default:
			found = next
		}
	}
	if found == nil {
		return nil, why
	}
	return found, nil
}

func (c *containerd) findIn(ctx context.Context, ns string, ref reference, want platform) (*candidate, error) {
	from := &containerdBlobs{conn: c.conn, namespace: ns}
	d, err := from.descriptor(ctx, ref)
	if err != nil {
		return nil, err
	}
	img, err := load(ctx, from, d, want)
	if errors.Is(err, ErrNotFound) { // it keeps what its own platform needs
		return nil, &missing{why: fmt.Sprintf("it has %s, but not all of it: %v", ref.canonical(), err)}
	}
	if err != nil {
		return nil, err
	}
	for _, l := range img.layers {
		if err := from.has(ctx, l.blob); errors.Is(err, ErrNotFound) {
			return nil, &missing{why: fmt.Sprintf("it has %s, but did not keep its layers (discard_unpacked_layers in its configuration)", ref.canonical())}
		} else if err != nil {
			return nil, err
		}
	}
	img.place = fmt.Sprintf("containerd %q, namespace %s", c.path, ns)
	img.store = &containerdStore{place: img.place, from: from, repository: ref.repository()}
	return img, nil
}

// containerdBlobs is the content that one namespace sees.
type containerdBlobs struct {
	conn      *grpc.ClientConn
	namespace string
}

func (b *containerdBlobs) context(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", b.namespace)
}

// descriptor finds what a reference means. A digest need not belong to a named image.
func (b *containerdBlobs) descriptor(ctx context.Context, ref reference) (v1.Descriptor, error) {
	if ref.hasDigest() {
		d, err := describe(ctx, b, ref.digest)
		if errors.Is(err, ErrNotFound) {
			return v1.Descriptor{}, &missing{}
		}
		return d, err
	}
	return b.named(ctx, ref.canonical())
}

func (b *containerdBlobs) named(ctx context.Context, name string) (v1.Descriptor, error) {
	resp, err := imagesapi.NewImagesClient(b.conn).Get(b.context(ctx), &imagesapi.GetImageRequest{Name: name})
	if err != nil {
		if err := fromStatus(err); errors.Is(err, ErrNotFound) {
			return v1.Descriptor{}, &missing{}
		}
		return v1.Descriptor{}, fromStatus(err)
	}
	target := resp.GetImage().GetTarget()
	digest, err := parseDigest(target.GetDigest())
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("image %s: %w", quote(name), err)
	}
	return v1.Descriptor{MediaType: types.MediaType(target.GetMediaType()), Digest: digest, Size: target.GetSize()}, nil
}

func (b *containerdBlobs) has(ctx context.Context, d v1.Descriptor) error {
	_, err := contentapi.NewContentClient(b.conn).Info(b.context(ctx), &contentapi.InfoRequest{Digest: d.Digest.String()})
	return fromStatus(err)
}

func (b *containerdBlobs) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(b.context(ctx))
	stream, err := contentapi.NewContentClient(b.conn).Read(ctx, &contentapi.ReadContentRequest{Digest: d.Digest.String()})
	if err != nil {
		cancel()
		return nil, fromStatus(err)
	}
	r := &contentReader{stream: stream, cancel: cancel}
	// The first message tells whether there is such a blob.
	if err := r.next(); err != nil && err != io.EOF {
		cancel()
		return nil, err
	}
	return r, nil
}

// contentReader is a blob in messages.
type contentReader struct {
	stream contentapi.Content_ReadClient
	cancel context.CancelFunc
	rest   []byte
	err    error
}

func (r *contentReader) next() error {
	m, err := r.stream.Recv()
	if err != nil && err != io.EOF {
		err = fromStatus(err)
	}
	r.rest, r.err = m.GetData(), err
	return err
}

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *contentReader) Close() error {
	r.cancel()
	return nil
}

// fromStatus puts containerd's answer in our words.
func fromStatus(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.NotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, status.Convert(err).Message())
	case codes.Unavailable:
		return fmt.Errorf("cannot be reached: %s (is it running, and may this user open its socket?)", status.Convert(err).Message())
	}
	return err
}

// containerdStore is what lies beside an image: containerd has signatures only if somebody pulled them by their tag.
type containerdStore struct {
	place, repository string
	from              *containerdBlobs
}

// Manifest reads a manifest by digest or by tag.
func (s *containerdStore) Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error) {
	var d v1.Descriptor
	var err error
	if digest, bad := parseDigest(reference); bad == nil {
		d, err = describe(ctx, s.from, digest)
	} else {
		d, err = s.from.named(ctx, s.repository+":"+reference)
	}
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("%s: manifest %s: %w", s.place, quote(reference), err)
	}
	raw, err := readBlob(ctx, s.from, "manifest", d, maxManifest)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("%s: %w", s.place, err)
	}
	return d, raw, nil
}

// Blob reads a blob that a manifest names.
func (s *containerdStore) Blob(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := readBlob(ctx, s.from, "blob", d, maxSideBlob)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.place, err)
	}
	return raw, nil
}

// Referrers reads the tag under which clients put them; containerd keeps no list of its own.
func (s *containerdStore) Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error) {
	if _, err := parseDigest(digest); err != nil {
		return nil, err
	}
	return tagged(ctx, s, digest)
}

// contentDir is a directory of containerd's content store. Names are in containerd's database, so only digests find something.
type contentDir string

func (c contentDir) String() string { return fmt.Sprintf("content store %q", string(c)) }

func (c contentDir) Close() error { return nil }

func (c contentDir) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	if !ref.hasDigest() {
		return nil, &missing{why: "a content store knows digests only (name the image by its digest, or ask containerd's socket)"}
	}
	from := dirBlobs(c)
	d, err := describe(ctx, from, ref.digest)
	if errors.Is(err, ErrNotFound) {
		return nil, &missing{}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	img, err := load(ctx, from, d, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	img.place = c.String()
	img.store = &indexStore{place: img.place, from: from}
	return img, nil
}
