package containerd_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// TestImagesLife: containerd pulls images through our snapshotter, which is killed between; their disks have the roots that the command line says, shared
// layers are there once, and containerd's garbage collection removes all.
func TestImagesLife(t *testing.T) {
	n := own(t, "")
	images := []string{"client", "deep", "nginx"} // deep is client and 27 layers more
	want := map[string]bool{}
	for i, name := range images {
		n.pull(name)
		for _, blob := range n.layers(name) {
			want[n.layerRoot(blob)] = true
		}
		if i == 0 {
			if err := n.RestartSnapshotter(n.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.wantRoots(want)
	for _, name := range images {
		if _, errOut, code, err := n.Ctr(n.ctx, nil, "images", "rm", "--sync", bed.Ref(name)); err != nil || code != 0 {
			t.Fatalf("remove %s: code %d, %v, %s", name, code, err, errOut)
		}
	}
	n.wantRoots(nil)
}

// pull tries again while containerd still waits before it dials a daemon again that was away.
func (n *node) pull(name string) {
	n.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	err := n.CtrPull(n.ctx, name)
	for err != nil && strings.Contains(err.Error(), "connection error") {
		select {
		case <-tick.C:
			err = n.CtrPull(n.ctx, name)
		case <-n.ctx.Done():
			n.t.Fatal(err)
		}
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// wantRoots compares the disks of the node's snapshotter.
func (n *node) wantRoots(want map[string]bool) {
	n.t.Helper()
	disks, err := filepath.Glob(filepath.Join(n.Dir, "snapshotter", "layers", "*", "*.disk"))
	if err != nil {
		n.t.Fatal(err)
	}
	if len(disks) != len(want) {
		n.t.Errorf("got %d disks, want %d", len(disks), len(want))
	}
	for _, d := range disks {
		if root := n.layerRoot(d); !want[root] {
			n.t.Errorf("%s: got root %s, want one of the images' layers", d, root)
		}
	}
}

// layerRoot is what the command line says of a layer or a disk.
func (n *node) layerRoot(path string) string {
	n.t.Helper()
	out, err := exec.CommandContext(n.ctx, filepath.Join(n.Programs().Ours, "cloister"), "layer", "root", "--quiet", path).Output()
	if err != nil {
		n.t.Fatalf("root of %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}

// layers are the blobs of an image's layers, from the base up.
func (n *node) layers(name string) []string {
	n.t.Helper()
	layout := filepath.Join(n.Programs().Images, bed.Registry, name)
	var index v1.Index
	n.readJSON(filepath.Join(layout, "index.json"), &index)
	blob := func(d v1.Descriptor) string {
		return filepath.Join(layout, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())
	}
	var manifest v1.Manifest
	n.readJSON(blob(index.Manifests[0]), &manifest)
	var blobs []string
	for _, l := range manifest.Layers {
		blobs = append(blobs, blob(l))
	}
	return blobs
}

func (n *node) readJSON(path string, into any) {
	n.t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		n.t.Fatalf("read %s: %v", path, err)
	}
}
