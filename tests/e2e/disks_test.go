package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/verity/layer"
)

// changedDisk copies a disk and changes the copy, which keeps the honest root's name.
func changedDisk(t *testing.T, honest run.Layer, change func([]byte)) run.Layer {
	t.Helper()
	data, err := os.ReadFile(honest.Path)
	if err != nil {
		t.Fatal(err)
	}
	change(data)
	path := filepath.Join(t.TempDir(), "changed.disk")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return run.Layer{Path: path, Root: honest.Root}
}

// offsets of a disk: file system, then the superblock of the tree, then the tree.
func dataSize(t *testing.T, l run.Layer) int64 {
	t.Helper()
	img, err := layer.InspectFile(t.Context(), l.Path, false)
	if err != nil {
		t.Fatal(err)
	}
	return img.DataSize()
}

// withDisks gives a container other disks than its own.
func (m *machine) withDisks(c *pod.Container, change func(disks []run.Layer) []run.Layer) (*run.Container, *api.CreateContainerRequest) {
	m.t.Helper()
	made := convert(m.t, m.ctx, c)[0]
	made.Disks = change(slices.Clone(made.Disks))
	request, err := m.Prepare(m.ctx, made)
	if err != nil {
		m.t.Fatal(err)
	}
	return made, request
}

func TestLayersThatThePolicyDoesNotName(t *testing.T) {
	m := shared(t)
	foreign := convert(t, m.ctx, &pod.Container{Name: "foreign", Layers: []pod.Layer{mustImage(t).foreign}})[0].Disks[0]
	for _, c := range []struct {
		name   string
		change func(t *testing.T, d []run.Layer) []run.Layer
		point  string
	}{
		{"foreign-layer", func(_ *testing.T, d []run.Layer) []run.Layer { return append(d, foreign) }, "mount_device"},
		{"foreign-in-place", func(_ *testing.T, d []run.Layer) []run.Layer { d[2] = foreign; return d }, "mount_device"},
		{"foreign-under-an-honest-name", func(_ *testing.T, d []run.Layer) []run.Layer {
			d[2] = run.Layer{Path: foreign.Path, Root: d[2].Root}
			return d
		}, "mount_device"},
		{"other-order", func(_ *testing.T, d []run.Layer) []run.Layer { d[1], d[2] = d[2], d[1]; return d }, "mount_overlay"},
		{"one-missing-at-the-base", func(_ *testing.T, d []run.Layer) []run.Layer { return d[1:] }, "mount_overlay"},
		{"one-missing-in-the-middle", func(_ *testing.T, d []run.Layer) []run.Layer { return []run.Layer{d[0], d[2]} }, "mount_overlay"},
		{"only-the-top", func(_ *testing.T, d []run.Layer) []run.Layer { return d[2:] }, "mount_overlay"},
		{"flipped-byte-in-the-top-of-the-tree", func(t *testing.T, d []run.Layer) []run.Layer {
			at := dataSize(t, d[1]) + 4096 + 100
			d[1] = changedDisk(t, d[1], func(b []byte) { b[at] ^= 1 })
			return d
		}, "mount_device"},
		{"flipped-byte-in-the-salt", func(t *testing.T, d []run.Layer) []run.Layer {
			at := dataSize(t, d[1]) + 88
			d[1] = changedDisk(t, d[1], func(b []byte) { b[at] ^= 1 })
			return d
		}, ""},
		{"flipped-byte-in-the-file-system-superblock", func(t *testing.T, d []run.Layer) []run.Layer {
			d[1] = changedDisk(t, d[1], func(b []byte) { b[1024+120] ^= 1 })
			return d
		}, ""},
		{"cut-short", func(t *testing.T, d []run.Layer) []run.Layer {
			size := dataSize(t, d[1])
			d[1] = changedDisk(t, d[1], func([]byte) {})
			if err := os.Truncate(d[1].Path, size+4096); err != nil {
				t.Fatal(err)
			}
			return d
		}, ""},
		{"no-tree", func(t *testing.T, d []run.Layer) []run.Layer {
			size := dataSize(t, d[1])
			d[1] = changedDisk(t, d[1], func(b []byte) { clear(b[size:]) })
			return d
		}, ""},
		{"all-zero", func(t *testing.T, d []run.Layer) []run.Layer {
			d[1] = changedDisk(t, d[1], func(b []byte) { clear(b) })
			return d
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := m.in(t)
			made, request := m.withDisks(fixture(t, "hash"), func(d []run.Layer) []run.Layer { return c.change(t, d) })
			err := m.tryCreate(made, request)
			if c.point != "" {
				wantRefusal(t, err, "CreateContainerRequest", c.point)
			} else if err == nil {
				t.Error("got nil, want an error")
			}
			m.checkLeft()
		})
	}
}

// TestFlippedDataByte: the root is right, so the policy allows the disk; the kernel finds the block when it is read.
func TestFlippedDataByte(t *testing.T) {
	m := shared(t)
	blob := mustImage(t).blob
	made, request := m.withDisks(fixture(t, "hash"), func(d []run.Layer) []run.Layer {
		d[1] = changedDisk(t, d[1], func(b []byte) {
			at := bytes.Index(b, blob[512<<10:512<<10+64])
			if at < 0 {
				t.Fatal("the blob is not on the disk")
			}
			b[at] ^= 1
		})
		return d
	})
	if _, err := m.Client().CreateContainer(m.ctx, request); err != nil {
		if err := m.Discard(m.ctx, made); err != nil {
			t.Error(err)
		}
		return // refused before anything ran: as good
	}
	if err := m.Created(made); err != nil {
		t.Fatal(err)
	}
	if err := m.StartContainer(m.ctx, made); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := m.finish(made)
	if code == 0 || strings.Contains(stdout, "/data/blob") {
		t.Errorf("got %q, status %d, want a failed read", stdout, code)
	}
	if !strings.Contains(stderr, "input/output error") {
		t.Errorf("stderr got %q, want an input/output error", stderr)
	}
}

// TestDiskThatIsNotThere: the agent waits for a device no longer than it says.
func TestDiskThatIsNotThere(t *testing.T) {
	m := shared(t)
	made, request := m.prepare(fixture(t, "echo"))
	request.Storages[0].Source = "0:200"
	if err := m.tryCreate(made, request); err == nil {
		t.Error("got nil, want an error")
	}
}

func blobSum(t *testing.T) string {
	sum := sha256.Sum256(mustImage(t).blob)
	return hex.EncodeToString(sum[:])
}
