package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/verity/layer"
)

// treeRoot is the directory that the layers of the tree cases fill, and the container lists.
const treeRoot = "t"

var treeTime = time.Unix(1600000000, 123456789)

// treeLayers are two layers with everything a layer can have; the upper one takes away and replaces.
func treeLayers() [][]entry {
	random := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{7}).Read(random)
	dir := func(name string, mode int64) entry { return entry{name: name, kind: tar.TypeDir, mode: mode} }
	file := func(name, text string) entry { return entry{name: name, data: []byte(text)} }
	deep := strings.Repeat("a-directory-with-a-long-name/", 20)
	base := []entry{
		dir("t/", 0o755), dir("t/sticky/", 0o1777), dir("t/sgid/", 0o2755),
		{name: "t/owned", data: []byte("owned"), uid: 1000, gid: 70000, mode: 0o644},
		{name: "t/setuid", data: []byte("s"), mode: 0o4755},
		{name: "t/setgid", data: []byte("s"), mode: 0o2755},
		// CAP_NET_RAW, as ping has it.
		{name: "t/ping", data: []byte("ping"), mode: 0o755, xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		{name: "t/noted", data: random[:100], xattrs: map[string]string{"user.note": "kept", "user.long": strings.Repeat("x", 300)}},
		{name: "t/empty"},
		{name: "t/block", data: random[:4096]},
		{name: "t/big", data: random},
		{name: "t/zeros", data: make([]byte, 1<<20+1)},
		{name: "t/hard", kind: tar.TypeLink, link: "t/big"},
		{name: "t/sgid/hard", kind: tar.TypeLink, link: "./t/noted"},
		{name: "t/symlink", kind: tar.TypeSymlink, link: "owned"},
		{name: "t/elsewhere", kind: tar.TypeSymlink, link: "../../../etc/passwd"},
		{name: "t/long-symlink", kind: tar.TypeSymlink, link: "/" + deep},
		{name: "t/null", kind: tar.TypeChar, mode: 0o666, major: 1, minor: 3},
		{name: "t/sda", kind: tar.TypeBlock, mode: 0o600, major: 8, minor: 300},
		{name: "t/fifo", kind: tar.TypeFifo, mode: 0o640},
		file("t/"+deep+"file", "deep"), file("t/"+strings.Repeat("n", 255), "long name"), file("t/grüße-日本", "utf-8"), file("t/-!\\ \"", "odd"),
		file("t/gone", "x"), dir("t/gone-directory/", 0o755), file("t/gone-directory/x", "x"),
		file("t/replaced", "old"), dir("t/now-a-file/", 0o755), file("t/now-a-file/x", "x"), file("t/now-a-directory", "x"),
		dir("t/opaque/", 0o755), file("t/opaque/old", "x"), dir("t/merged/", 0o755), file("t/merged/old", "old"), file("t/merged/gone", "x"),
	}
	for i := range 150 {
		base = append(base, entry{name: fmt.Sprintf("t/many/f%03d", i), data: random[i*100 : i*117+i]})
	}
	top := []entry{
		dir("t/", 0o750), file("t/.wh.gone", ""), file("t/.wh.gone-directory", ""),
		{name: "t/replaced", data: []byte("new"), mode: 0o600 | 0o044, uid: 7},
		file("t/now-a-file", "file"), dir("t/now-a-directory/", 0o700|0o055), dir("t/opaque/", 0o711|0o044), file("t/opaque/.wh..wh..opq", ""), file("t/opaque/new", "new"),
		dir("t/merged/", 0o775), file("t/merged/.wh.gone", ""), file("t/merged/new", "new"),
	}
	layers := [][]entry{base, top}
	for _, l := range layers {
		for i := range l {
			l[i].time = treeTime
		}
	}
	return layers
}

// addTrees makes a container of the tree in each format. A file in each layer gives it a diff id of its own: a policy is asked
// for the root of a layer, and the format goes by the layer.
func addTrees(img image, byName map[string]*pod.Container) error {
	program, err := workloadProgram()
	if err != nil {
		return err
	}
	for _, format := range []layer.Format{layer.Ext4, layer.EROFS} {
		c := newContainer(img, "tree-"+string(format), "list", "/"+treeRoot)
		c.Layers = nil
		lists := append([][]entry{{{name: "bin/w", mode: 0o755, data: program}}}, treeLayers()...)
		for _, entries := range lists {
			l, err := makeLayer(append(entries, entry{name: "format", data: []byte(format)})...)
			if err != nil {
				return err
			}
			if format == layer.EROFS {
				erofsLayers.Store(l.DiffID, true)
			}
			c.Layers = append(c.Layers, l)
		}
		byName[c.Name] = c
	}
	return nil
}

// unpacked is what a container must see of the tree's layers: each entry as the tar has it, by its path.
func unpacked(hardLinks bool) map[string]string {
	tree := map[string]*entry{}
	remove := func(name string) {
		for other := range tree {
			if other == name || strings.HasPrefix(other, name+"/") {
				delete(tree, other)
			}
		}
	}
	for _, entries := range treeLayers() {
		lower := map[string]bool{}
		for name := range tree {
			lower[name] = true
		}
		for _, e := range entries {
			name := strings.TrimSuffix(e.name, "/")
			dir, base := path.Split(name)
			switch {
			case base == ".wh..wh..opq":
				for other := range lower {
					if strings.HasPrefix(other, dir) {
						delete(tree, other)
					}
				}
				continue
			case strings.HasPrefix(base, ".wh."):
				remove(dir + base[len(".wh."):])
				continue
			case e.kind == tar.TypeLink:
				tree[name] = tree[strings.TrimPrefix(e.link, "./")]
				continue
			}
			for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
				if tree[parent] == nil {
					tree[parent] = &entry{kind: tar.TypeDir}
				}
			}
			if old := tree[name]; old != nil && e.kind != tar.TypeDir {
				remove(name)
			}
			tree[name] = &e
		}
	}
	names := map[*entry]int{}
	for _, e := range tree {
		names[e]++
	}
	out := map[string]string{}
	for name, e := range tree {
		links := 1
		if hardLinks {
			links = names[e]
		}
		out[fmt.Sprintf("%q", "/"+name)] = e.seen(links)
	}
	return out
}

// seen is what the workload prints of an entry.
func (e *entry) seen(links int) string {
	types := map[byte]uint32{
		0: syscall.S_IFREG, tar.TypeDir: syscall.S_IFDIR, tar.TypeSymlink: syscall.S_IFLNK, tar.TypeChar: syscall.S_IFCHR,
		tar.TypeBlock: syscall.S_IFBLK, tar.TypeFifo: syscall.S_IFIFO,
	}
	mode := uint32(e.mode)
	switch {
	case e.kind == tar.TypeSymlink:
		mode = 0o777
	case e.kind == tar.TypeDir:
		mode |= 0o755 // as makeLayer does
	case mode == 0:
		mode = 0o644
	}
	line := fmt.Sprintf("%#o %d:%d", types[e.kind]|mode, e.uid, e.gid)
	switch e.kind {
	case 0:
		line += fmt.Sprintf(" %d.%09d links %d, %d %x", e.time.Unix(), e.time.Nanosecond(), links, len(e.data), sha256.Sum256(e.data))
	case tar.TypeSymlink:
		line += fmt.Sprintf(" -> %q", e.link)
	case tar.TypeChar, tar.TypeBlock:
		line += fmt.Sprintf(" device %#x", e.minor&0xff|e.major<<8|e.minor&^0xff<<12)
	}
	for _, name := range sortedNames(e.xattrs) {
		line += fmt.Sprintf(" %s=%x", name, e.xattrs[name])
	}
	return line
}

// TestTreeOfLayers: the guest's kernel mounts disks of both formats over dm-verity, overlayfs puts them together, and everything in
// them is as the tars have it. EROFS has no hard links: each name is a file with the same content.
func TestTreeOfLayers(t *testing.T) {
	m := shared(t)
	for _, format := range []layer.Format{layer.Ext4, layer.EROFS} {
		t.Run(string(format), func(t *testing.T) {
			m := m.in(t)
			stdout, stderr, code := m.run(fixture(t, "tree-"+string(format)))
			if code != 0 {
				t.Fatalf("status %d: %s", code, stderr)
			}
			got := map[string]string{}
			for line := range strings.Lines(stdout) {
				end := strings.Index(line, `" `) + 1
				for strings.HasSuffix(line[:end-1], `\`) { // a quote within the name
					end += strings.Index(line[end:], `" `) + 1
				}
				got[line[:end]] = strings.TrimSpace(line[end:])
			}
			if diff := cmp.Diff(unpacked(format == layer.Ext4), got); diff != "" {
				t.Errorf("want (-) and got (+):\n%s", diff)
			}
		})
	}
}
