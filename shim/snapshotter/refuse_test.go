package snapshotter_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestRefusedLayers: a layer that is refused leaves nothing, and says why.
func TestRefusedLayers(t *testing.T) {
	good := makeTar(t, entry{name: "a", body: "1"})
	cut := gzipped(t, good)
	cut = cut[:len(cut)-9]
	for name, c := range map[string]struct {
		mediaType string
		blob      []byte
		diffID    digest.Digest
		says      string
		is        func(error) bool
	}{
		"wrong-diff-id":   {gzipLayer, gzipped(t, good), digest.FromString("other"), "diff id", nil},
		"cut-gzip":        {gzipLayer, cut, digest.FromBytes(good), "EOF", nil},
		"damaged-gzip":    {gzipLayer, damaged(gzipped(t, good)), digest.FromBytes(good), "", nil},
		"encrypted":       {ocispec.MediaTypeImageLayerGzip + "+encrypted", gzipped(t, good), digest.FromBytes(good), "encrypted", errdefs.IsInvalidArgument},
		"no-layer":        {"application/vnd.example.thing", good, digest.FromBytes(good), "media type", errdefs.IsInvalidArgument},
		"escaping-path":   {gzipLayer, gzipped(t, makeTar(t, entry{name: "../x"})), digest.FromBytes(makeTar(t, entry{name: "../x"})), "..", nil},
		"empty":           {gzipLayer, nil, digest.FromString(""), "empty", nil},
		"malformed-label": {gzipLayer, gzipped(t, good), "sha256:xyz", "diff-id", errdefs.IsInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, n := inNamespace(t), newNode(t)
			err := n.unpack(ctx, "chain", "", c.mediaType, c.blob, c.diffID)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want an error with %q", err, c.says)
			}
			if errdefs.IsNotImplemented(err) {
				t.Errorf("got %v: containerd would try another differ", err)
			}
			if c.is != nil && !c.is(err) {
				t.Errorf("got %v, of another kind", err)
			}
			n.wantNames("layers", 0)
			n.wantNames("work", 0)
		})
	}
}

func damaged(blob []byte) []byte {
	blob[len(blob)/2] ^= 0x55
	return blob
}

// TestBomb: a layer that becomes too large is given up, and leaves nothing.
func TestBomb(t *testing.T) {
	ctx := inNamespace(t)
	n := newNode(t, func(c *snapshotter.Config) { c.Limits = layer.Limits{Size: 1 << 20} })
	big := makeTar(t, entry{name: "zeros", body: strings.Repeat("\x00", 8<<20)})
	err := n.unpack(ctx, "chain", "", gzipLayer, gzipped(t, big), digest.FromBytes(big))
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("got %v, want the limit", err)
	}
	n.wantNames("layers", 0)
	n.wantNames("work", 0)
}

// TestOthersSnapshots are left to the next differ; ours to nobody.
func TestOthersSnapshots(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	top := n.image(ctx, makeTar(t, entry{name: "a"}))
	ours, err := n.Prepare(ctx, "container", top)
	if err != nil {
		t.Fatal(err)
	}
	others := []mount.Mount{{Type: "bind", Source: t.TempDir(), Options: []string{"rw"}}}
	desc := ocispec.Descriptor{MediaType: gzipLayer, Digest: digest.FromString("x"), Size: 1}
	for name, m := range map[string][]mount.Mount{
		"bind": others, "none": nil, "elsewhere": {{Type: "cloister-layer", Source: t.TempDir() + "/1/view"}}, "container": ours,
		"two": append(others, mount.Mount{Type: "cloister-layer", Source: n.root + "/snapshots/1/view"}),
	} {
		if _, err := n.Apply(ctx, desc, m); !errdefs.IsNotImplemented(err) {
			t.Errorf("apply to %s: got %v, want Unimplemented", name, err)
		}
	}
	if _, err := n.Apply(ctx, desc, []mount.Mount{{Type: "cloister-layer", Source: n.root + "/snapshots/1/view"}}); !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
		t.Errorf("apply to a committed snapshot: got %v, want a refusal", err)
	}
	if _, err := n.Compare(ctx, others, others); !errdefs.IsNotImplemented(err) {
		t.Errorf("compare others: got %v, want Unimplemented", err)
	}
	if _, err := n.Compare(ctx, others, ours); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "VM") {
		t.Errorf("compare ours: got %v, want FailedPrecondition and the reason", err)
	}
}

// TestCommitWithoutLayer: what was not unpacked here is no layer, and the error says what to configure.
func TestCommitWithoutLayer(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	for key, opts := range map[string][]snapshots.Opt{
		"container": nil, "extract-1 x": {snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: "x"})},
	} {
		if _, err := n.Prepare(ctx, key, "", opts...); err != nil {
			t.Fatal(err)
		}
		err := n.Commit(ctx, "name", key)
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `"io.containerd.service.v1.diff-service"`) {
			t.Errorf("commit %q: got %v, want FailedPrecondition and the configuration", key, err)
		}
	}
}

// TestCancelled: a conversion ends with the call, leaves nothing, and the layer can be unpacked afterwards.
func TestCancelled(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(inNamespace(t))
	big := makeTar(t, entry{name: "big", body: noise(4 << 20)})
	n.blobs.read = func(_ context.Context, _ digest.Digest, at int64) error {
		if at > 1<<20 {
			cancel()
		}
		return nil
	}
	err := n.unpack(ctx, "chain", "", ocispec.MediaTypeImageLayer, big, digest.FromBytes(big))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	n.wantNames("layers", 0)
	n.wantNames("work", 0)
	n.blobs.read = nil
	if err := n.unpack(inNamespace(t), "chain", "", ocispec.MediaTypeImageLayer, big, digest.FromBytes(big)); err != nil {
		t.Error(err)
	}
}

// TestUnreadableContent: an error of containerd's store is the call's.
func TestUnreadableContent(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	bad := errors.New("input/output error")
	n.blobs.read = func(context.Context, digest.Digest, int64) error { return bad }
	data := makeTar(t, entry{name: "a"})
	if err := n.unpack(ctx, "chain", "", gzipLayer, gzipped(t, data), digest.FromBytes(data)); !errors.Is(err, bad) {
		t.Errorf("got %v, want %v", err, bad)
	}
}
