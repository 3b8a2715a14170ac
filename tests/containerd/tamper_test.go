package containerd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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
	wantNoLayers(t, p.Start(n.ctx, "main"))
}

// wantNoLayers checks the shim's own word for layers that no container of the policy has: one line, with each layer's index and both roots. The guest would say no
// too, and less.
func wantNoLayers(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("the container started, want a refusal")
		return
	}
	for _, w := range []string{"deviceHash not found", "layer 0: sha256:", "layer 3: sha256:", "ext4 ", "erofs "} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want it to have %q", err, w)
		}
	}
}

// TestTamperLayer changes bytes of every converted layer on the node: in the file system, which the guest's kernel finds when it reads, and at the top of the hash
// tree, which makes another root.
func TestTamperLayer(t *testing.T) {
	for _, c := range []struct {
		name string
		flip func(disk string) error
		want string
	}{
		{"data", bed.FlipData, ""},
		{"tree", bed.FlipTree, "deviceHash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := own(t, "")
			spec := n.policed(simplePod(t, "tampered", alive))
			p := n.sandbox(spec, bed.HandlerCloister)
			if err := p.Create(n.ctx, "main", nil); err != nil {
				t.Fatal(err)
			}
			disks, err := n.Disks()
			if err != nil {
				t.Fatal(err)
			}
			for _, disk := range disks {
				if err := c.flip(disk); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Runtime.StartContainer(n.ctx, p.Created["main"]); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal that names %q", err, c.want)
			}
		})
	}
}

// TestTamperOrder swaps two layers in what the snapshotter tells the shim: each is one that the policy knows, their order is not.
func TestTamperOrder(t *testing.T) {
	n := own(t, "")
	p := n.sandbox(n.policed(simplePod(t, "tampered", alive)), bed.HandlerCloister)
	if err := p.Create(n.ctx, "main", nil); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(n.Dir, "snapshotter", "snapshots", "*", "layers.json"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifests of containers: %v", err)
	}
	swapped := 0
	for _, path := range manifests {
		done, err := swapLayers(path)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			swapped++
		}
	}
	if swapped == 0 {
		t.Fatalf("no two layers in any of %q", manifests)
	}
	wantNoLayers(t, n.Runtime.StartContainer(n.ctx, p.Created["main"]))
}

// swapLayers exchanges the two topmost layers of a manifest, if there are two.
func swapLayers(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	var manifest map[string]json.RawMessage
	if err := json.Unmarshal(text, &manifest); err != nil {
		return false, err
	}
	var layers []json.RawMessage
	if err := json.Unmarshal(manifest["layers"], &layers); err != nil || len(layers) < 2 {
		return false, err
	}
	last := len(layers) - 1
	layers[last], layers[last-1] = layers[last-1], layers[last]
	if manifest["layers"], err = json.Marshal(layers); err != nil {
		return false, err
	}
	if text, err = json.Marshal(manifest); err != nil {
		return false, err
	}
	return true, os.WriteFile(path, text, 0o600)
}
