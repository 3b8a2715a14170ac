package snapshotter_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestDiskMadeAgain: a disk that is gone, cut, or of an earlier version is made again when a container needs it, of the blob.
func TestDiskMadeAgain(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut":  func(path string) error { return os.Truncate(path, 4096) },
		"older": func(path string) error { // facts of a version that named its disks otherwise
			file := filepath.Join(filepath.Dir(path), "facts.json")
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "ext4-1.disk", "ext4-0.disk")), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, n := inNamespace(t), newNode(t)
			tars := [][]byte{makeTar(t, entry{name: "etc/passwd", body: "users"}), makeTar(t, entry{name: "b"})}
			top := n.image(ctx, tars...)
			r, _ := n.container(ctx, "before", top)
			for _, l := range r.Layers {
				if err := harm(l.Ext4.Path); err != nil {
					t.Fatal(err)
				}
			}
			n.reopen()
			r, view := n.container(ctx, "after", top)
			for i, l := range r.Layers {
				if want := rootOf(t, tars[i], layer.Ext4); l.Ext4 == nil || l.Ext4.Root != want {
					t.Fatalf("layer %d: got %+v, want root %s", i, l.Ext4, want)
				}
				if _, err := layer.InspectFile(ctx, l.Ext4.Path, true); err != nil {
					t.Error(err)
				}
			}
			wantView(t, view, "users", gone)
		})
	}
}

// TestNativeMadeAgain does the same for a layer that is an image itself, and without its blob says what to do.
func TestNativeMadeAgain(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	image := erofsImage(t, false, entry{name: "data", body: "x"})
	if err := n.unpack(ctx, "native", "", "application/vnd.erofs.layer.v1", image, digest.FromBytes(image)); err != nil {
		t.Fatal(err)
	}
	r, _ := n.container(ctx, "before", "native")
	path := r.Layers[0].EROFS.Path
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r, _ = n.container(ctx, "after", "native")
	if got := r.Layers[0].In(rootfs.EROFS); got == nil || got.Path != path {
		t.Errorf("got %+v, want the disk at %s again", got, path)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.blobs.remove(ctx, digest.FromBytes(image))
	if _, err := n.Prepare(ctx, "last", "native"); err == nil || !strings.Contains(err.Error(), "pull the image again") {
		t.Errorf("got %v, want what to do", err)
	}
	if _, err := n.Stat(ctx, "last"); err == nil {
		t.Error("a snapshot was left of a call that failed")
	}
}
