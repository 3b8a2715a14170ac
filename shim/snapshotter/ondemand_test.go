package snapshotter_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestDiskInOtherFormat: the other format is made once, of the blob that containerd still has, and stays as long as the layer.
func TestDiskInOtherFormat(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	data := makeTar(t, entry{name: "etc/passwd", body: "users"})
	top := n.image(ctx, data)
	diffID := digest.FromBytes(data).String()
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			// The shim knows no namespace: the layer's own is used.
			d, err := n.Disk(t.Context(), diffID, layer.EROFS)
			if want := rootOf(t, data, layer.EROFS); err != nil || d.Root != want {
				t.Errorf("got %+v, %v, want root %s", d, err, want)
			}
		})
	}
	wait.Wait()
	if n.blobs.reads != 2 {
		t.Errorf("got the blob opened %d times, want once a format", n.blobs.reads)
	}
	n.reopen()
	r, view := n.container(ctx, "container", top)
	if r.Layers[0].Ext4 == nil || r.Layers[0].EROFS == nil {
		t.Errorf("got %+v, want both formats", r.Layers[0])
	}
	wantView(t, view, "users", gone)
	d, err := n.Disk(ctx, diffID, layer.Ext4)
	if err != nil || d.Root != rootOf(t, data, layer.Ext4) {
		t.Errorf("got %+v, %v, want the format that there was", d, err)
	}
}

// TestDiskGivenUp: a pod that does not wait for its layer finds it made when it is tried again.
func TestDiskGivenUp(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	data := makeTar(t, entry{name: "a"})
	n.image(ctx, data)
	began, goOn := make(chan struct{}), make(chan struct{})
	n.blobs.read = func(context.Context, digest.Digest, int64) error {
		close(began)
		<-goOn
		n.blobs.read = nil
		return nil
	}
	impatient, giveUp := context.WithCancel(ctx)
	go func() {
		<-began
		giveUp()
	}()
	if _, err := n.Disk(impatient, digest.FromBytes(data).String(), layer.EROFS); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the call was given up", err)
	}
	close(goOn)
	reads := n.blobs.reads
	if d, err := n.Disk(ctx, digest.FromBytes(data).String(), layer.EROFS); err != nil || d.Root != rootOf(t, data, layer.EROFS) {
		t.Errorf("got %+v, %v, want the disk", d, err)
	}
	if n.blobs.reads != reads {
		t.Errorf("got the blob opened %d times more, want what was begun before", n.blobs.reads-reads)
	}
}

// TestDiskWhileClosing: what is being made ends with the snapshotter, and leaves nothing.
func TestDiskWhileClosing(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	data := makeTar(t, entry{name: "a"})
	n.image(ctx, data)
	began := make(chan struct{})
	n.blobs.read = func(ctx context.Context, _ digest.Digest, _ int64) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}
	done := make(chan error)
	go func() {
		_, err := n.Disk(ctx, digest.FromBytes(data).String(), layer.EROFS)
		done <- err
	}()
	<-began
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("got a disk of a snapshotter that was closed")
	}
	n.wantNames("work", 0)
	if _, err := n.Disk(ctx, digest.FromBytes(data).String(), layer.EROFS); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want that it is closed", err)
	}
}

// TestDiskRefused: what cannot be made says why.
func TestDiskRefused(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	data := makeTar(t, entry{name: "a"})
	n.image(ctx, data)
	diffID := digest.FromBytes(data).String()
	n.blobs.remove(ctx, digest.FromBytes(gzipped(t, data)))
	n.blobs.put(namespaces.WithNamespace(ctx, "other"), gzipped(t, data)) // of somebody who never unpacked it
	for _, c := range []struct {
		diffID string
		format layer.Format
		says   string
		is     func(error) bool
	}{
		{diffID, layer.EROFS, "no longer in containerd's content store", errdefs.IsNotFound},
		{digest.FromString("other").String(), layer.EROFS, "no image on this node", errdefs.IsNotFound},
		{"sha256:../../etc", layer.EROFS, "diff id", errdefs.IsInvalidArgument},
		{diffID, "xfs", "format", errdefs.IsInvalidArgument},
		{diffID, "", "format", errdefs.IsInvalidArgument},
	} {
		if _, err := n.Disk(ctx, c.diffID, c.format); err == nil || !strings.Contains(err.Error(), c.says) || !c.is(err) {
			t.Errorf("%s as %q: got %v, want an error with %q", c.diffID, c.format, err, c.says)
		}
	}
}

// serve answers on a socket until the test ends.
func serve(t *testing.T, s *snapshotter.Snapshotter) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- snapshotter.Serve(t.Context(), l, s) }()
	t.Cleanup(func() { // the test's context has ended by now
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return socket
}

// TestShimAsks: the shim's way to a pod on EROFS goes through the socket.
func TestShimAsks(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	tars := [][]byte{makeTar(t, entry{name: "a"}), makeTar(t, entry{name: "b"})}
	r, _ := n.container(ctx, "container", n.image(ctx, tars...))
	daemon := rootfs.Daemon(serve(t, n.Snapshotter))
	want := []string{rootOf(t, tars[0], layer.EROFS), rootOf(t, tars[1], layer.EROFS)}
	got, err := r.Choose(ctx, func(roots []string) bool { return strings.Join(roots, " ") == strings.Join(want, " ") }, node.FormatAuto, daemon)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range got {
		if d.Root != want[i] || d.Format != rootfs.EROFS {
			t.Errorf("layer %d: got %+v, want EROFS of root %s", i, d, want[i])
		}
	}
	if _, err := daemon.Disk(ctx, digest.FromString("none").String(), rootfs.EROFS); !errdefs.IsNotFound(err) {
		t.Errorf("a layer that is not there: got %v, want NotFound", err)
	}
}
