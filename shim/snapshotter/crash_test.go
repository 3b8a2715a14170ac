package snapshotter_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

func openSecond(n *machine) (*snapshotter.Snapshotter, error) {
	return snapshotter.New(n.t.Context(), snapshotter.Config{Root: n.root, Content: n.blobs})
}

const victimEnv = "CLOISTER_TEST_SNAPSHOTTER_ROOT"

// victim unpacks and removes images for ever and says each step; it is killed.
func victim(t *testing.T, root string) {
	n := &machine{t: t, root: root, blobs: newBlobs()}
	n.open()
	ctx := inNamespace(t)
	n.blobs.read = func(context.Context, digest.Digest, int64) error { fmt.Println("read"); return nil }
	for round := 0; ; round++ {
		tars := [][]byte{
			makeTar(t, entry{name: "base", body: noise(1 << 20)}),
			makeTar(t, entry{name: "etc/passwd", body: fmt.Sprint(round)}, entry{name: "x", body: strings.Repeat("x", 1<<16)}),
		}
		var chain []string
		for _, data := range tars {
			parent := strings.Join(chain[max(0, len(chain)-1):], "")
			name := fmt.Sprintf("chain-%d-%d", round, len(chain))
			fmt.Println("unpack")
			if err := n.unpack(ctx, name, parent, gzipLayer, gzipped(t, data), digest.FromBytes(data)); err != nil {
				t.Fatal(err)
			}
			chain = append(chain, name)
		}
		fmt.Println("container")
		key := fmt.Sprint("container-", round)
		if _, err := n.Prepare(ctx, key, chain[1]); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			continue // some stay
		}
		for _, name := range []string{key, chain[1], chain[0]} {
			fmt.Println("remove")
			if err := n.Remove(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println("cleanup")
		if err := n.Cleanup(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKilled kills a snapshotter at each of its steps. The next one starts, has only whole layers, and keeps nothing that nobody refers to.
func TestKilled(t *testing.T) {
	if root := os.Getenv(victimEnv); root != "" {
		victim(t, root)
	}
	for step := range 24 {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			killAt(t, root, step)
			n := &machine{t: t, root: root, blobs: newBlobs()}
			n.open()
			wantWhole(t, n)
		})
	}
}

// killAt runs a victim until it has said so many steps.
func killAt(t *testing.T, root string, step int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), victimEnv+"="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for said := 0; said <= step; said++ {
		if !lines.Scan() {
			t.Fatalf("the victim ended by itself: %v", cmd.Wait())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the victim was not killed: %v", err)
	}
}

// wantWhole checks everything that a snapshotter has, then removes it.
func wantWhole(t *testing.T, n *machine) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "test")
	var infos []snapshots.Info
	if err := n.Walk(ctx, func(_ context.Context, info snapshots.Info) error { infos = append(infos, info); return nil }); err != nil && len(n.names("snapshots")) > 0 {
		t.Fatal(err)
	}
	n.wantNames("snapshots", len(infos))
	n.wantNames("work", 0)
	layers := map[string]bool{}
	for i, info := range infos {
		if info.Kind != snapshots.KindCommitted {
			continue
		}
		key := fmt.Sprint("check-", i)
		r, _ := n.container(ctx, key, info.Name)
		for _, l := range r.Layers {
			layers[l.DiffID] = true
			if _, err := layer.InspectFile(ctx, l.Ext4.Path, true); err != nil {
				t.Errorf("snapshot %s: %v", info.Name, err)
			}
		}
		if err := n.Remove(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	// An active snapshot that a layer was unpacked into keeps it, until containerd removes the snapshot.
	if got := len(n.names("layers")); got < len(layers) || got > len(layers)+1 {
		t.Errorf("got %d layers, want the %d that committed snapshots have and at most one more", got, len(layers))
	}
	for len(infos) > 0 { // children before parents
		var left []snapshots.Info
		for _, info := range infos {
			if err := n.Remove(ctx, info.Name); err != nil {
				left = append(left, info)
			}
		}
		if len(left) == len(infos) {
			t.Fatalf("%d snapshots cannot be removed", len(left))
		}
		infos = left
	}
	if err := n.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "snapshots", "work"} {
		n.wantNames(dir, 0)
	}
	n.image(ctx, makeTar(t, entry{name: "after"}))
}

// TestDiskFull: a layer that does not fit is an error that says so, leaves nothing of itself, and harms nothing that was there.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root: run the tests as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	n := &machine{t: t, root: filepath.Join(dir, "root"), blobs: newBlobs()}
	n.open()
	defer n.Close()
	ctx := inNamespace(t)
	before := n.image(ctx, makeTar(t, entry{name: "small"}))
	big := makeTar(t, entry{name: "big", body: noise(16 << 20)})
	for range 2 {
		err := n.unpack(ctx, "big", before, gzipLayer, gzipped(t, big), digest.FromBytes(big))
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("got %v, want that the disk is full", err)
		}
	}
	n.wantNames("work", 0)
	n.wantNames("layers", 1)
	if r, _ := n.container(ctx, "container", before); len(r.Layers) != 1 {
		t.Errorf("got %+v, want the layer that was there", r)
	}
}
