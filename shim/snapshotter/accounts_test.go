package snapshotter_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

const gone = "(none)"

// TestAccounts: what the host sees of an image is what a container would, of two files and nothing else.
func TestAccounts(t *testing.T) {
	base := []entry{{name: "etc/", kind: tar.TypeDir}, {name: "etc/passwd", body: "base users"}, {name: "etc/group", body: "base groups"}, {name: "etc/shadow", body: "secret"}}
	for name, c := range map[string]struct {
		layers        [][]entry
		passwd, group string
	}{
		"base":               {[][]entry{base}, "base users", "base groups"},
		"none":               {[][]entry{{{name: "bin/sh", body: "x"}}}, gone, gone},
		"upper-wins":         {[][]entry{base, {{name: "etc/passwd", body: "upper"}}, {{name: "x"}}}, "upper", "base groups"},
		"dot-prefix":         {[][]entry{base, {{name: "./etc/passwd", body: "upper"}}}, "upper", "base groups"},
		"absolute":           {[][]entry{base, {{name: "/etc/passwd", body: "upper"}}}, "upper", "base groups"},
		"whiteout":           {[][]entry{base, {{name: "etc/.wh.passwd"}}}, gone, "base groups"},
		"whiteout-then-new":  {[][]entry{base, {{name: "etc/.wh.passwd"}}, {{name: "etc/passwd", body: "new"}}}, "new", "base groups"},
		"opaque":             {[][]entry{base, {{name: "etc/.wh..wh..opq"}, {name: "etc/group", body: "new"}}}, gone, "new"},
		"opaque-after":       {[][]entry{base, {{name: "etc/group", body: "new"}, {name: "etc/.wh..wh..opq"}}}, gone, "new"},
		"opaque-root":        {[][]entry{base, {{name: ".wh..wh..opq"}}}, gone, gone},
		"whiteout-of-etc":    {[][]entry{base, {{name: ".wh.etc"}}}, gone, gone},
		"etc-is-a-link":      {[][]entry{base, {{name: "etc", kind: tar.TypeSymlink, link: "/usr/etc"}}}, gone, gone},
		"etc-was-a-file":     {[][]entry{base, {{name: "etc", body: "x"}}, {{name: "etc/", kind: tar.TypeDir}, {name: "etc/group", body: "g"}}}, gone, "g"},
		"a-link":             {[][]entry{base, {{name: "etc/passwd", kind: tar.TypeSymlink, link: "/etc/shadow"}}}, gone, "base groups"},
		"a-hard-link":        {[][]entry{{{name: "etc/shadow", body: "s"}, {name: "etc/passwd", kind: tar.TypeLink, link: "etc/shadow"}}}, gone, gone},
		"a-directory":        {[][]entry{base, {{name: "etc/passwd/", kind: tar.TypeDir}}}, gone, "base groups"},
		"too-long":           {[][]entry{base, {{name: "etc/passwd", body: strings.Repeat("x", 1<<20+1)}}}, gone, "base groups"},
		"longest":            {[][]entry{base, {{name: "etc/passwd", body: strings.Repeat("x", 1<<20)}}}, strings.Repeat("x", 1<<20), "base groups"},
		"below-another-etc":  {[][]entry{base, {{name: "usr/etc/passwd", body: "no"}}}, "base users", "base groups"},
		"empty-file":         {[][]entry{base, {{name: "etc/passwd"}}}, "", "base groups"},
		"device-in-its-name": {[][]entry{base, {{name: "etc/group", kind: tar.TypeChar}}}, "base users", gone},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, n := inNamespace(t), newNode(t)
			var tars [][]byte
			for _, l := range c.layers {
				tars = append(tars, makeTar(t, l...))
			}
			_, view := n.container(ctx, "container", n.image(ctx, tars...))
			wantView(t, view, c.passwd, c.group)
		})
	}
}

// TestAccountsTwice: of two entries with one name the last counts. (The ext4 converter refuses such a layer.)
func TestAccountsTwice(t *testing.T) {
	ctx := inNamespace(t)
	n := newNode(t, func(c *snapshotter.Config) { c.Format = layer.EROFS })
	_, view := n.container(ctx, "container", n.image(ctx, makeTar(t, entry{name: "etc/passwd", body: "one"}, entry{name: "etc/passwd", body: "two"})))
	wantView(t, view, "two", gone)
}

// wantView checks the whole directory.
func wantView(t *testing.T, view, passwd, group string) {
	t.Helper()
	want := map[string]string{"passwd": passwd, "group": group}
	for name, want := range want {
		got, err := os.ReadFile(filepath.Join(view, "etc", name))
		if errors.Is(err, fs.ErrNotExist) {
			got, err = []byte(gone), nil
		}
		if err != nil || string(got) != want {
			t.Errorf("etc/%s: got %.40q (%d bytes), %v, want %.40q (%d bytes)", name, got, len(got), err, want, len(want))
		}
	}
	err := filepath.WalkDir(view, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, known := want[d.Name()]; !d.IsDir() && !known {
			t.Errorf("got %s in what the host sees, want passwd and group only", path)
		}
		if info, err := d.Info(); err != nil || !d.IsDir() && info.Mode() != 0o644 || d.IsDir() && info.Mode().Perm() != 0o755 {
			t.Errorf("%s: got mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// image of EROFS, as another builder pushes it.
func erofsImage(t testing.TB, sealed bool, entries ...entry) []byte {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := layer.Convert(t.Context(), bytes.NewReader(makeTar(t, entries...)), f, layer.Options{Format: layer.EROFS})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !sealed {
		text = text[:res.DataSize]
	}
	return text
}

// TestNativeLayers: EROFS images are taken as they are, with a tree behind them that is theirs or ours.
func TestNativeLayers(t *testing.T) {
	const plain, compressed = "application/vnd.erofs.layer.v1", "application/vnd.erofs.layer.v1+zstd"
	entries := []entry{{name: "etc/", kind: tar.TypeDir}, {name: "etc/passwd", body: "native"}, {name: "etc/.wh.group"}, {name: "data", body: strings.Repeat("d", 9000)}}
	base := makeTar(t, entry{name: "etc/passwd", body: "base"}, entry{name: "etc/group", body: "base"})
	for name, c := range map[string]struct {
		mediaType string
		sealed    bool
	}{"bare": {plain, false}, "sealed": {plain, true}, "compressed": {compressed, false}} {
		t.Run(name, func(t *testing.T) {
			ctx, n := inNamespace(t), newNode(t)
			lower := n.image(ctx, base)
			image := erofsImage(t, c.sealed, entries...)
			blob := image
			if c.mediaType == compressed {
				blob = zstandard(t, image)
			}
			if err := n.unpack(ctx, "native", lower, c.mediaType, blob, digest.FromBytes(image)); err != nil {
				t.Fatal(err)
			}
			r, view := n.container(ctx, "container", "native")
			l := r.Layers[1]
			want := rootOf(t, makeTar(t, entries...), layer.EROFS)
			if l.Ext4 != nil || l.EROFS == nil || l.EROFS.Root != want {
				t.Fatalf("got %+v, want one EROFS disk of root %s", l, want)
			}
			if _, err := layer.InspectFile(ctx, l.EROFS.Path, true); err != nil {
				t.Error(err)
			}
			wantView(t, view, "native", gone)
			if _, err := n.Disk(ctx, l.DiffID, layer.Ext4); err == nil || !strings.Contains(err.Error(), "EROFS image itself") {
				t.Errorf("make it ext4: got %v, want the reason why not", err)
			}
		})
	}
}

// TestNativeRefused: what is no image, or none that the guest could mount, is refused and leaves nothing.
func TestNativeRefused(t *testing.T) {
	const mediaType = "application/vnd.erofs.layer.v1"
	image := erofsImage(t, false, entry{name: "data", body: strings.Repeat("d", 9000)})
	small := bytes.Clone(image)
	small[1024+12] = 9 // blocks of 512 bytes
	ext4, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer ext4.Close()
	if _, err := layer.Convert(t.Context(), bytes.NewReader(makeTar(t, entry{name: "a"})), ext4, layer.Options{}); err != nil {
		t.Fatal(err)
	}
	asExt4, err := os.ReadFile(ext4.Name())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mediaType string
		blob      []byte
	}{
		"empty": {mediaType, nil}, "tar": {mediaType, makeTar(t, entry{name: "a"})}, "cut": {mediaType, image[:len(image)-4096]}, "longer": {mediaType, append(bytes.Clone(image), make([]byte, 8192)...)},
		"small-blocks": {mediaType, small}, "ext4": {mediaType, asExt4}, "gzip": {mediaType + "+gzip", gzipped(t, image)}, "not-zstd": {mediaType + "+zstd", image},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, n := inNamespace(t), newNode(t)
			if err := n.unpack(ctx, "native", "", c.mediaType, c.blob, digest.FromBytes(c.blob)); err == nil {
				t.Fatal("got no error")
			}
			n.wantNames("layers", 0)
			n.wantNames("work", 0)
		})
	}
}

// TestNativeBomb: a compressed image is bounded like a tar.
func TestNativeBomb(t *testing.T) {
	ctx := inNamespace(t)
	n := newNode(t, func(c *snapshotter.Config) { c.Limits.Size = 1 << 20 })
	bomb := make([]byte, 8<<20)
	err := n.unpack(ctx, "native", "", "application/vnd.erofs.layer.v1+zstd", zstandard(t, bomb), digest.FromBytes(bomb))
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("got %v, want the limit", err)
	}
	n.wantNames("work", 0)
}
