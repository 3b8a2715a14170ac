package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// aptNotFound is what apt-get says when the machine's lists are old or empty.
const aptNotFound = "echo \"E: Version '1:1.0' for 'a' was not found\" >&2; exit 100"

// aptLists is apt-get on a machine whose lists are empty until somebody updates them. Each run leaves a line in $MIRROR/ran.
const aptLists = `for a; do case $a in update|download) verb=$a;; esac; done; echo $verb >> "$MIRROR/ran"
if [ $verb = update ]; then touch "$MIRROR/lists"; exit 0; fi
[ -e "$MIRROR/lists" ] || { ` + aptNotFound + `; }
for a; do :; done; cp "$MIRROR/${a%%=*}_1.0_amd64.deb" "./${a%%=*}_1%3a1.0_amd64.deb"`

func ran(t *testing.T, mirror string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(mirror, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func cacheForTest(t *testing.T) string {
	t.Helper()
	cache, err := cacheDir("debs")
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// TestDownloadUpdatesListsOnce is a fresh container: the build mends the lists itself, once, and says so.
func TestDownloadUpdatesListsOnce(t *testing.T) {
	mirror := fakeApt(t, "apt-get", aptLists)
	p := makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "x"}})
	var said []string
	a := apt{root: true, progress: func(line string) { said = append(said, line) }}
	cache := cacheForTest(t)
	if err := a.download(t.Context(), []Package{p}, cache); err != nil {
		t.Fatal(err)
	}
	if err := verifyFile(filepath.Join(cache, p.File()), p); err != nil {
		t.Error(err)
	}
	if got := ran(t, mirror); got != "download update download" {
		t.Errorf("apt-get ran %q, want download, update, download", got)
	}
	if len(said) != 1 || !strings.Contains(said[0], "was not found") || !strings.Contains(said[0], "apt-get update once") {
		t.Errorf("said %q, want what failed and what is done about it", said)
	}
}

// TestDownloadTellsOthersToUpdate: without root the lists are not ours to fetch.
func TestDownloadTellsOthersToUpdate(t *testing.T) {
	mirror := fakeApt(t, "apt-get", aptLists)
	p := makeDeb(t, mirror, "a", [][2]string{{"usr/lib/x", "x"}})
	err := apt{}.download(t.Context(), []Package{p}, cacheForTest(t))
	var e *MirrorError
	if !errors.As(err, &e) || e.Updated {
		t.Fatalf("got %v, want a MirrorError", err)
	}
	for _, want := range []string{"a=1:1.0", "was not found", "run: apt-get update", "cloister guest lock --update", "--packages DIR"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %q", err, want)
		}
	}
	if got := ran(t, mirror); got != "download" {
		t.Errorf("apt-get ran %q, want download alone", got)
	}
}

// TestDownloadDroppedVersion is a mirror that no longer has a version: after one update the message names both ways out, and not a third try.
func TestDownloadDroppedVersion(t *testing.T) {
	mirror := fakeApt(t, "apt-get", `for a; do case $a in update|download) verb=$a;; esac; done; echo $verb >> "$MIRROR/ran"; [ $verb = update ] || { `+aptNotFound+`; }`)
	p := Package{Name: "a", Version: "1:1.0", SHA256: testSum, Pool: "pool/a_1.0_amd64.deb"}
	err := apt{root: true}.download(t.Context(), []Package{p}, cacheForTest(t))
	var e *MirrorError
	if !errors.As(err, &e) || !e.Updated {
		t.Fatalf("got %v, want a MirrorError after an update", err)
	}
	for _, want := range []string{"a=1:1.0", "was not found", "package lists are new", "cloister guest lock --update", "--packages DIR"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %q", err, want)
		}
	}
	if got := ran(t, mirror); got != "download update download" {
		t.Errorf("apt-get ran %q, want one update", got)
	}
}

// TestDownloadUpdateFails is a machine without a network: both words are told.
func TestDownloadUpdateFails(t *testing.T) {
	fakeApt(t, "apt-get", `for a; do case $a in update) echo "E: no route" >&2; exit 100;; esac; done; `+aptNotFound)
	p := Package{Name: "a", Version: "1:1.0", SHA256: testSum, Pool: "pool/a_1.0_amd64.deb"}
	err := apt{root: true}.download(t.Context(), []Package{p}, cacheForTest(t))
	if err == nil || !strings.Contains(err.Error(), "was not found") || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "--packages DIR") {
		t.Errorf("got %v, want both failures and a way out", err)
	}
}
