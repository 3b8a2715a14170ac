package rootfs_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
)

// maker makes disks whose root is the given one for a layer.
type maker map[string]string // root by diff id

func (m maker) Disk(_ context.Context, diffID, format string) (rootfs.Disk, error) {
	root, ok := m[diffID]
	if !ok {
		return rootfs.Disk{}, errors.New("its blob is gone")
	}
	return rootfs.Disk{Path: "/made/" + format, Root: root}, nil
}

func disk(root string) *rootfs.Disk { return &rootfs.Disk{Path: "/l/" + root[:1], Root: root} }

func formatted(d *rootfs.Disk, format string) *rootfs.Disk { d.Format = format; return d }

// stack is an image of two layers with an ext4 disk each, and one with an EROFS disk only.
func stack(native bool) rootfs.Rootfs {
	r := rootfs.Rootfs{Layers: []rootfs.Layer{
		{DiffID: diffID("1"), Ext4: formatted(disk(rootA), "ext4")}, {DiffID: diffID("2"), Ext4: formatted(disk(rootB), "ext4")},
	}}
	if native {
		r.Layers = append(r.Layers, rootfs.Layer{DiffID: diffID("3"), EROFS: formatted(disk(rootC), "erofs")})
	}
	return r
}

var (
	erofsA = strings.Repeat("d", 64)
	erofsB = strings.Repeat("e", 64)
	makes  = maker{diffID("1"): erofsA, diffID("2"): erofsB}
)

func wants(roots ...string) func([]string) bool {
	return func(got []string) bool { return slices.Equal(got, roots) }
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		native bool
		format node.Format
		want   func([]string) bool
		make   rootfs.Maker
		roots  []string
	}{
		"auto-ext4":                 {false, node.FormatAuto, wants(rootA, rootB), nil, []string{rootA, rootB}},
		"auto-erofs":                {false, node.FormatAuto, wants(erofsA, erofsB), makes, []string{erofsA, erofsB}},
		"auto-unknown-policy":       {false, node.FormatAuto, nil, makes, []string{rootA, rootB}},
		"auto-mixed":                {true, node.FormatAuto, wants(rootA, rootB, rootC), nil, []string{rootA, rootB, rootC}},
		"auto-erofs-and-native":     {true, node.FormatAuto, wants(erofsA, erofsB, rootC), makes, []string{erofsA, erofsB, rootC}},
		"auto-mixed-as-erofs":       {true, node.FormatAuto, wants(erofsA, erofsB, rootC), maker{diffID("1"): erofsA, diffID("2"): erofsB}, []string{erofsA, erofsB, rootC}},
		"ext4":                      {false, node.FormatExt4, wants(rootA, rootB), nil, []string{rootA, rootB}},
		"erofs":                     {true, node.FormatEROFS, nil, makes, []string{erofsA, erofsB, rootC}},
		"erofs-that-policy-accepts": {false, node.FormatEROFS, wants(erofsA, erofsB), makes, []string{erofsA, erofsB}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stack(c.native).Choose(t.Context(), c.want, c.format, c.make)
			if err != nil || !slices.Equal(rootfs.Roots(got), c.roots) {
				t.Fatalf("got %v, %v, want roots %v", got, err, c.roots)
			}
			for i, d := range got {
				if want := map[bool]string{true: "ext4", false: "erofs"}[d.Root == rootA || d.Root == rootB]; d.Format != want {
					t.Errorf("layer %d: got format %q, want %q", i, d.Format, want)
				}
			}
		})
	}
}

// TestChooseUnmatched: the error names index, diff id, formats and both roots of each layer.
func TestChooseUnmatched(t *testing.T) {
	_, err := stack(false).Choose(t.Context(), wants(rootC), node.FormatAuto, makes)
	var unmatched *rootfs.UnmatchedError
	if !errors.As(err, &unmatched) {
		t.Fatalf("got %v, want an UnmatchedError", err)
	}
	for _, part := range []string{"deviceHash not found", "layer 0: " + diffID("1") + ", ext4 " + rootA + ", erofs " + erofsA, "layer 1: " + diffID("2") + ", ext4 " + rootB + ", erofs " + erofsB} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want %q in it", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want one line", err)
	}
	if got := stack(false).Layers[0].EROFS; got != nil {
		t.Errorf("got %+v in the layers themselves, want them untouched", got)
	}
	for name, c := range map[string]struct {
		format node.Format
		make   rootfs.Maker
		says   string
	}{
		"no-daemon":   {node.FormatAuto, nil, "erofs not made"},
		"blob-gone":   {node.FormatAuto, maker{diffID("1"): erofsA}, "its blob is gone"},
		"only-ext4":   {node.FormatExt4, makes, "erofs not made"},
		"only-erofs":  {node.FormatEROFS, makes, erofsB},
		"bad-format":  {"xfs", makes, "xfs"},
		"erofs-alone": {node.FormatEROFS, nil, ") as erofs: there is no such disk"},
	} {
		if _, err := stack(false).Choose(t.Context(), wants(rootC), c.format, c.make); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.says)
		}
	}
	if _, err := stack(true).Choose(t.Context(), nil, node.FormatExt4, makes); err == nil || !strings.Contains(err.Error(), "layer 2 ("+diffID("3")+") as ext4: its blob is gone") {
		t.Errorf("a native layer as ext4: got %v, want the layer named", err)
	}
}

// TestChooseExt4Later: a node whose layers were unpacked as EROFS has ext4 made for a policy that names that.
func TestChooseExt4Later(t *testing.T) {
	r := rootfs.Rootfs{Layers: []rootfs.Layer{{DiffID: diffID("1"), EROFS: formatted(disk(rootC), "erofs")}}}
	got, err := r.Choose(t.Context(), wants(rootA), node.FormatAuto, maker{diffID("1"): rootA})
	if err != nil || len(got) != 1 || got[0].Root != rootA || got[0].Format != rootfs.Ext4 {
		t.Errorf("got %+v, %v, want ext4 of root %s", got, err, rootA)
	}
}

func TestExplain(t *testing.T) {
	got, err := stack(true).Explain(rootB)
	if want := "layer 1 as ext4: " + diffID("2") + ", ext4 " + rootB + ", erofs not made"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := stack(true).Explain(erofsA); err == nil {
		t.Errorf("got %q for a root that no layer has, want an error", got)
	}
}

func TestDaemonAway(t *testing.T) {
	_, err := rootfs.Daemon(t.TempDir()+"/none").Disk(t.Context(), diffID("1"), "erofs")
	if err == nil || !strings.Contains(err.Error(), "cloister-snapshotter") {
		t.Errorf("got %v, want the daemon's name", err)
	}
	for _, c := range [][2]string{{"sha256:1", "erofs"}, {diffID("1"), "xfs"}} {
		if _, err := rootfs.Daemon("/none").Disk(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("%v: got no error", c)
		}
	}
}
