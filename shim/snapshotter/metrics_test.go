package snapshotter_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestMetrics: conversions, failures and reuse are counted, and what is on the disk.
func TestMetrics(t *testing.T) {
	ctx, registry := inNamespace(t), prometheus.NewRegistry()
	n := newNode(t, func(c *snapshotter.Config) { c.Metrics = registry })
	shared := makeTar(t, entry{name: "a"})
	n.image(ctx, shared)
	n.image(ctx, makeTar(t, entry{name: "b"}), shared)
	if err := n.unpack(ctx, "bad", "", gzipLayer, gzipped(t, shared)[:20], digest.FromBytes(shared)); err == nil {
		t.Fatal("a cut layer was unpacked")
	}
	if _, err := n.Disk(ctx, digest.FromBytes(shared).String(), layer.EROFS); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "cloister_snapshotter_")
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"conversion_duration_seconds ext4 ok": 2, "conversion_duration_seconds ext4 error": 1, "conversion_duration_seconds erofs ok": 1,
		"layers_reused_total": 1, "layers": 2,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if got["layers_bytes"] < 3*4096 {
		t.Errorf("layers_bytes: got %v, want three disks at least", got["layers_bytes"])
	}
}
