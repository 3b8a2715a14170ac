package snapshotter_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// rootOf is the root hash that `cloister layer root` prints.
func rootOf(t testing.TB, tar []byte, format layer.Format) string {
	t.Helper()
	res, err := layer.Root(t.Context(), bytes.NewReader(tar), layer.Options{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	return res.RootHash.String()
}

// TestLife: an image is unpacked once, its layers are the disks that policies name, a second image shares them, and all goes when nobody has it.
func TestLife(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	base, middle, top := makeTar(t, entry{name: "a", body: "1"}), makeTar(t, entry{name: "b", body: "2"}), makeTar(t, entry{name: "c", body: "3"})
	one := n.image(ctx, base, middle)
	two := n.image(ctx, base, middle, top)
	n.wantNames("layers", 3)
	if n.blobs.reads != 3 {
		t.Errorf("got %d blobs opened, want each once", n.blobs.reads)
	}

	r, _ := n.container(ctx, "container", two)
	for i, tar := range [][]byte{base, middle, top} {
		l := r.Layers[i]
		if want := rootOf(t, tar, layer.Ext4); l.Ext4 == nil || l.Ext4.Root != want {
			t.Errorf("layer %d: got %+v, want root %s", i, l.Ext4, want)
			continue
		}
		img, err := layer.InspectFile(ctx, l.Ext4.Path, true)
		if err != nil || img.Root.String() != l.Ext4.Root {
			t.Errorf("layer %d: disk: got %+v, %v, want root %s", i, img, err, l.Ext4.Root)
		}
		if want := digest.FromBytes(tar).String(); l.DiffID != want {
			t.Errorf("layer %d: diff id: got %s, want %s", i, l.DiffID, want)
		}
	}

	if err := n.Remove(ctx, two); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove a container's image: got %v, want FailedPrecondition", err)
	}
	for _, key := range []string{"container", two} {
		if err := n.Remove(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	n.wantNames("layers", 2)
	for key := one; key != ""; {
		info, err := n.Stat(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Remove(ctx, key); err != nil {
			t.Fatal(err)
		}
		key = info.Parent
	}
	if err := n.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "snapshots", "work"} {
		n.wantNames(dir, 0)
	}
}

// TestSameLayerInTwoChains: a layer that is in the store already is not converted again, in whichever chain; its blob has to be there all the same.
func TestSameLayerInTwoChains(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	shared := makeTar(t, entry{name: "shared", body: "x"})
	n.image(ctx, shared)
	n.image(ctx, makeTar(t, entry{name: "other", body: "y"}), shared)
	n.wantNames("layers", 2)
	n.wantNames("snapshots", 3)

	mounts, err := n.Prepare(ctx, "extract-1 chain", "", snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: "chain"}))
	if err != nil {
		t.Fatal(err)
	}
	blob := gzipped(t, shared)
	n.blobs.remove(ctx, digest.FromBytes(blob))
	_, err = n.Apply(ctx, ocispec.Descriptor{MediaType: gzipLayer, Digest: digest.FromBytes(blob), Size: int64(len(blob))}, mounts)
	if !errdefs.IsNotFound(err) {
		t.Errorf("apply a blob that this namespace has not: got %v, want NotFound", err)
	}
}

// TestParallelUnpack: containerd prepares and applies all layers without parents, and names those when it commits.
func TestParallelUnpack(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	tars := [][]byte{
		makeTar(t, entry{name: "etc/passwd", body: "base"}), makeTar(t, entry{name: "x", body: "x"}), makeTar(t, entry{name: "etc/passwd", body: "top"}),
	}
	label := func(ref string) snapshots.Opt {
		return snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: ref})
	}
	chains := []string{"chain-0", "chain-1", "chain-2"}
	errs := make(chan error)
	for i := range tars {
		go func() {
			errs <- func() error {
				mounts, err := n.Prepare(ctx, "extract-"+chains[i], "", label(chains[i]))
				if err != nil {
					return err
				}
				blob := gzipped(t, tars[i])
				_, err = n.Apply(ctx, ocispec.Descriptor{MediaType: gzipLayer, Digest: n.blobs.put(ctx, blob), Size: int64(len(blob))}, mounts)
				return err
			}()
		}()
	}
	for range tars {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	parent := ""
	for _, chain := range chains {
		opts := []snapshots.Opt{label(chain)}
		if parent != "" {
			opts = append(opts, snapshots.WithParent(parent))
		}
		if err := n.Commit(ctx, chain, "extract-"+chain, opts...); err != nil {
			t.Fatal(err)
		}
		parent = chain
	}
	r, view := n.container(ctx, "container", parent)
	if len(r.Layers) != 3 || r.Layers[0].DiffID != digest.FromBytes(tars[0]).String() || r.Layers[2].DiffID != digest.FromBytes(tars[2]).String() {
		t.Errorf("got layers %+v, want those of the tars from the base up", r.Layers)
	}
	if got, err := os.ReadFile(filepath.Join(view, "etc/passwd")); err != nil || string(got) != "top" {
		t.Errorf("etc/passwd: got %q, %v, want the top layer's", got, err)
	}
}

// TestMounts: a container's mount can be made by the host and is read-only; one to unpack into is neither, or containerd would not unpack.
func TestMounts(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	top := n.image(ctx, makeTar(t, entry{name: "a", body: "1"}))
	for name, prepare := range map[string]func() ([]mount.Mount, error){
		"container": func() ([]mount.Mount, error) { return n.Prepare(ctx, "container", top) },
		"view":      func() ([]mount.Mount, error) { return n.View(ctx, "view", top) },
	} {
		got, err := prepare()
		if err != nil {
			t.Fatal(err)
		}
		again, err := n.Mounts(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range [][]mount.Mount{got, again} {
			if len(m) != 1 || m[0].Type != "bind" || !m[0].ReadOnly() || !slices.Contains(m[0].Options, "ro") {
				t.Errorf("%s: got %+v, want a read-only bind mount", name, m)
			}
		}
	}
	for key, labels := range map[string]map[string]string{
		"a key of containerd's unpacker": {snapshots.LabelSnapshotRef: "x"}, "test/7/extract-1 sha256:x": nil, "extract-1 sha256:x": nil,
	} {
		got, err := n.Prepare(ctx, key, "", snapshots.WithLabels(labels))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].ReadOnly() || got[0].Type == "bind" {
			t.Errorf("to unpack: got %+v, want a mount of our own type that does not say that it is unpacked already", got)
		}
	}
}

// TestUsage counts a layer's disk, and next to nothing for a container.
func TestUsage(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	top := n.image(ctx, makeTar(t, entry{name: "a", body: string(bytes.Repeat([]byte("noise"), 1<<18))}))
	r, _ := n.container(ctx, "container", top)
	info, err := os.Stat(r.Layers[0].Ext4.Path)
	if err != nil {
		t.Fatal(err)
	}
	of, err := n.Usage(ctx, top)
	if err != nil || of.Size < 5<<18 || of.Size > info.Size()+(64<<10) {
		t.Errorf("layer: got %+v, %v, want the content's size at least, and not more than the disk's %d", of, err, info.Size())
	}
	if of, err := n.Usage(ctx, "container"); err != nil || of.Size > 64<<10 {
		t.Errorf("container: got %+v, %v, want next to nothing", of, err)
	}
}

// TestFormats: the daemon converts to what the node's configuration says, whatever the blob is compressed with.
func TestFormats(t *testing.T) {
	data := makeTar(t, entry{name: "a", body: "1"})
	for _, format := range []layer.Format{verity.Ext4, verity.EROFS} {
		for mediaType, blob := range map[string][]byte{
			ocispec.MediaTypeImageLayer: data, gzipLayer: gzipped(t, data), ocispec.MediaTypeImageLayerZstd: zstandard(t, data),
			"application/vnd.docker.image.rootfs.diff.tar.gzip": gzipped(t, data), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": gzipped(t, data),
		} {
			ctx := inNamespace(t)
			n := newNode(t, func(c *snapshotter.Config) { c.Format = format })
			if err := n.unpack(ctx, "chain", "", mediaType, blob, digest.FromBytes(data)); err != nil {
				t.Errorf("%s from %s: %v", format, mediaType, err)
				continue
			}
			r, _ := n.container(ctx, "container", "chain")
			if d := r.Layers[0].In(string(format)); d == nil || d.Root != rootOf(t, data, format) {
				t.Errorf("%s from %s: got %+v, want root %s", format, mediaType, d, rootOf(t, data, format))
			}
		}
	}
}
