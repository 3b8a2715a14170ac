package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/cloister-cc/cloister/verity/layer"
)

// patch changes the first header of a tar and mends its checksum.
func patch(b []byte, change func(header []byte)) []byte {
	const checksum = 148
	b = bytes.Clone(b)
	change(b[:512])
	copy(b[checksum:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[checksum:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func typed(t testing.TB, flag byte) []byte {
	return patch(oneFile(t, "a", tar.FormatUSTAR), func(h []byte) { h[156] = flag })
}

// headers writes headers as they are, where makeTar would be too kind.
func headers(t testing.TB, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pax(name, record, value string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{record: value}}
}

// sparse is a GNU sparse file (format 0.1) that says it is size bytes long and holds "abc" at its start.
func sparse(t testing.TB, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	// archive/tar writes no sparse files: the records are put together here.
	records := ""
	for _, kv := range [][2]string{
		{"GNU.sparse.major", "0"},
		{"GNU.sparse.minor", "1"},
		{"GNU.sparse.name", name},
		{"GNU.sparse.size", fmt.Sprint(size)},
		{"GNU.sparse.numblocks", "1"},
		{"GNU.sparse.map", "0,3"},
	} {
		line := fmt.Sprintf(" %s=%s\n", kv[0], kv[1])
		n := len(line)
		for len(fmt.Sprint(n))+len(line) != n {
			n = len(fmt.Sprint(n)) + len(line)
		}
		records += fmt.Sprint(n) + line
	}
	w := tar.NewWriter(&b)
	for _, part := range []struct{ name, body string }{{"PaxHeaders/x", records}, {"GNUSparseFile.0/x", "abc"}} {
		if err := w.WriteHeader(&tar.Header{Name: part.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(part.body)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, part.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return patch(b.Bytes(), func(h []byte) { h[156] = tar.TypeXHeader })
}

func compressed(t testing.TB, in []byte, kind string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A layer is whatever a registry sends. What must not be is refused with the entry's name; "" in the place of a sentence
// means that the layer is taken.
func TestHostile(t *testing.T) {
	const both = "both"
	link := func(name, to string) entry { return entry{name: name, kind: tar.TypeLink, link: to} }
	sym := func(name, to string) entry { return entry{name: name, kind: tar.TypeSymlink, link: to} }
	a := entry{name: "a", body: []byte("abc")}
	long := strings.Repeat("n", 256)
	for _, c := range []struct {
		name        string
		in          []byte
		ext4, erofs string // parts of the error; both in ext4 stands for the same
	}{
		{"path-above-root", makeTar(t, entry{name: "../x"}), both, "path with a .. in it"},
		{"path-climbs", makeTar(t, dir("a"), entry{name: "a/../../x"}), both, "path with a .. in it"},
		{"path-turns", makeTar(t, dir("a"), entry{name: "a/../x"}), both, "path with a .. in it"},
		{"path-absolute", makeTar(t, dir("/etc"), entry{name: "/etc/x"}), both, ""},
		{"path-too-long", makeTar(t, entry{name: strings.Repeat("d/", 2100) + "x"}), both, "longer than 4095"},
		{"name-too-long", makeTar(t, entry{name: long}), both, "longer than 255"},
		{"name-longest", makeTar(t, entry{name: long[1:]}), both, ""},
		{"root-is-a-file", makeTar(t, entry{name: "."}), both, "the root of a layer is a directory"},
		{"root-is-a-symlink", makeTar(t, sym("./", "/etc")), both, "the root of a layer is a directory"},
		{"below-a-symlink", makeTar(t, sym("a", "etc"), entry{name: "a/x"}), both, `below "a", which is a symbolic link`},
		{"below-a-file", makeTar(t, a, entry{name: "a/x"}), both, `below "a", which is not a directory`},
		{"below-a-device", makeTar(t, entry{name: "a", kind: tar.TypeChar, major: 1}, entry{name: "a/x"}), both, `below "a", which is not a directory`},
		{"below-a-whiteout-entry", makeTar(t, entry{name: ".wh.a/x"}), both, "which is a whiteout"},

		{"link-out", makeTar(t, a, link("b", "../a")), both, "path with a .. in it"},
		{"link-to-later", makeTar(t, link("b", "a"), a), both, "not there before it"},
		{"link-to-nowhere", makeTar(t, link("b", "a")), both, "not there before it"},
		{"link-through-a-symlink", makeTar(t, dir("d"), entry{name: "d/a"}, sym("s", "d"), link("b", "s/a")), both, "not there before it"},
		{"link-to-directory", makeTar(t, dir("d"), link("b", "d")), both, "which is a directory"},
		{"link-to-root", makeTar(t, link("b", ".")), both, "which is a directory"},
		{"link-to-itself", makeTar(t, link("a", "a")), both, "not there before it"},
		{"link-to-a-whiteout", makeTar(t, entry{name: ".wh.a"}, link("b", "a")), both, "which is a whiteout"},
		{"link-absolute", makeTar(t, a, link("b", "/a")), both, ""},

		{"file-twice", makeTar(t, a, entry{name: "./a", body: []byte("xyz")}), "overwrite", ""},
		{"directory-for-file", makeTar(t, a, dir("a")), "replace", ""},
		{"file-for-directory", makeTar(t, dir("a"), entry{name: "a/b"}, a), "replace", ""},
		{"directory-twice", makeTar(t, dir("a"), entry{name: "a", kind: tar.TypeDir, mode: 0o700}), both, ""},
		{"linked-file-twice", makeTar(t, entry{name: "a"}, link("b", "a"), a), "which has a hard link", ""},
		{"whiteout-and-file", makeTar(t, a, entry{name: ".wh.a"}), "which this layer holds as well", ""},
		{"directory-and-whiteout", makeTar(t, entry{name: ".wh.a"}, dir("a")), "in the place of the whiteout", ""},
		{"whiteout-and-implied-directory", makeTar(t, entry{name: ".wh.a"}, entry{name: "a/x"}), "in the place of the whiteout", ""},
		{"whiteout-of-nothing", makeTar(t, entry{name: ".wh."}), both, "whiteout of nothing"},
		{"whiteout-of-dot", makeTar(t, entry{name: ".wh.."}), both, "whiteout of nothing"},
		{"whiteout-of-dot-dot", makeTar(t, dir("d"), entry{name: "d/.wh..."}), both, "whiteout of nothing"},
		{"aufs-metadata", makeTar(t, entry{name: ".wh..wh.plnk"}), both, "metadata of AUFS"},
		{"opaque-root", makeTar(t, entry{name: ".wh..wh..opq"}), "", "the root of a layer opaque"},

		{"user-too-large", headers(t, tar.Header{Name: "a", Typeflag: '0', Uid: 1 << 32, Format: tar.FormatGNU}), both, "user id 4294967296"},
		{"user-negative", headers(t, tar.Header{Name: "a", Typeflag: '0', Uid: -1, Format: tar.FormatGNU}), both, "user id -1"},
		{"group-nobody-has", headers(t, tar.Header{Name: "a", Typeflag: '0', Gid: 1<<32 - 1, Format: tar.FormatGNU}), both, "group id 4294967295"},
		{"mode-negative", headers(t, tar.Header{Name: "a", Typeflag: '0', Mode: -1, Format: tar.FormatGNU}), both, "mode -1"},
		{"size-negative", patch(oneFile(t, "a", tar.FormatUSTAR), func(h []byte) { copy(h[124:136], bytes.Repeat([]byte{0xff}, 12)) }), both, "invalid tar header"},
		{"size-absurd", patch(oneFile(t, "a", tar.FormatUSTAR), func(h []byte) { copy(h[124:136], "77777777777\x00") }), both, "unexpected EOF"},
		{"size-64-bit", patch(oneFile(t, "a", tar.FormatUSTAR), func(h []byte) { copy(h[124:136], "\x80\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00") }), both, "size of 1152921504606846976 bytes"},
		{"device-too-large", headers(t, tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 4096, Format: tar.FormatGNU}), both, "device 4096:0"},
		{"device-negative", headers(t, tar.Header{Name: "a", Typeflag: tar.TypeBlock, Devminor: -1, Format: tar.FormatGNU}), both, "device 0:-1"},
		{"device", makeTar(t, entry{name: "a", kind: tar.TypeBlock, major: 8, minor: 300}), both, ""},
		{"symlink-to-nothing", makeTar(t, sym("a", "")), both, "a symbolic link to nothing"},
		{"symlink-too-long", makeTar(t, sym("a", strings.Repeat("n", 4096))), both, "more than 4095"},
		{"symlink-out", makeTar(t, sym("a", "../../etc/passwd")), both, ""},
		{"type-unknown", typed(t, 'Z'), both, "type 'Z' is none"},
		{"type-volume", typed(t, 'V'), both, "type 'V' is none"},
		{"type-contiguous", typed(t, tar.TypeCont), both, ""},
		{"file-named-as-directory", patch(oneFile(t, "abc", tar.FormatUSTAR), func(h []byte) { h[2] = '/' }), both, "ends in a slash"},
		{"global-header", append(headers(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}})[:1024], makeTar(t, a)...), both, ""},
		{"records-nobody-knows", headers(t, pax("a", "VENDOR.junk", strings.Repeat("x", 9000))), both, ""},

		{"xattr-redirect", headers(t, pax("a", "SCHILY.xattr.trusted.overlay.redirect", "/etc")), both, "overlayfs's own"},
		{"xattr-metacopy", headers(t, pax("a", "SCHILY.xattr.trusted.overlay.metacopy", "")), both, "overlayfs's own"},
		{"xattr-acl", headers(t, pax("a", "SCHILY.xattr.system.posix_acl_access", "x")), "", "EROFS cannot hold the extended attribute"},
		{"xattr-without-namespace", headers(t, pax("a", "SCHILY.xattr.foo", "x")), "", "EROFS cannot hold the extended attribute"},
		{"xattr-empty-name", headers(t, pax("a", "SCHILY.xattr.user.", "x")), "", "EROFS cannot hold the extended attribute"},
		{"xattr-long-name", headers(t, pax("a", "SCHILY.xattr.user."+long, "x")), "", "longer than 255"},
		{"xattr-long-value", headers(t, pax("a", "SCHILY.xattr.user.x", strings.Repeat("x", 1<<16))), "could not fit", "more than 65535"},

		{"sparse", sparse(t, "a", 1<<20), both, ""},
		{"sparse-absurd", sparse(t, "a", 1<<60), both, "size of 1152921504606846976 bytes"},
		{"trailing-bytes", append(makeTar(t, a), noise(512, 5)...), both, ""},
		{"cut-in-content", makeTar(t, entry{name: "a", body: noise(5000, 1)})[:2000], both, "unexpected EOF"},
		{"cut-gzip", compressed(t, makeTar(t, a), "gzip")[:40], both, "unexpected EOF"},
		{"cut-zstd", compressed(t, makeTar(t, a), "zstd")[:20], both, "unexpected EOF"},
		{"gzip-then-junk", append(compressed(t, makeTar(t, a), "gzip"), noise(100, 1)...), both, "gzip"},
		{"gzip-in-gzip", compressed(t, compressed(t, makeTar(t, entry{name: "a", body: noise(5000, 1)}), "gzip"), "gzip"), both, "invalid tar header"},
	} {
		for format, want := range map[layer.Format]string{layer.Ext4: c.ext4, layer.EROFS: c.erofs} {
			if want == both {
				want = c.erofs
			}
			t.Run(c.name+"/"+string(format), func(t *testing.T) {
				t.Parallel()
				_, err := layer.Root(t.Context(), bytes.NewReader(c.in), layer.Options{Format: format})
				switch {
				case want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case want != "" && err == nil:
					t.Errorf("taken, want a refusal with %q", want)
				case want != "" && !strings.Contains(err.Error(), want):
					t.Errorf("got %v, want %q", err, want)
				}
			})
		}
	}
}

// bomb is a file of 300 MiB of zeros, in as many frames as keep the test fast.
func bomb(t testing.TB, kind string) []byte {
	const piece, pieces = 10 << 20, 30
	head := headers(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatGNU})[:512]
	head = patch(head, func(h []byte) { copy(h[124:136], fmt.Sprintf("%011o\x00", piece*pieces)) })
	out := compressed(t, head, kind)
	zeros := compressed(t, make([]byte, piece), kind)
	for range pieces {
		out = append(out, zeros...)
	}
	return append(out, compressed(t, make([]byte, 1024), kind)...)
}

func TestRefusalNamesEntry(t *testing.T) {
	in := makeTar(t, dir("etc"), entry{name: "etc/../../\x1b[2J" + strings.Repeat("x", 300)})
	_, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{})
	var refused *layer.EntryError
	if !errors.As(err, &refused) || !strings.HasPrefix(refused.Name, "etc/../../") {
		t.Fatalf("got %v, want an EntryError", err)
	}
	if text := err.Error(); strings.Contains(text, "\x1b") || len(text) > 300 {
		t.Errorf("got %q, want one short line without control characters", text)
	}
}

func TestLimits(t *testing.T) {
	large := makeTar(t, entry{name: "a", body: make([]byte, 2<<20)})
	files := makeTar(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"})
	linked := makeTar(t, entry{name: "a", body: noise(30000, 1)}, entry{name: "b", kind: tar.TypeLink, link: "a"}, entry{name: "c", kind: tar.TypeLink, link: "a"})
	for _, c := range []struct {
		name   string
		in     []byte
		format layer.Format
		limits layer.Limits
		want   string
	}{
		{"stream", large, layer.Ext4, layer.Limits{Size: 1 << 20}, "larger than 1048576 bytes"},
		{"stream-compressed", compressed(t, large, "gzip"), layer.EROFS, layer.Limits{Size: 1 << 20}, "larger than 1048576 bytes"},
		{"ratio-zstd", bomb(t, "zstd"), layer.Ext4, layer.Limits{}, "decompression bomb"},
		{"ratio-gzip", bomb(t, "gzip"), layer.Ext4, layer.Limits{Ratio: 500}, "decompression bomb"},
		{"ratio-gzip-default", bomb(t, "gzip"), layer.Ext4, layer.Limits{}, ""},
		{"entries", files, layer.Ext4, layer.Limits{Entries: 2}, "more than 2 entries"},
		{"entries-enough", files, layer.EROFS, layer.Limits{Entries: 3}, ""},
		{"sparse-size", sparse(t, "a", 2<<20), layer.EROFS, layer.Limits{Size: 1 << 20}, "size of 2097152 bytes"},
		{"links-count", linked, layer.EROFS, layer.Limits{Size: 64 << 10}, "size of 30000 bytes"},
		{"links-do-not-count", linked, layer.Ext4, layer.Limits{Size: 64 << 10}, ""},
		{"inline", linked, layer.EROFS, layer.Limits{Inline: 100}, "inodes, names and small files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := layer.Root(t.Context(), bytes.NewReader(c.in), layer.Options{Format: c.format, Limits: c.limits})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestHardLinksRefused(t *testing.T) {
	in := fixtures(t)["hard-links"]
	_, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{Format: layer.EROFS, HardLinks: layer.RefuseHardLinks})
	if err == nil || !strings.Contains(err.Error(), `entry "b": a hard link to "a"`) {
		t.Errorf("got %v, want a refusal that names b", err)
	}
	if _, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{HardLinks: layer.RefuseHardLinks}); err != nil {
		t.Errorf("ext4: got %v, want the hard links kept", err)
	}
}

func TestOptionsRefused(t *testing.T) {
	in := fixtures(t)["plain"]
	for _, o := range []layer.Options{{Format: "squashfs"}, {Format: "EXT4"}, {HardLinks: "maybe"}, {TempDir: "/does/not/exist"}} {
		if _, err := layer.Root(t.Context(), bytes.NewReader(in), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
