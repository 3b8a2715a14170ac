package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testSum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseModules(t *testing.T) {
	production, development, err := parseModules([]byte("# c\n[production]\nvirtio_pci\nsev-guest: gcm ctr ?aesni_intel # why\n[development]\ncuse\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Module{{Name: "virtio_pci"}, {Name: "sev-guest", Needs: []string{"gcm", "ctr"}, Soft: []string{"aesni_intel"}}}
	if diff := cmp.Diff(want, production); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Module{{Name: "cuse"}}, development); diff != "" {
		t.Error(diff)
	}
}

func TestParseModulesRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"before-section", "ext4\n", `line 1: module "ext4" stands before the first section`},
		{"twice", "[production]\nsev-guest\n[development]\nsev_guest\n", `line 4: module "sev_guest" is listed twice`},
		{"path", "[production]\n../ext4\n", `line 2: got "../ext4", want a module name`},
		{"needs-path", "[production]\next4: a/b\n", `module "ext4" needs "a/b": want a module name`},
		{"unknown-section", "[test]\next4\n", `got "[test]", want a module name`},
		{"empty", "[development]\ncuse\n", "no module in section [production]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := parseModules([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseLockRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"fields", "crun 1\n", "line 1: got 2 fields"},
		{"short-sum", "crun 1 0123 pool/crun.deb\n", `got SHA-256 "0123"`},
		{"upper-case-sum", "crun 1 " + strings.ToUpper(testSum) + " pool/crun.deb\n", "lower-case"},
		{"no-deb", "crun 1 " + testSum + " pool/crun.tar\n", `got path "pool/crun.tar"`},
		{"parent", "crun 1 " + testSum + " pool/../../crun.deb\n", "below the mirror"},
		{"absolute", "crun 1 " + testSum + " /pool/crun.deb\n", "below the mirror"},
		{"option", "-o 1 " + testSum + " pool/crun.deb\n", `package name "-o"`},
		{"twice", "crun 1 " + testSum + " pool/crun.deb\ncrun 2 " + testSum + " pool/crun.deb\n", `line 2: package "crun" is listed twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseLock([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLockRoundTrip(t *testing.T) {
	packages := []Package{
		{Name: "libcap2", Version: "1:2.66-4", SHA256: testSum, Pool: "pool/libcap2_2.66-4_amd64.deb"},
		{Name: "crun", Version: "1.8", SHA256: testSum, Pool: "pool/crun_1.8_amd64.deb"},
	}
	got, err := ParseLock(FormatLock(packages))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(packages) // the file is sorted
	if diff := cmp.Diff(packages, got); diff != "" {
		t.Error(diff)
	}
}

// TestRecipe holds the recipe to what the agent and the design count on.
func TestRecipe(t *testing.T) {
	recipe, err := LoadRecipe("")
	if err != nil {
		t.Fatal(err)
	}
	names := func(modules []Module) []string {
		var all []string
		for _, m := range modules {
			all = append(all, m.Name)
		}
		return all
	}
	for _, name := range []string{
		"dm_verity", "dm_crypt", "dm_integrity", "virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "virtio_console", "virtio_net", "vsock",
		"vmw_vsock_virtio_transport", "vsock_loopback", "ext4", "overlay", "erofs", "sev-guest", "inet_diag", "tcp_diag", "unix_diag",
	} {
		if !slices.Contains(names(recipe.Production), name) {
			t.Errorf("module %q is not on the production list", name)
		}
	}
	for _, name := range []string{"cuse", "fuse", "configfs"} {
		if slices.Contains(names(recipe.Production), name) || !slices.Contains(names(recipe.Development), name) {
			t.Errorf("module %q: want it on the development list only", name)
		}
	}
	for _, name := range []string{"crun", "e2fsprogs", "libc6"} {
		if !slices.ContainsFunc(recipe.Packages, func(p Package) bool { return p.Name == name }) {
			t.Errorf("package %q is not locked", name)
		}
	}
}

func TestFindSource(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "tools", "cloister")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := FindSource(deep); got != "" {
		t.Errorf("without go.mod: got %q, want none", got)
	}
	writeTest(t, filepath.Join(root, "go.mod"), "module example.com/other\n")
	if got := FindSource(deep); got != "" {
		t.Errorf("in another module: got %q, want none", got)
	}
	writeTest(t, filepath.Join(root, "go.mod"), "module "+modulePath+"\n\ngo 1.26.8\n")
	if got := FindSource(deep); got != root {
		t.Errorf("got %q, want %q", got, root)
	}
}

func writeTest(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
