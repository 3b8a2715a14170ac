package layer_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

func convertTo(t testing.TB, in []byte, o layer.Options) (layer.Result, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	res, err := layer.Convert(t.Context(), bytes.NewReader(in), f, o)
	if err != nil {
		t.Fatalf("convert: %v", err)
	}
	return res, f
}

// listing is one line for each path of an EROFS image, as go-erofs's reader sees it. It does not see setuid, setgid and sticky
// bits: tests/e2e reads those with the kernel.
func listing(t testing.TB, f *os.File) map[string]string {
	t.Helper()
	img, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err = fs.WalkDir(img, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*erofs.Stat)
		line := fmt.Sprintf("%v %d:%d %d.%09d", info.Mode(), st.UID, st.GID, int64(st.Mtime), st.MtimeNs)
		switch {
		case info.Mode().IsRegular():
			body, err := fs.ReadFile(img, path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", len(body), sha256.Sum256(body))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := img.(fs.ReadLinkFS).ReadLink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case info.Mode()&fs.ModeDevice != 0:
			line += fmt.Sprintf(" device %#x", st.Rdev)
		case info.IsDir():
			line += fmt.Sprintf(" links %d", st.Nlink)
		}
		for _, name := range slices.Sorted(maps.Keys(st.Xattrs)) {
			line += fmt.Sprintf(" %s=%q", name, st.Xattrs[name])
		}
		out[path] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func body(b []byte) string { return fmt.Sprintf("%d %x", len(b), sha256.Sum256(b)) }

// What go-erofs does not do by itself is there all the same.
func TestEROFSHoldsEverything(t *testing.T) {
	big := noise(9000, 4)
	link := func(name, to string) entry { return entry{name: name, kind: tar.TypeLink, link: to} }
	sparseBody := append([]byte("abc"), make([]byte, 1<<20-3)...)
	const at = "1700000000.123456789"
	const file = "-rw-r--r-- 0:0 " + at + " "
	for _, c := range []struct {
		name string
		in   []byte
		want map[string]string
	}{
		{"modes", makeTar(t, entry{name: "su", mode: 0o4755, uid: 5, gid: 70000}, entry{name: "tmp", kind: tar.TypeDir, mode: 0o1777}, entry{name: "sg", kind: tar.TypeDir, mode: 0o2750}), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 4", "su": "-rwxr-xr-x 5:70000 " + at + " " + body(nil), "tmp": "drwxrwxrwx 0:0 " + at + " links 2", "sg": "drwxr-x--- 0:0 " + at + " links 2",
		}},
		{"root", makeTar(t, entry{name: "./", kind: tar.TypeDir, mode: 0o700, uid: 3, xattrs: map[string]string{"user.a": "b"}}), map[string]string{
			".": "drwx------ 3:0 " + at + ` links 2 user.a="b"`,
		}},
		{"directory-after-its-content", makeTar(t, entry{name: "d/x", body: big}, entry{name: "d", kind: tar.TypeDir, mode: 0o700, uid: 5}), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 3", "d": "drwx------ 5:0 " + at + " links 2", "d/x": file + body(big),
		}},
		{"last-wins", makeTar(t, entry{name: "a", body: big}, dir("b"), entry{name: "b/x"}, entry{name: "c"}, link("l", "a"), entry{name: "a", body: []byte("new")}, entry{name: "b"}, dir("c")), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 3", "a": file + body([]byte("new")), "b": file + body(nil), "c": "drwxr-xr-x 0:0 " + at + " links 2", "l": file + body(big),
		}},
		{"hard-links", makeTar(t, entry{name: "a", body: big, mode: 0o4711, xattrs: map[string]string{"security.x": "y"}}, link("d/b", "./a"), entry{name: "s", kind: tar.TypeSymlink, link: "../out"}, link("t", "s")), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 3", "d": "drwxr-xr-x 0:0 0.000000000 links 2",
			"a": "-rwx--x--x 0:0 " + at + " " + body(big) + ` security.x="y"`, "d/b": "-rwx--x--x 0:0 " + at + " " + body(big) + ` security.x="y"`,
			"s": "Lrwxrwxrwx 0:0 " + at + " -> ../out", "t": "Lrwxrwxrwx 0:0 " + at + " -> ../out",
		}},
		{"whiteouts", makeTar(t, entry{name: ".wh.gone"}, dir("d"), entry{name: "d/.wh..wh..opq"}, entry{name: "e/x"}, entry{name: ".wh.e"}, entry{name: ".wh.f"}, entry{name: "f"}, entry{name: ".wh.g"}, entry{name: "g/y"}), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 5", "gone": "Dc--------- 0:0 0.000000000 device 0x0",
			"d": "drwxr-xr-x 0:0 " + at + ` links 2 trusted.overlay.opaque="y"`,
			"e": `drwxr-xr-x 0:0 0.000000000 links 2 trusted.overlay.opaque="y"`, "e/x": file + body(nil),
			"f": file + body(nil), "g": `drwxr-xr-x 0:0 0.000000000 links 2 trusted.overlay.opaque="y"`, "g/y": file + body(nil),
		}},
		{"devices", makeTar(t, entry{name: "n", kind: tar.TypeChar, mode: 0o666, major: 1, minor: 3}, entry{name: "s", kind: tar.TypeBlock, major: 259, minor: 0x12345}, entry{name: "p", kind: tar.TypeFifo}), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 2", "n": "Dcrw-rw-rw- 0:0 " + at + " device 0x103", "s": "Drw-r--r-- 0:0 " + at + " device 0x12310345", "p": "prw-r--r-- 0:0 " + at,
		}},
		{"sparse", sparse(t, "a", 1<<20), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 2", "a": "-rw-r--r-- 0:0 0.000000000 " + body(sparseBody),
		}},
		{"old-times", headers(t, tar.Header{Name: "a", Typeflag: '5', Mode: 0o755, ModTime: when.AddDate(-100, 0, 0), Format: tar.FormatPAX}), map[string]string{
			".": "drwxr-xr-x 0:0 0.000000000 links 3", "a": "drwxr-xr-x 0:0 " + fmt.Sprintf("%d.123456789", when.AddDate(-100, 0, 0).Unix()) + " links 2",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, f := convertTo(t, c.in, layer.Options{Format: layer.EROFS})
			if diff := cmp.Diff(c.want, listing(t, f)); diff != "" {
				t.Errorf("want (-) and got (+):\n%s", diff)
			}
		})
	}
}

// The ways of getting at a layer's bytes give one image: a file read twice, a stream that is kept, either compression.
func TestEROFSSameByEveryWay(t *testing.T) {
	in := fixtures(t)["many-files"]
	want, f := convertTo(t, in, layer.Options{Format: layer.EROFS})
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, in, 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	got, err := layer.Root(t.Context(), plain, layer.Options{Format: layer.EROFS})
	if err != nil || got != want {
		t.Errorf("from a file: got %+v, %v, want %+v", got, err, want)
	}
	for _, kind := range []string{"gzip", "zstd"} {
		other, g := convertTo(t, compressed(t, in, kind), layer.Options{Format: layer.EROFS, Workers: 1})
		if other != want || !bytes.Equal(content(t, f), content(t, g)) {
			t.Errorf("%s: got %+v, want %+v and the same bytes", kind, other, want)
		}
	}
}

// changing is a file that somebody writes to while it is read.
type changing struct{ *os.File }

func (c changing) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	if err == nil {
		err = os.Truncate(c.Name(), 1<<20)
	}
	return n, err
}

func TestEROFSFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, fixtures(t)["plain"], 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := layer.Root(t.Context(), changing{f}, layer.Options{Format: layer.EROFS}); err == nil || !strings.Contains(err.Error(), "was changed while it was read") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestEROFSGoldenRoots(t *testing.T) {
	const golden = "testdata/roots-erofs.json"
	got := map[string]layer.Result{}
	for name, in := range fixtures(t) {
		res, f := convertTo(t, in, layer.Options{Format: layer.EROFS})
		img, err := layer.InspectFile(t.Context(), f.Name(), true)
		if err != nil || img.Root != res.RootHash || img.FS != verity.EROFS || img.DiskSize() != res.Size {
			t.Errorf("%s: disk: got %+v, %v, want %+v", name, img, err, res)
		}
		got[name] = res
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]layer.Result{}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-) and got (+):\n%s", diff)
	}
}
