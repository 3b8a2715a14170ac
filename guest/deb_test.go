package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeDeb builds a package with dpkg-deb from files given as path and content; "-> x" is a symlink to x and "= x" a
// hard link to the file x.
func makeDeb(t *testing.T, dir, name string, files [][2]string) Package {
	t.Helper()
	root := filepath.Join(t.TempDir(), name)
	writeTest(t, filepath.Join(root, "DEBIAN", "control"),
		fmt.Sprintf("Package: %s\nVersion: 1:1.0\nArchitecture: amd64\nMaintainer: Test <test@example.com>\nDescription: test\n", name))
	for _, f := range files {
		file := filepath.Join(root, f[0])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(f[1], "-> "); ok {
			err = os.Symlink(target, file)
		} else if target, ok := strings.CutPrefix(f[1], "= "); ok {
			err = os.Link(filepath.Join(root, target), file)
		} else {
			err = os.WriteFile(file, []byte(f[1]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(dir, name+"_1.0_amd64.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "-b", root, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb (Debian's package dpkg): %v\n%s", err, out)
	}
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return Package{Name: name, Version: "1:1.0", SHA256: hex.EncodeToString(sum[:]), Pool: "pool/" + filepath.Base(deb)}
}

// openDebs opens packages whose files are in dir.
func openDebs(t *testing.T, dir string, packages ...Package) (*packageSet, error) {
	t.Helper()
	files, err := fetch(t.Context(), packages, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := openPackages(t.Context(), packages, files, nil)
	if set != nil {
		t.Cleanup(func() { _ = set.Close() })
	}
	return set, err
}

func TestPackageSetResolves(t *testing.T) {
	dir := t.TempDir()
	a := makeDeb(t, dir, "a", [][2]string{
		{"lib/x86_64-linux-gnu/liba.so.1.0", "liba"},
		{"lib/x86_64-linux-gnu/liba.so.1", "-> liba.so.1.0"},
		{"lib64/ld.so", "-> /lib/x86_64-linux-gnu/liba.so.1"},
		{"usr/bin/prog", "= lib/x86_64-linux-gnu/liba.so.1.0"},
		{"usr/lib/loop", "-> loop"},
		{"usr/lib/out", "-> ../../../etc/passwd"},
	})
	b := makeDeb(t, dir, "b", [][2]string{{"usr/lib/b", "-> x86_64-linux-gnu/liba.so.1"}})
	set, err := openDebs(t, dir, a, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/usr/lib/x86_64-linux-gnu/liba.so.1", "lib/x86_64-linux-gnu/liba.so.1.0", "lib64/ld.so", "usr/bin/prog", "lib/b"} {
		if got, err := set.read(name); err != nil || string(got) != "liba" {
			t.Errorf("read %q: got %q, %v, want %q", name, got, err, "liba")
		}
	}
	for name, want := range map[string]string{"usr/lib/loop": "too many symbolic links", "usr/lib/out": "file does not exist", "usr/lib/none": "file does not exist"} {
		if _, err := set.read(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("read %q: got %v, want %q", name, err, want)
		}
	}
}

func TestPackageSetRefusesOneFileTwice(t *testing.T) {
	dir := t.TempDir()
	a := makeDeb(t, dir, "a", [][2]string{{"lib/x", "a"}})
	b := makeDeb(t, dir, "b", [][2]string{{"usr/lib/x", "b"}})
	if _, err := openDebs(t, dir, a, b); err == nil || !strings.Contains(err.Error(), `"usr/lib/x" is in package "a" too`) {
		t.Errorf("got %v", err)
	}
}

// TestPackageSetVerifiesWhatItUnpacks changes the file after it was fetched.
func TestPackageSetVerifiesWhatItUnpacks(t *testing.T) {
	dir := t.TempDir()
	a := makeDeb(t, dir, "a", [][2]string{{"usr/lib/x", "locked"}})
	makeDeb(t, dir, "a", [][2]string{{"usr/lib/x", "swapped"}})
	set := newPackageSet()
	defer set.Close()
	if err := set.add(t.Context(), a, filepath.Join(dir, a.File())); err == nil || !strings.Contains(err.Error(), "want "+a.SHA256) {
		t.Errorf("got %v, want a refusal that names the locked digest", err)
	}
}
