package snapshotter_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/diff"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloister-cc/cloister/shim/snapshotter"
)

// TestOverTheSocket: containerd's own clients of proxy plugins, with its namespace in their headers.
func TestOverTheSocket(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	conn, err := grpc.NewClient("unix://"+serve(t, n.Snapshotter), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "cloister")
	differ := diffproxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(interface {
		diff.Applier
		diff.Comparer
	})
	labels := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: "chain"})
	mounts, err := sn.Prepare(ctx, "extract-1 chain", "", labels)
	if err != nil {
		t.Fatal(err)
	}
	data := makeTar(t, entry{name: "etc/passwd", body: "users"})
	blob := gzipped(t, data)
	got, err := differ.Apply(ctx, ocispec.Descriptor{MediaType: gzipLayer, Digest: n.blobs.put(ctx, blob), Size: int64(len(blob))}, mounts)
	if err != nil || got.Digest != digest.FromBytes(data) {
		t.Fatalf("apply: got %+v, %v, want %s", got, err, digest.FromBytes(data))
	}
	if err := sn.Commit(ctx, "chain", "extract-1 chain", labels); err != nil {
		t.Fatal(err)
	}
	mounts, err = sn.View(ctx, "view", "chain")
	if err != nil {
		t.Fatal(err)
	}
	wantView(t, mounts[0].Source, "users", gone)
	if _, err := differ.Compare(ctx, nil, nil); !errdefs.IsNotImplemented(err) {
		t.Errorf("compare: got %v, want Unimplemented", err)
	}
	if err := sn.Remove(ctx, "chain"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove a parent: got %v, want FailedPrecondition", err)
	}
	for _, key := range []string{"view", "chain"} {
		if err := sn.Remove(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := sn.(snapshots.Cleaner).Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	n.wantNames("layers", 0)
}

// TestServeEnds: the end of the server is the end of conversions, which leave nothing.
func TestServeEnds(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serving, end := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- snapshotter.Serve(serving, l, n.Snapshotter) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mounts, err := n.Prepare(ctx, "extract-1 chain", "")
	if err != nil {
		t.Fatal(err)
	}
	n.blobs.read = func(ctx context.Context, _ digest.Digest, _ int64) error {
		end()
		<-ctx.Done()
		return ctx.Err()
	}
	blob := gzipped(t, makeTar(t, entry{name: "a"}))
	desc := ocispec.Descriptor{MediaType: gzipLayer, Digest: n.blobs.put(ctx, blob), Size: int64(len(blob))}
	if _, err := diffproxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(diff.Applier).Apply(ctx, desc, mounts); err == nil {
		t.Error("applied by a server that has ended")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	n.wantNames("work", 0)
}

// TestStrangers: a connection that speaks neither protocol, or nothing, hurts nobody.
func TestStrangers(t *testing.T) {
	n := newNode(t)
	socket := serve(t, n.Snapshotter)
	for _, text := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nnonsense nonsense nonsense", "\x7f\xff\xff\xff\x00\x00\x00\x01\x01\x00 more than enough of it"} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "cloister").Stat(inNamespace(t), "none")
	if !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want NotFound", err)
	}
}
