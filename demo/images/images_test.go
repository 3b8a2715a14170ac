package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cloister-cc/cloister/guest"
)

// staticProgram is an ELF header and nothing else: a program that needs no libraries.
func staticProgram() []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_X86_64))
	binary.LittleEndian.PutUint32(b[20:], uint32(elf.EV_CURRENT))
	binary.LittleEndian.PutUint16(b[52:], 64) // size of this header
	return b
}

// testBuilder has stand-ins for the packages: a static program has no libraries to look for.
func testBuilder(t *testing.T) *builder {
	t.Helper()
	return &builder{
		report: []byte("report"),
		files: packageFiles{
			"usr/sbin/nginx":                         {pkg: "nginx", mode: 0o755, data: staticProgram()},
			"etc/nginx/nginx.conf":                   {pkg: "nginx-common", mode: 0o644, data: []byte("old")},
			"etc/nginx/snippets/x.conf":              {pkg: "nginx-common", mode: 0o644},
			"usr/share/nginx/html/index.html":        {pkg: "nginx-common", mode: 0o644, data: []byte("old")},
			"usr/lib/os-release":                     {pkg: "base-files", mode: 0o644},
			"etc/os-release":                         {pkg: "base-files", link: "../usr/lib/os-release"},
			"etc/debian_version":                     {pkg: "base-files", mode: 0o644},
			"usr/share/doc/nginx/copyright":          {pkg: "nginx", mode: 0o644},
			"usr/share/doc/nginx/changelog.gz":       {pkg: "nginx", mode: 0o644},
			"usr/bin/busybox":                        {pkg: "busybox-static", mode: 0o755, data: []byte("busybox")},
			"usr/share/doc/busybox-static/copyright": {pkg: "busybox-static", mode: 0o644},
		},
	}
}

// entriesOf reads the layers of an image as a runtime would, base first.
func entriesOf(t *testing.T, img v1.Image) []map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]*tar.Header
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		entries := map[string]*tar.Header{}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeLink && entries[h.Linkname] == nil {
				t.Errorf("hard link %q comes before its target %q", h.Name, h.Linkname)
			}
			if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
				t.Errorf("%q has time %v", h.Name, h.ModTime)
			}
			entries[strings.TrimSuffix(h.Name, "/")] = h
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		out = append(out, entries)
	}
	return out
}

func TestNginxImage(t *testing.T) {
	img, err := testBuilder(t).nginx()
	if err != nil {
		t.Fatal(err)
	}
	layers := entriesOf(t, img)
	if len(layers) != 3 {
		t.Fatalf("got %d layers, want 3", len(layers))
	}
	base, server, site := layers[0], layers[1], layers[2]
	if base["usr/sbin/nginx"] != nil || server["usr/sbin/nginx"] == nil {
		t.Error("the server is not in the layer of its package")
	}
	if base["tmp"] == nil || base["tmp"].Mode != 0o1777 {
		t.Errorf("got /tmp %+v, want it with mode 1777", base["tmp"])
	}
	if server["usr/share/doc/nginx/copyright"] == nil || server["usr/share/doc/nginx/changelog.gz"] != nil {
		t.Error("of the documentation, not exactly the copyright notice is there")
	}
	for _, name := range []string{"etc/nginx/sites-enabled/.wh.default", "etc/nginx/.wh.snippets", "usr/share/nginx/html/.wh..wh..opq"} {
		if site[name] == nil {
			t.Errorf("the site's layer has no %q", name)
		}
	}
	// What a whiteout removes has to be there, or it tests nothing.
	if server["etc/nginx/sites-enabled/default"] == nil || server["etc/nginx/snippets"] == nil {
		t.Error("a whiteout removes what is not there")
	}
	if h := site["srv/www/welcome.html"]; h == nil || h.Typeflag != tar.TypeLink {
		t.Errorf("got welcome.html %+v, want a hard link", h)
	}
	if got := site["srv/www/index.html"].PAXRecords["SCHILY.xattr.user.cloister.title"]; got != "Hello" {
		t.Errorf("got attribute %q, want \"Hello\"", got)
	}
}

func TestClientImage(t *testing.T) {
	img, err := testBuilder(t).client()
	if err != nil {
		t.Fatal(err)
	}
	layers := entriesOf(t, img)
	if len(layers) != 3 {
		t.Fatalf("got %d layers, want 3", len(layers))
	}
	base, programs, trimmed := layers[0], layers[1], layers[2]
	if h := base["usr/bin/sh"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "usr/bin/busybox" {
		t.Errorf("got sh %+v, want a hard link to busybox", h)
	}
	want := "\x01\x00\x00\x02\x00\x20\x00\x00" + strings.Repeat("\x00", 12)
	if got := programs["usr/bin/ping"].PAXRecords["SCHILY.xattr.security.capability"]; got != want {
		t.Errorf("got capability %x, want %x", got, want)
	}
	if h := trimmed["home/demo/note"]; h == nil || h.Uid != 1000 || h.Gid != 1000 {
		t.Errorf("got note %+v, want it to belong to 1000:1000", h)
	}
	if base["usr/bin/telnet"] == nil || trimmed["usr/bin/.wh.telnet"] == nil {
		t.Error("telnet is not removed by a whiteout")
	}
	if base["etc/skel/old"] == nil || trimmed["etc/skel/.wh..wh..opq"] == nil {
		t.Error("etc/skel is not hidden by an opaque marker")
	}
}

func TestImagesAreDeterministic(t *testing.T) {
	for range 5 { // maps are walked in another order each time
		a, err := testBuilder(t).nginx()
		if err != nil {
			t.Fatal(err)
		}
		b, err := testBuilder(t).nginx()
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if want, err := b.Digest(); err != nil || got != want {
			t.Fatalf("got %v and %v (%v)", got, want, err)
		}
	}
}

func TestLayerMediaTypes(t *testing.T) {
	img, err := testBuilder(t).client()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []types.MediaType
	for _, l := range manifest.Layers {
		got = append(got, l.MediaType)
	}
	if want := []types.MediaType{types.OCILayer, types.OCILayer, types.OCILayerZStd}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPutLinkedNamesMissingLibrary(t *testing.T) {
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	f := packageFiles{"usr/bin/sh": {data: shell, mode: 0o755}}
	err = f.putLinked(newLayer(), "usr/bin/sh")
	if err == nil || !strings.Contains(err.Error(), `"usr/bin/sh": no package has "usr/lib`) {
		t.Errorf("got %v, want the missing file named", err)
	}
}

func TestLockHasEveryPackage(t *testing.T) {
	locked, err := guest.ParseLock(lockText)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range locked {
		got = append(got, p.Name)
	}
	if !slices.Equal(got, packageNames) {
		t.Errorf("got packages %v, want %v (run: go run ./demo/images --update)", got, packageNames)
	}
}

func TestFetchRefusesOtherBytes(t *testing.T) {
	good := []byte("a package")
	sum := sha256.Sum256(good)
	p := guest.Package{Name: "x", Version: "1:2", SHA256: hex.EncodeToString(sum[:]), Pool: "pool/x_2_amd64.deb"}
	cases := []struct {
		name, file string
		data       []byte
		want       string
	}{
		{"mirror-name", "x_2_amd64.deb", good, ""},
		{"apt-name", "x_1%3a2_amd64.deb", good, ""},
		{"changed", "x_2_amd64.deb", []byte("b package"), "got SHA-256"},
		{"missing", "y.deb", good, "file does not exist"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			found, err := fetch(t.Context(), []guest.Package{p}, dir)
			if c.want == "" {
				if err != nil || !bytes.Equal(found["x"], good) {
					t.Errorf("got %q, %v", found["x"], err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestWriteLayoutReplacesOnlyLayouts(t *testing.T) {
	img, err := testBuilder(t).client()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out", "client")
	for range 2 {
		if _, err := writeLayout(dir, img); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Errorf("got %d images, want 1", len(manifest.Manifests))
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := writeLayout(other, img); err == nil {
		t.Error("a directory that is no layout was replaced")
	}
}
