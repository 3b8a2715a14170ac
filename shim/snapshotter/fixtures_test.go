package snapshotter_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/metadata"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/snapshotter"
)

// blobs is a content store in memory. Blobs belong to a namespace, as containerd's do.
type blobs struct {
	mu    sync.Mutex
	data  map[string][]byte // by namespace and digest
	reads int               // blobs that were opened
	read  func(ctx context.Context, d digest.Digest, at int64) error
}

func newBlobs() *blobs { return &blobs{data: map[string][]byte{}} }

func (b *blobs) put(ctx context.Context, data []byte) digest.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := digest.FromBytes(data)
	ns, _ := namespaces.Namespace(ctx)
	b.data[ns+"/"+d.String()] = data
	return d
}

func (b *blobs) remove(ctx context.Context, d digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ns, _ := namespaces.Namespace(ctx)
	delete(b.data, ns+"/"+d.String())
}

func (b *blobs) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	// As the client of containerd's content store sends it; the namespace that a call came with is another matter.
	sent, _ := metadata.FromOutgoingContext(ctx)
	if len(sent[namespaces.GRPCHeader]) == 0 {
		return nil, fmt.Errorf("namespace is required: %w", errdefs.ErrFailedPrecondition)
	}
	ns := sent[namespaces.GRPCHeader][0]
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.data[ns+"/"+desc.Digest.String()]
	if !ok {
		return nil, fmt.Errorf("content %s: %w", desc.Digest, errdefs.ErrNotFound)
	}
	b.reads++
	return &blobReader{Reader: bytes.NewReader(data), ctx: ctx, of: b, digest: desc.Digest}, nil
}

type blobReader struct {
	*bytes.Reader
	ctx    context.Context
	of     *blobs
	digest digest.Digest
}

func (r *blobReader) Close() error { return nil }

func (r *blobReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.of.read != nil {
		if err := r.of.read(r.ctx, r.digest, off); err != nil {
			return 0, err
		}
	}
	return r.Reader.ReadAt(p, off)
}

// entry is one member of a layer's tar; the zero kind is a regular file.
type entry struct {
	name, link, body string
	kind             byte
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.body)), ModTime: time.Unix(1700000000, 0)}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// machine is a snapshotter with a content store, as containerd sees both.
type machine struct {
	*snapshotter.Snapshotter
	t     testing.TB
	root  string
	blobs *blobs
}

func newNode(t testing.TB, change ...func(*snapshotter.Config)) *machine {
	t.Helper()
	n := &machine{t: t, root: filepath.Join(t.TempDir(), "root"), blobs: newBlobs()}
	n.open(change...)
	return n
}

func (n *machine) open(change ...func(*snapshotter.Config)) {
	n.t.Helper()
	c := snapshotter.Config{Root: n.root, Content: n.blobs}
	for _, f := range change {
		f(&c)
	}
	s, err := snapshotter.New(n.t.Context(), c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Snapshotter = s
	n.t.Cleanup(func() { s.Close() })
}

// reopen is what a restart of the daemon does.
func (n *machine) reopen() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.open()
}

func inNamespace(t testing.TB) context.Context { return namespaces.WithNamespace(t.Context(), "test") }

const gzipLayer = ocispec.MediaTypeImageLayerGzip

// unpack does what containerd's unpacker does for one layer. The chain is the name of the committed snapshot.
func (n *machine) unpack(ctx context.Context, chain, parent, mediaType string, data []byte, diffID digest.Digest) error {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: n.blobs.put(ctx, data), Size: int64(len(data))}
	key := fmt.Sprintf("extract-%d %s", time.Now().UnixNano(), chain)
	labels := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: chain, snapshots.LabelSnapshotDiffID: diffID.String()})
	mounts, err := n.Prepare(ctx, key, parent, labels)
	if err != nil {
		return err
	}
	got, err := n.Apply(ctx, desc, mounts)
	if err != nil {
		return err
	}
	if got.Digest != diffID {
		return fmt.Errorf("applied %s, want %s", got.Digest, diffID)
	}
	return n.Commit(ctx, chain, key, labels)
}

// image unpacks tars as layers from the base up and returns the name of the topmost snapshot.
func (n *machine) image(ctx context.Context, tars ...[]byte) string {
	n.t.Helper()
	parent := ""
	for _, data := range tars {
		diffID := digest.FromBytes(data)
		chain := digest.FromString(parent + " " + diffID.String()).String()
		if _, err := n.Stat(ctx, chain); err != nil {
			if err := n.unpack(ctx, chain, parent, gzipLayer, gzipped(n.t, data), diffID); err != nil {
				n.t.Fatal(err)
			}
		}
		parent = chain
	}
	return parent
}

// container prepares a container's snapshot and returns what the shim reads of it, and the directory that the host may see.
func (n *machine) container(ctx context.Context, key, parent string) (rootfs.Rootfs, string) {
	n.t.Helper()
	mounts, err := n.Prepare(ctx, key, parent)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.read(mounts), mounts[0].Source
}

func (n *machine) read(mounts []mount.Mount) rootfs.Rootfs {
	n.t.Helper()
	var list []*apitypes.Mount
	for _, m := range mounts {
		list = append(list, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	r, err := rootfs.Read(list)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// names lists a directory below the root.
func (n *machine) names(dir string) []string {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.root, dir))
	if err != nil {
		n.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (n *machine) wantNames(dir string, want int) {
	n.t.Helper()
	if got := n.names(dir); len(got) != want {
		n.t.Errorf("%s: got %d entries %v, want %d", dir, len(got), got, want)
	}
}

// noise is text that does not compress.
func noise(size int) string {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b)
}
