package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// savedFiles are the entries of docker save's older form for images by name.
func savedFiles(t testing.TB, images map[string]*testImage) []entry {
	t.Helper()
	var list []saved
	var out []entry
	have := map[string]string{} // diff id -> file of the layer
	for ref, img := range images {
		config := must(img.RawConfigFile())(t)
		s := saved{Config: strings.TrimPrefix(sha(config), "sha256:") + ".json"}
		if ref != "" {
			s.RepoTags = []string{ref}
		}
		out = append(out, entry{name: s.Config, body: config})
		for i, raw := range img.tars {
			file := fmt.Sprintf("%s-%d/layer.tar", strings.TrimPrefix(img.digest, "sha256:"), i)
			if other, twice := have[sha(raw)]; twice { // older dockers write a link
				out = append(out, entry{name: file, link: "../" + other, kind: tar.TypeSymlink})
			} else {
				have[sha(raw)] = file
				out = append(out, entry{name: file, body: raw})
			}
			s.Layers = append(s.Layers, file)
		}
		list = append(list, s)
	}
	return append(out, entry{name: manifestFile, body: mustJSON(t, list)})
}

func TestSavedOlderForm(t *testing.T) {
	web, db := newImage(t, "shared", "web"), newImage(t, "shared", "db")
	file := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": web, "ghcr.io/me/db:2": db})...)
	for ref, want := range map[string]*testImage{"web:1": web, "docker.io/library/web:1": web, "ghcr.io/me/db:2": db} {
		for _, o := range []Options{{Archives: map[string]string{"": file}}, {ArchiveFiles: []string{file}}, {Archives: map[string]string{ref: file}}, {Layouts: []string{file}}} {
			got := find(t, o, ref)
			want.check(t, got)
			if got.Digest != "" {
				t.Errorf("digest: got %s, want none: the archive has no manifest", got.Digest)
			}
		}
	}
	for _, ref := range []string{"web", "db:2", "web@" + web.digest} {
		findErr(t, Options{ArchiveFiles: []string{file}}, ref)
	}
	// Given for a reference, an archive of one image needs no name; one of several does.
	single := writeTar(t, savedFiles(t, map[string]*testImage{"": web})...)
	web.check(t, find(t, Options{Archives: map[string]string{"any:5": single}}, "docker.io/any:5"))
	findErr(t, Options{Archives: map[string]string{"any:5": single}}, "web:1")
	findErr(t, Options{Archives: map[string]string{"any:5": file}}, "any:5")
}

// What another library writes is read too.
func TestSavedByOthers(t *testing.T) {
	img := newImage(t, "base", "app")
	file := writeFixture(t, nil)
	if err := tarball.WriteToFile(file, must(name.NewTag("web:1"))(t), img); err != nil {
		t.Fatal(err)
	}
	img.check(t, find(t, Options{ArchiveFiles: []string{file}}, "web:1"))
}

// Since version 25 docker writes both forms into one archive; an OCI layout in a tar has the second only.
func TestSavedBothForms(t *testing.T) {
	img := newImage(t, "base", "app")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"docker.io/library/web:1": img})
	config := must(img.ConfigName())(t)
	m := must(img.Manifest())(t)
	list := []saved{{Config: "blobs/sha256/" + config.Hex, RepoTags: []string{"web:1", "old:1"}}}
	for _, l := range m.Layers {
		list[0].Layers = append(list[0].Layers, "blobs/sha256/"+l.Digest.Hex)
	}
	for name, file := range map[string]string{
		"oci":  dirTar(t, dir),
		"both": dirTar(t, dir, entry{name: manifestFile, body: mustJSON(t, list)}),
	} {
		t.Run(name, func(t *testing.T) {
			got := find(t, Options{ArchiveFiles: []string{file}}, "web:1")
			img.check(t, got)
			if got.Digest != img.digest {
				t.Errorf("digest: got %q, want %s", got.Digest, img.digest)
			}
			img.check(t, find(t, Options{ArchiveFiles: []string{file}}, "web@"+img.digest))
			if name == "both" { // a name that only the older form has
				img.check(t, find(t, Options{ArchiveFiles: []string{file}}, "old:1"))
			}
		})
	}
}

func TestArchiveRefused(t *testing.T) {
	img := newImage(t, "base", "app")
	good := savedFiles(t, map[string]*testImage{"web:1": img})
	with := func(more ...entry) []entry { return append(append([]entry{}, good...), more...) }
	replace := func(suffix string, f func(entry) entry) []entry {
		out := append([]entry{}, good...)
		for i := range out {
			if strings.HasSuffix(out[i].name, suffix) {
				out[i] = f(out[i])
				return out
			}
		}
		t.Fatalf("no entry %q", suffix)
		return nil
	}
	manifest := func(list ...saved) []entry {
		return replace(manifestFile, func(e entry) entry { e.body = mustJSON(t, list); return e })
	}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"nothing-in-it":     {[]entry{{name: "etc/passwd", body: []byte("x")}}, "want an OCI layout or what docker save writes"},
		"name-twice":        {with(entry{name: "./" + manifestFile, body: []byte("[]")}), "occurs twice"},
		"name-too-long":     {with(entry{name: strings.Repeat("x", maxName+1)}), "is longer than"},
		"device":            {with(entry{name: "dev", kind: tar.TypeChar}), "neither a file nor a link"},
		"link-out":          {replace("-1/layer.tar", func(e entry) entry { e.body, e.kind, e.link = nil, tar.TypeSymlink, "../../../../etc/passwd"; return e }), "layer 1"},
		"link-absolute":     {replace("-1/layer.tar", func(e entry) entry { e.body, e.kind, e.link = nil, tar.TypeSymlink, "/etc/passwd"; return e }), "layer 1"},
		"link-to-itself":    {replace("-1/layer.tar", func(e entry) entry { e.body, e.kind, e.link = nil, tar.TypeSymlink, "layer.tar"; return e }), "links"},
		"layer-other":       {replace("-1/layer.tar", func(e entry) entry { e.body = tarOf(t, "evil", "x"); return e }), "layer 1"},
		"layer-missing":     {replace("-1/layer.tar", func(e entry) entry { e.name += "x"; return e }), "layer 1"},
		"config-other":      {replace(".json", func(e entry) entry { e.body = bytes.Replace(e.body, []byte("1000"), []byte("0000"), 1); return e }), "configuration"},
		"manifest-no-json":  {replace(manifestFile, func(e entry) entry { e.body = []byte("["); return e }), manifestFile},
		"manifest-huge":     {replace(manifestFile, func(e entry) entry { e.body = make([]byte, maxManifest+1); return e }), "want at most"},
		"images-one-name":   {manifest(saved{"a", []string{"web:1"}, []string{"l"}}, saved{"b", []string{"docker.io/library/web:1"}, []string{"l"}}), "2 images have that name"},
		"image-no-layers":   {manifest(saved{"a", []string{"web:1"}, nil}), "0 layers"},
		"image-no-config":   {manifest(saved{"", []string{"web:1"}, []string{"l"}}), `configuration ""`},
		"fewer-layer-files": {replace(manifestFile, func(e entry) entry { e.body = cutLayers(t, e.body); return e }), "got 1 files and 2 diff ids"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Open(t.Context(), Options{ArchiveFiles: []string{writeTar(t, c.entries...)}, Cache: "-"})
			if err == nil {
				defer r.Close()
				_, err = r.Image(t.Context(), "web:1")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func cutLayers(t *testing.T, raw []byte) []byte {
	t.Helper()
	list := must(parseSaved(raw))(t)
	list[0].Layers = list[0].Layers[:1]
	return mustJSON(t, list)
}

func TestArchiveForm(t *testing.T) {
	img := newImage(t, "base")
	file := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": img})...)
	raw := must(os.ReadFile(file))(t)
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"gzip":  {gzipped(t, raw), "run gunzip first"},
		"zstd":  {append([]byte("\x28\xb5\x2f\xfd"), raw...), "run unzstd first"},
		"empty": {nil, "want an OCI layout"},
		"text":  {[]byte("FROM scratch\n"), "open archive"},
		"cut":   {raw[:len(raw)/2], "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{ArchiveFiles: []string{writeFixture(t, c.content)}, Cache: "-"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), Options{ArchiveFiles: []string{file + ".none"}}); err == nil {
		t.Error("a file that is not there: got no error")
	}
	if _, err := Open(t.Context(), Options{Archives: map[string]string{"Not A Reference": file}}); err == nil {
		t.Error("an archive for what is no reference: got no error")
	}
}

// A sparse file's bytes do not lie in the archive as they are read.
func TestArchiveSparse(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: manifestFile, Typeflag: tar.TypeReg, Size: 2, Format: tar.FormatPAX, PAXRecords: map[string]string{"CLOISTER.abc": "1"}}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("[]")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The library writes no sparse files; the record's key has the same length as one of theirs has.
	raw := bytes.Replace(b.Bytes(), []byte("CLOISTER.abc=1"), []byte("GNU.sparse.x=1"), 1)
	if _, err := Open(t.Context(), Options{ArchiveFiles: []string{writeFixture(t, raw)}, Cache: "-"}); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("got %v, want that sparse files are not read", err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add([]byte(`[{"Config":"a.json","RepoTags":["web:1"],"Layers":["a/layer.tar"]}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseSaved(raw)
		if err != nil && list != nil {
			t.Error("an error and a list")
		}
		for _, s := range list {
			if s.Config == "" || len(s.Layers) == 0 || len(s.Layers) > maxLayers {
				t.Errorf("got %+v", s)
			}
		}
	})
}

// FuzzArchive opens archives of any bytes: no section may lie outside the file, and whatever is found has its digests.
func FuzzArchive(f *testing.F) {
	img := newImage(f, "base", "app")
	for _, file := range []string{
		writeTar(f, savedFiles(f, map[string]*testImage{"web:1": img})...),
		dirTar(f, writeLayout(f, f.TempDir(), map[string]*testImage{"web:1": img})),
	} {
		f.Add(must(os.ReadFile(file))(f))
	}
	ref := must(parseReference("web:1"))(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := newArchive(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		for name, s := range a.files {
			if s.offset < 0 || s.size < 0 || s.offset+s.size > int64(len(raw)) {
				t.Errorf("file %q: got %+v in %d bytes", name, s, len(raw))
			}
		}
		c, err := a.find(t.Context(), ref, platform{os: "linux", arch: "amd64"})
		if err != nil {
			return
		}
		if len(c.layers) == 0 || c.digest != "" && must(v1.NewHash(c.digest))(t).Hex == "" {
			t.Errorf("got %+v", c)
		}
	})
}
