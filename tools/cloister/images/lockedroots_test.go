package images

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity/layer"
)

// forged is a lock file whose entry for web:1 has the image's manifest, changed by pairs of old and new text.
func forged(t *testing.T, layoutDir string, formats []layer.Format, change ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lock")
	r := open(t, Options{Layouts: []string{layoutDir}, Formats: formats})
	must(r.Image(t.Context(), "web:1"))(t)
	text := write(t, r, path)
	changed := strings.NewReplacer(change...).Replace(text)
	if changed == text && len(change) > 0 {
		t.Fatalf("nothing changed in\n%s", text)
	}
	return lockFile(t, changed)
}

func signed(context.Context, SignatureRequest) ([]Signer, error) {
	return []Signer{{"cosign", "x"}}, nil
}

// wantEntryError looks for what a person needs: the member, both values, the manifest, what to do.
func wantEntryError(t *testing.T, err error, member string, more ...string) {
	t.Helper()
	var e *entryError
	if !errors.As(err, &e) || e.member != member {
		t.Errorf("got %v, want an error about the member %q", err, member)
	}
	for _, s := range append(more, "--update-lock", `"web:1"`) {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("got %v, want %q in it", err, s)
		}
	}
}

// Nobody signed a lock file: where a signature is required, its roots count only if the signed layers give them.
func TestVerifyComputesRoots(t *testing.T) {
	img := newImage(t, "base", "app")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	reg := newRegistry(t)
	truth := rootOf(t, img.tars[1])
	lock := forged(t, dir, nil, truth, root1)
	reg.push(t, "library/web:1", img)
	for _, o := range []Options{
		{Layouts: []string{dir}},
		{Registry: true, Mirrors: map[string][]string{"docker.io": {reg.host}}},
	} {
		for _, cache := range []string{"-", t.TempDir()} {
			o.Lock, o.Verify, o.Cache = lock, signed, cache
			for range 2 { // the second time the cache of roots, if there is one, answers
				wantEntryError(t, findErr(t, o, "web:1"), "layers[1]", root1, truth, img.digest)
			}
		}
		o.Lock = forged(t, dir, nil)
		img.check(t, find(t, o, "web:1"))
	}
}

// Roots in a format that nobody asked for stay in the lock file, beside the signers: they are computed too.
func TestVerifyComputesOtherFormats(t *testing.T) {
	img := newImage(t, "base")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	both := []layer.Format{layer.Ext4, layer.EROFS}
	erofs := find(t, Options{Layouts: []string{dir}, Formats: both}, "web:1").Layers[0].EROFS
	err := findErr(t, Options{Layouts: []string{dir}, Lock: forged(t, dir, both, erofs, root1), Verify: signed}, "web:1")
	wantEntryError(t, err, "erofs_layers[0]", root1, erofs)
	got := find(t, Options{Layouts: []string{dir}, Lock: forged(t, dir, both), Verify: signed}, "web:1")
	if got.Layers[0].EROFS != erofs {
		t.Errorf("got EROFS root %q, want %s kept", got.Layers[0].EROFS, erofs)
	}
}

// The same manifest is not enough: configuration and layers of the entry are the image's, with signatures required or not.
func TestLockSameManifestOtherContent(t *testing.T) {
	img := newImage(t, "base", "app")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	config := string(must(img.RawConfigFile())(t))
	ids := fmt.Sprintf(`["%s","%s"]`, sha(img.tars[0]), sha(img.tars[1]))
	roots := fmt.Sprintf(`["%s","%s"]`, rootOf(t, img.tars[0]), rootOf(t, img.tars[1]))
	entry := func(config, members string) string {
		return lockFile(t, fmt.Sprintf(`{"web:1":{"manifest":%q,"config":%s,%s}}`, img.digest, config, members))
	}
	inner := string(mustJSON(t, must(img.ConfigFile())(t).Config))
	for name, c := range map[string]struct{ lock, member, got, want string }{
		"configuration": {entry(strings.Replace(config, `"/w"`, `"/evil"`, 1), `"layers":`+roots), "config", "sha256:", "sha256:"},
		"inner":         {entry(strings.Replace(inner, `"1000"`, `"0"`, 1), `"layers":`+roots), "config", "sha256:", "sha256:"},
		"diff-id":       {entry(inner, `"layers":`+roots+`,"diff_ids":`+strings.Replace(ids, sha(img.tars[1]), "sha256:"+root2, 1)), "diff_ids[1]", root2, sha(img.tars[1])},
		"inner-diff-id": {entry(strings.Replace(config, sha(img.tars[0]), "sha256:"+root2, 1), `"layers":`+roots), "config.rootfs.diff_ids[0]", root2, sha(img.tars[0])},
		"fewer-layers":  {entry(inner, `"layers":["`+root1+`"]`), "layers", "1 layers", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Options{{}, {Verify: signed}, {Formats: []layer.Format{layer.EROFS}}} {
				o.Layouts, o.Lock = []string{dir}, c.lock
				wantEntryError(t, findErr(t, o, "web:1"), c.member, c.got, c.want)
			}
		})
	}
	for _, good := range []string{entry(config, `"layers":`+roots+`,"diff_ids":`+ids), entry(inner, `"layers":`+roots)} {
		find(t, Options{Layouts: []string{dir}, Lock: good}, "web:1")
		img.check(t, find(t, Options{Layouts: []string{dir}, Lock: good, Verify: signed}, "web:1"))
	}
}

// Without required signatures the lock file's roots are taken at its word, unless this user has seen other ones.
func TestLockRootsAgainstCache(t *testing.T) {
	img := newImage(t, "base", "app")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	truth := rootOf(t, img.tars[1])
	o := Options{Layouts: []string{dir}, Lock: forged(t, dir, nil, truth, root1), Cache: t.TempDir()}
	if got := find(t, o, "web:1"); got.Layers[1].Ext4 != root1 {
		t.Errorf("got %+v, want the lock file's root", got.Layers[1])
	}
	find(t, Options{Layouts: o.Layouts, Cache: o.Cache}, "web:1")
	wantEntryError(t, findErr(t, o, "web:1"), "layers[1]", root1, truth)
	archive := writeTar(t, savedFiles(t, map[string]*testImage{"web:1": img})...)
	wantEntryError(t, findErr(t, Options{ArchiveFiles: []string{archive}, Lock: o.Lock, Cache: o.Cache}, "web:1"), "layers[1]", root1, truth)
}
