package containerd_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// TestTamperOtherPolicy puts another policy into the annotation: it is the one that HOST_DATA binds, so what it does not allow is refused.
func TestTamperOtherPolicy(t *testing.T) {
	n := shared(t)
	honest := simplePod(t, "tampered", alive)
	foreign := n.policed(newPod("tampered", container("main", "work", "/usr/bin/w", "echo", "other")))
	honest.Annotations = foreign.Annotations
	p := n.sandbox(honest, bed.HandlerCloister)
	wantRefusal(t, p.Start(n.ctx, "main"), "create_container")
}

// TestTamperImage puts another image under the name that the policy was written for.
func TestTamperImage(t *testing.T) {
	n := own(t, "")
	spec := n.policed(simplePod(t, "tampered", alive))
	layout := filepath.Join(t.TempDir(), "work")
	more := [][]bed.File{{{Name: "usr/bin/evil", Mode: 0o755, Data: []byte("#!/bin/sh\n")}}}
	if err := bed.Derive(filepath.Join(n.Programs().Images, bed.Registry, "work"), layout, more, func(*v1.ImageConfig) {}); err != nil {
		t.Fatal(err)
	}
	n.ReplaceImage("work", layout)
	p := n.sandbox(spec, bed.HandlerCloister)
	wantRefusal(t, p.Start(n.ctx, "main"), "mount_device", "deviceHash")
}

// disks are the converted layers of a node, the largest last.
func disks(t *testing.T, n *node) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.Dir, "snapshotter", "layers", "*", "*.disk"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no converted layers: %v", err)
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	slices.SortFunc(found, func(a, b string) int { return int(size(a) - size(b)) })
	return found
}

// TestTamperLayer changes bytes of every converted layer on the node, in the middle of the file system and at the end of the hash tree.
func TestTamperLayer(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(size int64) int64
	}{
		{"data", func(size int64) int64 { return size / 2 }},
		{"tree", func(size int64) int64 { return size - 4096 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := own(t, "")
			spec := n.policed(simplePod(t, "tampered", alive))
			if _, err := n.Pull(n.ctx, bed.Ref("work"), bed.HandlerCloister, nil); err != nil {
				t.Fatal(err)
			}
			for _, disk := range disks(t, n) {
				if err := flip(disk, c.at); err != nil {
					t.Fatal(err)
				}
			}
			p := n.sandbox(spec, bed.HandlerCloister)
			if err := p.Start(n.ctx, "main"); err == nil {
				out, _, code, err := p.ExecSync(n.ctx, "main", "/usr/bin/w", "hash", "/usr/bin/w")
				t.Errorf("a container with changed layers started; reading gives %q, %d, %v", out, code, err)
			}
		})
	}
}

// flip changes a block's bytes.
func flip(path string, at func(int64) int64) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	off := at(info.Size()) &^ 4095
	if _, err := f.ReadAt(block, off); err != nil {
		return err
	}
	for i := range block {
		block[i] ^= 0xff
	}
	_, err = f.WriteAt(block, off)
	return err
}
