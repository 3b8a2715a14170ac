package rootfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/rootfs"
)

var (
	rootA = strings.Repeat("a", 64)
	rootB = strings.Repeat("b", 64)
	rootC = strings.Repeat("c", 64)
)

func diffID(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// snapshot makes a directory as our snapshotter does and returns its mount.
func snapshot(t *testing.T, manifest string) []*types.Mount {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, rootfs.Manifest), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return []*types.Mount{{Type: "bind", Source: filepath.Join(dir, rootfs.ViewDir), Options: []string{"ro", "rbind"}}}
}

func TestReadOurs(t *testing.T) {
	got, err := rootfs.Read(snapshot(t, fmt.Sprintf(`{"layers":[{"diff_id":%q,"ext4":{"path":"/l/a.disk","root":%q}},
		{"diff_id":%q,"ext4":{"path":"/l/b.disk","root":%q},"erofs":{"path":"/l/b.erofs","root":%q}}]}`, diffID("1"), rootA, diffID("2"), rootB, rootC)))
	if err != nil {
		t.Fatal(err)
	}
	want := rootfs.Rootfs{Layers: []rootfs.Layer{
		{DiffID: diffID("1"), Ext4: &rootfs.Disk{Path: "/l/a.disk", Root: rootA, Format: "ext4"}},
		{
			DiffID: diffID("2"), Ext4: &rootfs.Disk{Path: "/l/b.disk", Root: rootB, Format: "ext4"},
			EROFS: &rootfs.Disk{Path: "/l/b.erofs", Root: rootC, Format: "erofs"},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if got, err := rootfs.Read(nil); err != nil || len(got.Layers) != 0 {
		t.Errorf("no mounts: got %+v, %v, want no layers", got, err)
	}
}

func TestReadOursRefused(t *testing.T) {
	layer := func(s string) string { return `{"layers":[` + s + `]}` }
	disk := fmt.Sprintf(`{"path":"/l/a","root":%q}`, rootA)
	for name, c := range map[string]struct{ manifest, says string }{
		"empty":         {"", "not a list of layers"},
		"no-json":       {"layers", "not a list of layers"},
		"unknown":       {`{"layers":[],"other":1}`, "other"},
		"trailing":      {layer("") + "{}", "text after"},
		"no-disk":       {layer(`{"diff_id":"` + diffID("1") + `"}`), "layer 0: no disk"},
		"diff-id":       {layer(`{"diff_id":"sha256:12","ext4":` + disk + `}`), "diff id"},
		"root":          {layer(`{"ext4":{"path":"/l/a","root":"` + strings.ToUpper(rootA) + `"}}`), "root hash"},
		"relative":      {layer(`{"ext4":{"path":"l/a","root":"` + rootA + `"}}`), "absolute"},
		"dots":          {layer(`{"ext4":{"path":"/l/../a","root":"` + rootA + `"}}`), "absolute"},
		"nul":           {layer(`{"ext4":{"path":"/l/\u0000","root":"` + rootA + `"}}`), "absolute"},
		"too-many":      {layer(strings.Repeat(`{"ext4":`+disk+`},`, rootfs.MaxLayers) + `{"ext4":` + disk + `}`), "more than 512"},
		"too-long":      {layer(strings.Repeat(" ", 1<<20)), "more than"},
		"other-format":  {layer(`{"xfs":` + disk + `}`), "xfs"},
		"wrong-type":    {`[]`, "not a list of layers"},
		"second-is-bad": {layer(`{"ext4":` + disk + `},{}`), "layer 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rootfs.Read(snapshot(t, c.manifest))
			if err == nil || !strings.Contains(err.Error(), c.says) || got.Layers != nil {
				t.Errorf("got %+v, %v, want an error with %q", got, err, c.says)
			}
		})
	}
}

// blob makes a layer as containerd's erofs differ leaves it.
func blob(t *testing.T, dir, root string) *types.Mount {
	t.Helper()
	path := filepath.Join(dir, "layer.erofs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".dmverity", fmt.Appendf(nil, `{"roothash":%q,"hashoffset":4096}`, root), 0o644); err != nil {
		t.Fatal(err)
	}
	return &types.Mount{Type: "erofs", Source: path, Options: []string{"ro", "loop"}}
}

// TestReadContainerds takes what containerd 2.4's erofs snapshotter gives for containers, with and without a disk to write on.
func TestReadContainerds(t *testing.T) {
	dir := t.TempDir()
	base, top := blob(t, dir+"/1", rootA), blob(t, dir+"/2", rootB)
	elsewhere := &types.Mount{Type: "erofs", Source: "/cache/sha256/11/" + strings.Repeat("1", 64) + ".erofs", Options: []string{"ro", "loop", "X-containerd.dmverity=" + dir + "/1/layer.erofs.dmverity"}}
	overlay := &types.Mount{Type: "format/mkdir/overlay", Source: "overlay", Options: []string{"workdir=/w", "upperdir=/u", "lowerdir={{ overlay 0 1 }}"}}
	bind := &types.Mount{Type: "format/bind", Source: "{{ mount 0 }}", Options: []string{"ro", "rbind"}}
	writable := &types.Mount{Type: "mkfs/ext4", Source: "/s/rwlayer.img", Options: []string{"rw", "loop"}}
	disk := func(m *types.Mount, root string) rootfs.Layer {
		return rootfs.Layer{EROFS: &rootfs.Disk{Path: m.Source, Root: root, Format: "erofs"}}
	}
	cached := disk(elsewhere, rootA)
	cached.DiffID = diffID("1")
	for name, c := range map[string]struct {
		mounts []*types.Mount
		want   []rootfs.Layer
	}{
		"two-layers":   {[]*types.Mount{top, base, overlay}, []rootfs.Layer{disk(base, rootA), disk(top, rootB)}},
		"one-layer":    {[]*types.Mount{base, overlay}, []rootfs.Layer{disk(base, rootA)}},
		"view-of-one":  {[]*types.Mount{base}, []rootfs.Layer{disk(base, rootA)}},
		"bound-one":    {[]*types.Mount{base, bind}, []rootfs.Layer{disk(base, rootA)}},
		"block-upper":  {[]*types.Mount{writable, top, base, overlay}, []rootfs.Layer{disk(base, rootA), disk(top, rootB)}},
		"from-a-cache": {[]*types.Mount{top, elsewhere, overlay}, []rootfs.Layer{cached, disk(top, rootB)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rootfs.Read(c.mounts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Layers); diff != "" {
				t.Errorf("layers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadRefused: mounts that are neither snapshotter's are named.
func TestReadRefused(t *testing.T) {
	dir := t.TempDir()
	good := blob(t, dir+"/1", rootA)
	bare := &types.Mount{Type: "erofs", Source: dir + "/bare.erofs"}
	bad := blob(t, dir+"/bad", "1234")
	merged := &types.Mount{Type: "erofs", Source: dir + "/fsmeta.erofs", Options: []string{"ro", "loop", "device=/x"}}
	plain := &types.Mount{Type: "overlay", Source: "overlay", Options: []string{"upperdir=/u", "lowerdir=/l"}}
	var many []*types.Mount
	for range rootfs.MaxLayers + 3 {
		many = append(many, good)
	}
	for name, c := range map[string]struct {
		mounts []*types.Mount
		says   string
		is     error
	}{
		"overlayfs":           {[]*types.Mount{plain}, "containerd has mounted", nil},
		"native":              {[]*types.Mount{{Type: "bind", Source: "/var/lib/containerd/x/fs"}}, "/var/lib/containerd/x/fs", rootfs.ErrUnknownMounts},
		"devmapper":           {[]*types.Mount{{Type: "ext4", Source: "/dev/mapper/snap"}}, "/dev/mapper/snap", rootfs.ErrUnknownMounts},
		"ours-to-unpack":      {[]*types.Mount{{Type: "cloister-layer", Source: "/s/1/view"}}, "cloister-layer", rootfs.ErrUnknownMounts},
		"mounted-by-then":     {[]*types.Mount{good, plain}, "overlay", rootfs.ErrUnknownMounts},
		"ext4-between":        {[]*types.Mount{good, {Type: "ext4", Source: "/x"}, {Type: "format/overlay"}}, "ext4", rootfs.ErrUnknownMounts},
		"no-root-hash":        {[]*types.Mount{bare}, "enable_dmverity", os.ErrNotExist},
		"bad-root-hash":       {[]*types.Mount{bad}, "root hash", nil},
		"merged":              {[]*types.Mount{merged}, "merged", nil},
		"relative":            {[]*types.Mount{{Type: "erofs", Source: "layer.erofs"}}, "absolute", nil},
		"relative-sidecar":    {[]*types.Mount{{Type: "erofs", Source: good.Source, Options: []string{"X-containerd.dmverity=x"}}}, "absolute", nil},
		"sidecar-is-a-dir":    {[]*types.Mount{{Type: "erofs", Source: good.Source, Options: []string{"X-containerd.dmverity=" + dir}}}, "regular file", nil},
		"nil":                 {[]*types.Mount{nil}, "without content", nil},
		"too-many":            {many, "more than", nil},
		"writable-disk-alone": {[]*types.Mount{{Type: "mkfs/ext4", Source: "/x"}, {Type: "format/mkdir/bind"}}, "bind", rootfs.ErrUnknownMounts},
		"only-a-disk":         {[]*types.Mount{{Type: "mkfs/ext4", Source: "/x"}}, "/x", rootfs.ErrUnknownMounts},
		"no-manifest":         {[]*types.Mount{{Type: "bind", Source: dir + "/view"}}, "layers.json", os.ErrNotExist},
		"relative-view":       {[]*types.Mount{{Type: "bind", Source: "s/view"}}, "absolute", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rootfs.Read(c.mounts)
			if err == nil || !strings.Contains(err.Error(), c.says) || len(got.Layers) != 0 {
				t.Fatalf("got %+v, %v, want an error with %q", got, err, c.says)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
		})
	}
}
