package guest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecord(t *testing.T) {
	r := parseRecord("Package: crun\nVersion: 1.8\nPre-Depends: libc6 (>= 2.34)\nDepends: a:any | b (<< 2), c\nDescription: d\n Package: fake\nFilename: pool/crun.deb\nSHA256: ab")
	want := Package{Name: "crun", Version: "1.8", SHA256: "ab", Pool: "pool/crun.deb"}
	if diff := cmp.Diff(want, r.Package); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"libc6"}, {"a", "b"}, {"c"}}, r.depends); diff != "" {
		t.Error(diff)
	}
}

// aptKnows is an apt-cache that has the packages given as name and Depends, each in a file of the mirror.
func aptKnows(t *testing.T, packages map[string]string) {
	t.Helper()
	mirror := fakeApt(t, "apt-cache", `rc=0; for a; do case "$a" in show|--*) ;; *) cat "$MIRROR/$a" 2>/dev/null || rc=100;; esac; done; exit $rc`)
	for name, depends := range packages {
		writeTest(t, mirror+"/"+name, fmt.Sprintf("Package: %s\nVersion: 1\nDepends: %s\nFilename: pool/%s.deb\nSHA256: %s\n\n", name, depends, name, testSum))
	}
}

func TestCandidates(t *testing.T) {
	aptKnows(t, map[string]string{"crun": "libc6, virtual | libcap2, gone", "libc6": "libgcc (>= 1)", "libcap2": "libc6", "libgcc": "libc6", "linux": "kmod"})
	found, err := candidates(t.Context(), []string{"crun"}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if got := packageNames(found); got != "crun libc6 libcap2 libgcc" {
		t.Errorf("got %q", got)
	}
	found, err = candidates(t.Context(), []string{"linux"}, func(string) bool { return false })
	if err != nil || packageNames(found) != "linux" {
		t.Errorf("nothing to follow: got %q, %v, want %q", packageNames(found), err, "linux")
	}
}

func TestCandidatesUnknownRoot(t *testing.T) {
	aptKnows(t, nil)
	_, err := candidates(t.Context(), []string{"crun"}, func(string) bool { return true })
	if err == nil || !strings.Contains(err.Error(), `"crun"`) || !strings.Contains(err.Error(), "apt-get update") {
		t.Errorf("got %v, want the package and the way out", err)
	}
}

func packageNames(packages []Package) string {
	var names []string
	for _, p := range packages {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
