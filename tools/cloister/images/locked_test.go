package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity/layer"
)

func TestLockedLooksNothingUp(t *testing.T) {
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": newImage(t, "web")})
	o := Options{Locked: true, Lock: lockFile(t, `{}`), Layouts: []string{dir, "/does/not/exist"}, Registry: true, Containerd: "/does/not/exist"}
	err := findErr(t, o, "web:1")
	if !errors.Is(err, ErrLocked) || !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `"web:1"`) || !strings.Contains(err.Error(), "once with --save-lock") {
		t.Errorf("got %v", err)
	}
	o.Lock = lockFile(t, `{"web:1":{"config":{},"layers":["`+root1+`"]}}`)
	o.Formats = []layer.Format{layer.Ext4, layer.EROFS}
	if err := findErr(t, o, "web:1"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "no erofs roots") {
		t.Errorf("got %v", err)
	}
	for _, o := range []Options{{Locked: true}, {Locked: true, Lock: o.Lock, Update: true}} {
		if _, err := Open(t.Context(), o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
	// A platform is part of what was locked.
	o = Options{Locked: true, Platform: "linux/arm64", Lock: lockFile(t, `{"a":{"config":{"os":"linux","architecture":"amd64"},"layers":["`+root1+`"]},
		"b":{"config":{},"platform":"linux/amd64","layers":["`+root1+`"]},"c":{"config":{},"layers":["`+root1+`"]}}`)}
	for _, ref := range []string{"a", "b"} {
		if err := findErr(t, o, ref); !strings.Contains(err.Error(), "for linux/amd64, want linux/arm64") {
			t.Errorf("got %v", err)
		}
	}
	find(t, o, "c")
}

func TestLockChanged(t *testing.T) {
	old, changed, kept := newImage(t, "old"), newImage(t, "new"), newImage(t, "kept")
	path := filepath.Join(t.TempDir(), "cloister.lock.json")
	first := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": old, "kept:1": kept})
	r := open(t, Options{Layouts: []string{first}, Lock: path})
	must(r.All(t.Context(), []string{"web:1", "kept:1"}))(t)
	text := write(t, r, path)
	second := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": changed})

	err := findErr(t, Options{Layouts: []string{second}, Lock: path}, "web:1")
	var e *ChangedError
	if !errors.As(err, &e) || e.Old != old.digest || e.New != changed.digest || !strings.Contains(err.Error(), "--update-lock") {
		t.Errorf("got %v, want old and new digest", err)
	}
	// Without the layout the entry answers; with the one it came from, too.
	old.check(t, find(t, Options{Lock: path}, "web:1"))
	old.check(t, find(t, Options{Lock: path, Layouts: []string{first}}, "web:1"))

	r = open(t, Options{Layouts: []string{second}, Lock: path, Update: true})
	changed.check(t, must(r.Image(t.Context(), "docker.io/library/web:1"))(t))
	updated := write(t, r, path)
	if updated == text || strings.Contains(updated, old.digest) || !strings.Contains(updated, kept.digest) || strings.Count(updated, "web:1") != 1 {
		t.Errorf("got\n%s\nwant the new image under the old entry's spelling, and the other entry kept", updated)
	}
	if err := findErr(t, Options{Layouts: []string{second}, Lock: path, Update: true}, "kept:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an update of what cannot be found: got %v", err)
	}
}

// An archive has the same image under no digest, or another: content decides.
func TestLockSameContent(t *testing.T) {
	img, other := newImage(t, "base", "app"), newImage(t, "base", "other")
	same := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": img})...)
	differs := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": other})...)
	layout := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	path := filepath.Join(t.TempDir(), "lock")
	r := open(t, Options{Layouts: []string{layout}})
	must(r.Image(t.Context(), "web:1"))(t)
	write(t, r, path)

	config := string(must(img.RawConfigFile())(t))
	roots := fmt.Sprintf(`["%s","%s"]`, rootOf(t, img.tars[0]), rootOf(t, img.tars[1]))
	for name, lock := range map[string]string{
		"written":    path,
		"whole":      lockFile(t, `{"web:1":{"config":`+config+`,"layers":`+roots+`}}`),
		"inner-only": lockFile(t, `{"web:1":{"config":`+string(mustJSON(t, must(img.ConfigFile())(t).Config))+`,"layers":`+roots+`}}`),
	} {
		t.Run(name, func(t *testing.T) {
			img.check2(t, find(t, Options{Lock: lock, ArchiveFiles: []string{same}}, "web:1"))
			var e *ChangedError
			if err := findErr(t, Options{Lock: lock, ArchiveFiles: []string{differs}}, "web:1"); !errors.As(err, &e) || e.Old == e.New {
				t.Errorf("got %v, want that it changed", err)
			}
		})
	}
	// Only the configuration differs.
	c := strings.Replace(config, `"/w"`, `"/other"`, 1)
	lock := lockFile(t, `{"web:1":{"config":`+c+`,"layers":`+roots+`}}`)
	if err := findErr(t, Options{Lock: lock, ArchiveFiles: []string{same}}, "web:1"); !strings.Contains(err.Error(), "configuration") {
		t.Errorf("got %v", err)
	}
	// Only a root differs, and nothing else is known of the layers.
	inner := string(mustJSON(t, must(img.ConfigFile())(t).Config))
	lock = lockFile(t, `{"web:1":{"config":`+inner+`,"layers":["`+root1+`","`+root2+`"]}}`)
	if err := findErr(t, Options{Lock: lock, ArchiveFiles: []string{same}}, "web:1"); !strings.Contains(err.Error(), root1) {
		t.Errorf("got %v, want both lists of roots", err)
	}
}

// A second format is added to an entry whose image is still the same one; what is known is not read again.
func TestLockSecondFormat(t *testing.T) {
	img := newImage(t, "base", "app")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	path := filepath.Join(t.TempDir(), "lock")
	r := open(t, Options{Layouts: []string{dir}})
	must(r.Image(t.Context(), "web:1"))(t)
	write(t, r, path)
	both := []layer.Format{layer.Ext4, layer.EROFS}
	r = open(t, Options{Layouts: []string{dir}, Lock: path, Formats: both})
	img.check(t, must(r.Image(t.Context(), "web:1"))(t))
	write(t, r, path)
	got := find(t, Options{Lock: path, Locked: true, Formats: both}, "web:1")
	img.check(t, got)
	for i, l := range got.Layers {
		res := must(layer.Root(t.Context(), bytes.NewReader(img.tars[i]), layer.Options{Format: layer.EROFS}))(t)
		if l.EROFS != res.RootHash.String() {
			t.Errorf("layer %d: got EROFS root %s, want %s", i, l.EROFS, res.RootHash)
		}
	}
	// One pass makes both.
	fresh := find(t, Options{Layouts: []string{dir}, Formats: both}, "web:1")
	if fmt.Sprint(fresh.Layers) != fmt.Sprint(got.Layers) {
		t.Errorf("got %+v, want %+v", fresh.Layers, got.Layers)
	}
}

func TestSignatures(t *testing.T) {
	img := newImage(t, "base")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	path := filepath.Join(t.TempDir(), "lock")
	by := []Signer{{Kind: "cosign", Identity: "key:sha256:" + root1}}
	var asked []SignatureRequest
	verify := func(_ context.Context, r SignatureRequest) ([]Signer, error) {
		asked = append(asked, r)
		if r.Recorded != nil {
			return r.Recorded, nil
		}
		_, raw, err := r.Store.Manifest(t.Context(), r.Digest)
		if err != nil || sha(raw) != img.digest {
			return nil, fmt.Errorf("got %s, %w", raw, err)
		}
		return by, nil
	}
	r := open(t, Options{Layouts: []string{dir}, Verify: verify})
	got := must(r.Image(t.Context(), "web:1"))(t)
	if fmt.Sprint(got.Signers) != fmt.Sprint(by) || len(asked) != 1 || asked[0].Repository != "docker.io/library/web" || asked[0].Tag != "1" || asked[0].Digest != img.digest {
		t.Errorf("got %+v, asked %+v", got, asked)
	}
	if text := write(t, r, path); !strings.Contains(text, by[0].Identity) {
		t.Errorf("got\n%s", text)
	}
	// Locked, those who were recorded are judged; the store answers nothing.
	got = find(t, Options{Lock: path, Locked: true, Verify: verify}, "web:1")
	last := asked[len(asked)-1]
	if _, _, err := last.Store.Manifest(t.Context(), img.digest); !errors.Is(err, ErrLocked) || fmt.Sprint(got.Signers) != fmt.Sprint(by) || last.Digest != img.digest {
		t.Errorf("got %+v, %v, %+v", got, err, last)
	}
	refuse := func(context.Context, SignatureRequest) ([]Signer, error) { return nil, errors.New("nobody signed") }
	for _, o := range []Options{{Lock: path, Locked: true}, {Lock: path, Layouts: []string{dir}}, {Layouts: []string{dir}}} {
		o.Verify = refuse
		if err := findErr(t, o, "web:1"); !strings.Contains(err.Error(), "nobody signed") {
			t.Errorf("got %v", err)
		}
	}
	// With an entry but without a place to look, signatures that are required cannot be checked.
	if err := findErr(t, Options{Lock: path, Verify: verify}, "web:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	archive := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": img})...)
	if err := findErr(t, Options{ArchiveFiles: []string{archive}, Verify: verify}, "web:1"); !strings.Contains(err.Error(), "no signature can be checked") {
		t.Errorf("got %v", err)
	}
	// The same content under another manifest does not inherit signatures.
	var e *ChangedError
	if err := findErr(t, Options{Lock: path, ArchiveFiles: []string{archive}, Verify: verify}, "web:1"); !errors.As(err, &e) {
		t.Errorf("got %v", err)
	}
}
