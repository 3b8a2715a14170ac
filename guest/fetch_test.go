package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeApt puts a shell script called name first in PATH; $MIRROR is a directory of the test.
func fakeApt(t *testing.T, name, script string) (mirror string) {
	t.Helper()
	bin, mirror := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("MIRROR", mirror)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return mirror
}

// aptCopies is apt-get for a mirror that has everything: it names files as apt does, with the epoch.
const aptCopies = `for a; do :; done; cp "$MIRROR/${a%%=*}_1.0_amd64.deb" "./${a%%=*}_1%3a1.0_amd64.deb"; echo x >> "$MIRROR/asked"`

func TestFetchDownloadsOnce(t *testing.T) {
	mirror := fakeApt(t, "apt-get", aptCopies)
	p := makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "x"}})
	for range 2 {
		files, err := fetch(t.Context(), []Package{p}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifyFile(files["a"], p); err != nil {
			t.Error(err)
		}
	}
	if asked, err := os.ReadFile(filepath.Join(mirror, "asked")); string(asked) != "x\n" {
		t.Errorf("the mirror was asked %d times (%v), want once", len(asked)/2, err)
	}
}

func TestFetchDoesNotTrustTheCache(t *testing.T) {
	mirror := fakeApt(t, "apt-get", aptCopies)
	p := makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "x"}})
	cache, err := cacheDir("debs")
	if err != nil {
		t.Fatal(err)
	}
	writeTest(t, filepath.Join(cache, p.File()), "not a package")
	files, err := fetch(t.Context(), []Package{p}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyFile(files["a"], p); err != nil {
		t.Error(err)
	}
}

func TestFetchRefusesOtherBytes(t *testing.T) {
	mirror := fakeApt(t, "apt-get", aptCopies)
	p := makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "locked"}})
	makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "other"}})
	_, err := fetch(t.Context(), []Package{p}, "", nil)
	if err == nil || !strings.Contains(err.Error(), "locked version and other bytes") {
		t.Errorf("got %v", err)
	}
	if cache, _ := cacheDir("debs"); verifyFile(filepath.Join(cache, p.File()), p) == nil {
		t.Error("the refused package is in the cache")
	}
}

func TestFetchWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	p := Package{Name: "a", Version: "1", SHA256: testSum, Pool: "pool/a_1_amd64.deb"}
	if _, err := fetch(t.Context(), []Package{p}, "", nil); err == nil || !strings.Contains(err.Error(), "--packages DIR") {
		t.Errorf("got %v, want a way out", err)
	}
}

func TestFetchFromDirectory(t *testing.T) {
	dir := t.TempDir()
	a := makeDeb(t, dir, "a", [][2]string{{"usr/lib/x", "x"}})
	b := makeDeb(t, dir, "b", [][2]string{{"usr/lib/y", "y"}})
	// What apt-get download leaves behind is taken too.
	if err := os.Rename(filepath.Join(dir, b.File()), filepath.Join(dir, "b_1%3a1.0_amd64.deb")); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t.Context(), []Package{a, b}, dir, nil); err != nil {
		t.Error(err)
	}
	writeTest(t, filepath.Join(dir, a.File()), "other")
	missing := Package{Name: "c", Version: "1", SHA256: testSum, Pool: "pool/c_1_amd64.deb"}
	_, err := fetch(t.Context(), []Package{a, b, missing}, dir, nil)
	for _, want := range []string{`package "a" at`, "want " + a.SHA256, `package "c"`, "no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}
