package snapshotter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity/layer"
)

// TestConcurrentLife: images that share layers come and go at the same time, with garbage collections between; what is there is always whole.
func TestConcurrentLife(t *testing.T) {
	ctx, n := inNamespace(t), newNode(t)
	shared := makeTar(t, entry{name: "etc/passwd", body: "shared"}, entry{name: "big", body: noise(1 << 20)})
	blob, sharedID := gzipped(t, shared), digest.FromBytes(shared)
	const images, rounds = 4, 5
	var g errgroup.Group
	for i := range images {
		g.Go(func() error {
			own := makeTar(t, entry{name: fmt.Sprint("own-", i), body: strings.Repeat("o", 10000)})
			for round := range rounds {
				base, top, key := fmt.Sprintf("base-%d-%d", i, round), fmt.Sprintf("top-%d-%d", i, round), fmt.Sprintf("container-%d-%d", i, round)
				if err := n.unpack(ctx, base, "", gzipLayer, blob, sharedID); err != nil {
					return err
				}
				if err := n.unpack(ctx, top, base, gzipLayer, gzipped(t, own), digest.FromBytes(own)); err != nil {
					return err
				}
				mounts, err := n.Prepare(ctx, key, top)
				if err != nil {
					return err
				}
				for _, l := range n.read(mounts).Layers {
					if _, err := layer.InspectFile(ctx, l.Ext4.Path, true); err != nil {
						return fmt.Errorf("round %d: %w", round, err)
					}
				}
				for _, name := range []string{key, top, base} {
					if err := n.Remove(ctx, name); err != nil {
						return err
					}
				}
				if err := n.Cleanup(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := n.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "snapshots", "work"} {
		n.wantNames(dir, 0)
	}
}

// TestOneProcess: a second daemon on the same directory would remove the first one's unfinished work.
func TestOneProcess(t *testing.T) {
	n := newNode(t)
	if _, err := openSecond(n); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v, want that another process has it", err)
	}
}
