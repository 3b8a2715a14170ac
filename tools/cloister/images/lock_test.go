package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity/layer"
)

const (
	root1 = "8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25"
	root2 = "8a1556eb44be81010330b90c4d22a24637d8247ef938b0f71801a29bfdbd0dbf"
)

func lockFile(t testing.TB, text string) string {
	t.Helper()
	return writeFixture(t, []byte(text))
}

// The smallest entries: an OCI configuration, or its inner part, and roots.
func TestLockSmallEntries(t *testing.T) {
	path := lockFile(t, `{
		"mcr.microsoft.com/aci/skr:2.7": {"config": {"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":["/skr"]},"created":"not a date"}, "layers": ["`+root1+`","`+root2+`"]},
		"nginx": {"config": {"Env":["C=d"],"Entrypoint":["/nginx"],"User":"web"}, "layers": ["`+root1+`"]},
		"Any Text": {"config": {}, "layers": ["`+root2+`"]},
		"roots-only:erofs": {"config": {}, "layers": [], "erofs_layers": ["`+root2+`"]}
	}`)
	o := Options{Lock: path, Locked: true}
	img := find(t, o, "mcr.microsoft.com/aci/skr:2.7")
	if len(img.Layers) != 2 || img.Layers[0].Ext4 != root1 || img.Layers[1].Ext4 != root2 || img.Config.Env[0] != "A=b" || img.Platform != "linux/amd64" {
		t.Errorf("got %+v", img)
	}
	for _, ref := range []string{"nginx", "nginx:latest", "docker.io/library/nginx", "index.docker.io/library/nginx:latest"} {
		if img := find(t, o, ref); img.Config.User != "web" || img.Reference != ref || img.Digest != "" {
			t.Errorf("%s: got %+v", ref, img)
		}
	}
	if img := find(t, o, "Any Text"); img.Layers[0].Ext4 != root2 {
		t.Errorf("got %+v", img)
	}
	if img := find(t, Options{Lock: path, Locked: true, Formats: []layer.Format{layer.EROFS}}, "roots-only:erofs"); img.Layers[0].EROFS != root2 {
		t.Errorf("got %+v", img)
	}
	// Without --locked the file is enough, too: no place is named, none is asked.
	if img := find(t, Options{Lock: path}, "nginx:latest"); img.Layers[0].Ext4 != root1 {
		t.Errorf("got %+v", img)
	}
}

func TestLockRefused(t *testing.T) {
	entry := func(members string) string { return `{"web:1": {` + members + `}}` }
	config, layers := `"config":{},`, `"layers":["`+root1+`"]`
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", "unexpected end of JSON"},
		"null":                {"null", "want an object"},
		"list":                {"[]", "cannot unmarshal"},
		"trailing":            {"{} {}", "invalid character"},
		"entry-null":          {`{"web:1": null}`, `entry "web:1": got null`},
		"entry-twice":         {`{"web:1": {` + config + layers + `}, "web:1": {` + config + layers + `}}`, "web:1"},
		"no-reference":        {`{"": {` + config + layers + `}}`, "reference"},
		"unknown-member":      {entry(config + layers + `,"layer":[]`), `entry "web:1": unknown field "layer"`},
		"other-case":          {entry(config + `"Layers":["` + root1 + `"]`), `unknown field "Layers"`},
		"member-twice":        {entry(config + layers + "," + layers), `duplicate field "layers"`},
		"no-config":           {entry(layers), `member "config" is missing`},
		"no-layers":           {entry(`"config":{}`), `member "layers" is missing`},
		"config-null":         {entry(`"config":null,` + layers), `member "config"`},
		"config-text":         {entry(`"config":"x",` + layers), `member "config"`},
		"config-wrong-type":   {entry(`"config":{"Env":"x"},` + layers), `member "config"`},
		"config-inspect":      {entry(`"config":{"Config":{"Env":[]},"Os":"linux"},` + layers), `want an OCI image configuration`},
		"layers-empty":        {entry(config + `"layers":[]`), `member "layers": got 0 roots`},
		"layers-short-root":   {entry(config + `"layers":["8b48"]`), `member "layers[0]"`},
		"layers-upper-case":   {entry(config + `"layers":["` + strings.ToUpper(root1) + `"]`), `member "layers[0]"`},
		"layers-prefix":       {entry(config + `"layers":["sha256:` + root1 + `"]`), `member "layers[0]"`},
		"layers-too-many":     {entry(config + `"layers":[` + strings.Repeat(`"`+root1+`",`, maxLayers) + `"` + root1 + `"]`), "want 1 to 500"},
		"erofs-count":         {entry(config + `"layers":["` + root1 + `","` + root2 + `"],"erofs_layers":["` + root1 + `"]`), `member "erofs_layers"`},
		"diff-ids-count":      {entry(config + layers + `,"diff_ids":["sha256:` + root1 + `","sha256:` + root2 + `"]`), `member "diff_ids"`},
		"diff-ids-form":       {entry(config + layers + `,"diff_ids":["` + root1 + `"]`), `member "diff_ids[0]"`},
		"diff-ids-differ":     {entry(`"config":{"rootfs":{"diff_ids":["sha256:` + root2 + `"]}},` + layers + `,"diff_ids":["sha256:` + root1 + `"]`), `not the ones of the member "config"`},
		"config-diff-id-form": {entry(`"config":{"rootfs":{"diff_ids":["x"]}},` + layers), `rootfs.diff_ids[0]`},
		"manifest-form":       {entry(config + layers + `,"manifest":"sha256:1"`), `member "manifest"`},
		"manifest-sha512":     {entry(config + layers + `,"manifest":"sha512:` + root1 + root2 + `"`), `member "manifest"`},
		"platform-form":       {entry(config + layers + `,"platform":"amd64"`), `member "platform"`},
		"signer-kind":         {entry(config + layers + `,"signers":[{"kind":"pgp","identity":"x"}]`), `member "signers[0]"`},
		"signer-nobody":       {entry(config + layers + `,"signers":[{"kind":"cosign","identity":""}]`), `member "signers[0]"`},
		"signer-unknown":      {entry(config + layers + `,"signers":[{"kind":"cosign","identity":"x","key":"y"}]`), `signers[0].key`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{Lock: lockFile(t, c.text), Locked: true})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "lock file") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), Options{Lock: lockFile(t, strings.Repeat(" ", maxLock+1)), Locked: true}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge file: got %v", err)
	}
}

func TestLockSpellings(t *testing.T) {
	one := `{"config":{"User":"1"},"layers":["` + root1 + `"]}`
	two := `{"config":{"User":"2"},"layers":["` + root1 + `"]}`
	o := Options{Locked: true, Lock: lockFile(t, `{"nginx":`+one+`,"docker.io/library/nginx:latest":`+two+`}`)}
	if img := find(t, o, "nginx"); img.Config.User != "1" {
		t.Errorf("got %+v, want the entry of the same spelling", img)
	}
	if err := findErr(t, o, "nginx:latest"); !strings.Contains(err.Error(), "are both spellings of it") {
		t.Errorf("got %v", err)
	}
	o.Lock = lockFile(t, `{"nginx":`+one+`,"docker.io/library/nginx:latest":`+one+`}`)
	if img := find(t, o, "nginx:latest"); img.Config.User != "1" {
		t.Errorf("equal entries: got %+v", img)
	}
}

func write(t *testing.T, r *Resolver, path string) string {
	t.Helper()
	if err := r.WriteLock(path); err != nil {
		t.Fatal(err)
	}
	return string(must(os.ReadFile(path))(t))
}

// What was found is written, read back and answers without any place; the same images give the same bytes.
func TestLockRoundTrip(t *testing.T) {
	web, db := newImage(t, "shared", "web"), newImage(t, "shared", "db")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": web, "ghcr.io/me/db:2": db})
	path := filepath.Join(t.TempDir(), "cloister.lock.json")
	refs := []string{"web:1", "docker.io/library/web:1", "ghcr.io/me/db:2"}
	var texts []string
	for _, order := range [][]string{refs, {refs[2], refs[0], refs[1]}} {
		r := open(t, Options{Layouts: []string{dir}})
		if _, err := r.All(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, write(t, r, path))
	}
	if texts[0] != texts[1] {
		t.Errorf("two runs wrote\n%s\nand\n%s", texts[0], texts[1])
	}
	want := fmt.Sprintf("{\n  \"docker.io/library/web:1\": {\n    \"manifest\": %q,\n    \"platform\": \"linux/amd64\",\n    \"config\": {\n", web.digest)
	if !strings.HasPrefix(texts[0], want) || !strings.HasSuffix(texts[0], "  }\n}\n") {
		t.Errorf("got\n%s\nwant the form\n%s", texts[0], want)
	}
	l := must(ParseLock([]byte(`{"a":{"config":{"Env":["A=<&>"]},"layers":["` + root1 + `"]}}`)))(t)
	if text := must(l.marshal())(t); !strings.Contains(string(text), `"A=<&>"`) {
		t.Errorf("got %s, want a configuration's text as it was written", text)
	}
	r := open(t, Options{Lock: path, Locked: true})
	for ref, img := range map[string]*testImage{"web:1": web, "ghcr.io/me/db:2": db, "index.docker.io/library/web:1": web} {
		got := must(r.Image(t.Context(), ref))(t)
		img.check(t, got)
		if got.Digest != img.digest {
			t.Errorf("got digest %q, want %s", got.Digest, img.digest)
		}
	}
	before := must(os.Stat(path))(t)
	if text := write(t, r, path); text != texts[0] {
		t.Errorf("read and written again:\n%s\nwant\n%s", text, texts[0])
	}
	if after := must(os.Stat(path))(t); !os.SameFile(before, after) {
		t.Error("an unchanged file was replaced")
	}
}

// check2 compares roots and configuration only.
func (i *testImage) check2(t *testing.T, got *Image) {
	t.Helper()
	for n, l := range got.Layers {
		if want := rootOf(t, i.tars[n]); l.Ext4 != want {
			t.Errorf("layer %d: got %s, want %s", n, l.Ext4, want)
		}
	}
	if len(got.Layers) != len(i.tars) || got.Config.WorkingDir != "/w" {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"nginx":{"config":{},"layers":["` + root1 + `"]}}`))
	f.Add([]byte(`{"nginx":{"manifest":"sha256:` + root1 + `","platform":"linux/amd64","config":{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"diff_ids":["sha256:` + root2 + `"]}},
		"layers":["` + root1 + `"],"erofs_layers":["` + root2 + `"],"diff_ids":["sha256:` + root2 + `"],"signers":[{"kind":"cosign","identity":"x"}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := ParseLock(raw)
		if err != nil {
			if l != nil {
				t.Error("an error and a lock")
			}
			return
		}
		// What is read can be written, and reads as the same.
		text, err := l.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseLock(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		twice, err := again.marshal()
		if err != nil || !bytes.Equal(text, twice) {
			t.Errorf("got %s, want %s (%v)", twice, text, err)
		}
		for ref, e := range l.entries {
			a, _ := json.Marshal(e.image(ref, platform{}))
			b, _ := json.Marshal(again.entries[ref].image(ref, platform{}))
			if !bytes.Equal(a, b) {
				t.Errorf("got %s, want %s", b, a)
			}
		}
	})
}
