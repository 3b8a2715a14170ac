package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// entry is one tar member; the zero mode is 0644 (0755 for directories).
type entry struct {
	name, link string
	kind       byte
	mode       int64
	uid, gid   int
	body       []byte
	xattrs     map[string]string
	major      int64
	minor      int64
}

var when = time.Unix(1700000000, 123456789)

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
			if e.kind == tar.TypeDir {
				e.mode = 0o755
			}
		}
		h := &tar.Header{
			Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: int64(len(e.body)),
			Devmajor: e.major, Devminor: e.minor, ModTime: when, Format: tar.FormatPAX,
		}
		for k, v := range e.xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("write tar header %q: %v", e.name, err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatalf("write tar body %q: %v", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("close tar: %v", err)
	}
	return buf.Bytes()
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func dir(name string) entry { return entry{name: name, kind: tar.TypeDir} }

// fixtures are the tar quirks that have broken layer converters before; each has a golden root.
func fixtures(t testing.TB) map[string][]byte {
	long := ""
	for i := range 12 {
		long += fmt.Sprintf("directory-with-a-rather-long-name-%02d/", i)
	}
	var many []entry
	for i := range 1500 {
		many = append(many, entry{name: fmt.Sprintf("d%d/f%d", i%7, i), body: noise(i%5000, uint64(i))})
	}
	return map[string][]byte{
		"empty": makeTar(t),
		"plain": makeTar(t, dir("etc/"), entry{name: "etc/hello", body: []byte("hello\n")}, entry{name: "etc/none"},
			entry{name: "etc/link", kind: tar.TypeSymlink, link: "hello"}),
		"dot-prefixed": makeTar(t, dir("./"), dir("./etc/"), entry{name: "./etc/hello", body: []byte("hello\n")}),
		"hard-links": makeTar(t, entry{name: "a", body: noise(10000, 1)}, entry{name: "b", kind: tar.TypeLink, link: "a"},
			dir("sub"), entry{name: "sub/c", kind: tar.TypeLink, link: "a"}),
		"whiteouts":         makeTar(t, dir("etc"), entry{name: "etc/.wh.passwd"}, entry{name: ".wh.gone"}),
		"opaque-dir":        makeTar(t, dir("var"), dir("var/lib"), entry{name: "var/lib/.wh..wh..opq"}, entry{name: "var/lib/new", body: []byte("x")}),
		"xattrs":            makeTar(t, entry{name: "ping", mode: 0o755, body: []byte("elf"), xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "user.note": "kept"}}),
		"setuid":            makeTar(t, entry{name: "su", mode: 0o4755}, entry{name: "sg", mode: 0o2755}, entry{name: "tmp", kind: tar.TypeDir, mode: 0o1777}),
		"owners":            makeTar(t, entry{name: "u", uid: 1000, gid: 1001}, entry{name: "big", uid: 1 << 20, gid: 1<<20 + 1}),
		"long-names":        makeTar(t, entry{name: long + string(bytes.Repeat([]byte("n"), 200)), body: []byte("deep")}),
		"long-symlink":      makeTar(t, entry{name: "s", kind: tar.TypeSymlink, link: "/" + long}),
		"missing-parents":   makeTar(t, entry{name: "opt/app/bin/run", mode: 0o755, body: []byte("#!")}),
		"dir-after-file":    makeTar(t, entry{name: "opt/x", body: []byte("1")}, entry{name: "opt", kind: tar.TypeDir, mode: 0o700, uid: 5}),
		"device-nodes":      makeTar(t, dir("dev"), entry{name: "dev/null", kind: tar.TypeChar, mode: 0o666, major: 1, minor: 3}, entry{name: "dev/sda", kind: tar.TypeBlock, major: 8}, entry{name: "dev/fifo", kind: tar.TypeFifo}),
		"utf8-names":        makeTar(t, entry{name: "grüße/日本", body: []byte("x")}),
		"large":             makeTar(t, entry{name: "blob", body: noise(9<<20+17, 7)}, entry{name: "zero", body: make([]byte, 3<<20)}),
		"many-files":        makeTar(t, many...),
		"trailing-garbage":  append(makeTar(t, entry{name: "a", body: []byte("a")}), noise(4096, 3)...),
		"gnu-long-names":    oneFile(t, long+"file", tar.FormatGNU),
		"old-style-regular": oldStyleTar(t),
	}
}

// oneFile is a tar of one file in the given format, with a time that every format can hold.
func oneFile(t testing.TB, name string, format tar.Format) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 3, ModTime: when.Truncate(time.Second), Format: format}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "one"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// oldStyleTar has the type flag NUL, as tars older than POSIX do.
func oldStyleTar(t testing.TB) []byte {
	const typeFlag, checksum = 156, 148
	b := oneFile(t, "old", tar.FormatUSTAR)
	b[typeFlag] = 0
	copy(b[checksum:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[checksum:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
