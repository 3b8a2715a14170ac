package layer_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/cloister-cc/cloister/verity/layer"
)

// veritysetup is where Debian's cryptsetup-bin puts it, which is not always in PATH.
func veritysetup(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"veritysetup", "/usr/sbin/veritysetup", "/sbin/veritysetup"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CLOISTER_E2E_REQUIRE") != "" {
		t.Fatal("veritysetup is missing: apt-get install cryptsetup-bin")
	}
	t.Skip("veritysetup is missing: apt-get install cryptsetup-bin")
	return ""
}

// Another program agrees with every disk: data, superblock, tree and root.
func TestVeritysetupAccepts(t *testing.T) {
	program := veritysetup(t)
	for name, in := range fixtures(t) {
		for _, format := range []layer.Format{layer.Ext4, layer.EROFS} {
			t.Run(name+"/"+string(format), func(t *testing.T) {
				res, f := convertTo(t, in, layer.Options{Format: format})
				offset := fmt.Sprintf("--hash-offset=%d", res.DataSize)
				out, err := exec.CommandContext(t.Context(), program, "verify", offset, f.Name(), f.Name(), res.RootHash.String()).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if _, err := f.WriteAt([]byte("x"), res.DataSize-1); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.CommandContext(t.Context(), program, "verify", offset, f.Name(), f.Name(), res.RootHash.String()).CombinedOutput(); err == nil {
					t.Errorf("a changed disk was accepted: %s", out)
				}
			})
		}
	}
}

// The directory is laid out as containerd's documentation says.
func TestCacheContainerdLayout(t *testing.T) {
	in := fixtures(t)["plain"]
	want, _ := convertTo(t, in, layer.Options{Format: layer.EROFS})
	dir := t.TempDir()
	c := layer.Cache{Dir: dir, Format: layer.EROFS, Containerd: true}
	var calls counter
	path, root, err := c.Get(t.Context(), want.DiffID, opener(in, &calls.Int32))
	if err != nil || root != want.RootHash {
		t.Fatalf("got %s, %v, want %s", root, err, want.RootHash)
	}
	digest := want.DiffID[len("sha256:"):]
	if blob := fmt.Sprintf("%s/sha256/%s/%s.erofs", dir, digest[:2], digest); path != blob {
		t.Errorf("path: got %s, want %s", path, blob)
	}
	text, err := os.ReadFile(path + ".dmverity")
	if sidecar := fmt.Sprintf(`{"roothash":"%s","hashoffset":%d}`, root, want.DataSize); err != nil || string(text) != sidecar {
		t.Errorf("sidecar: got %s, %v, want %s", text, err, sidecar)
	}
	for _, file := range []string{path, path + ".dmverity"} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: got %v, %v, want mode 0644", file, info, err)
		}
	}
	entries, err := fs.Glob(os.DirFS(dir), "sha256/*/*")
	if err != nil || len(entries) != 2 {
		t.Errorf("got %q, %v, want the blob and its sidecar only", entries, err)
	}
	if _, _, err := c.Get(t.Context(), want.DiffID, opener(in, &calls.Int32)); err != nil || calls.Load() != 1 {
		t.Errorf("again: %v, layer opened %d times, want once", err, calls.Load())
	}
	for name, damage := range map[string]func() error{
		"missing": func() error { return os.Remove(path + ".dmverity") },
		"other-root": func() error {
			return os.WriteFile(path+".dmverity", []byte(`{"roothash":"00","hashoffset":4096}`), 0o644)
		},
		"no-json": func() error { return os.WriteFile(path+".dmverity", []byte(`junk`), 0o644) },
	} {
		t.Run("sidecar-"+name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.Get(t.Context(), want.DiffID, opener(in, &calls.Int32))
			again, readErr := os.ReadFile(path + ".dmverity")
			if err := errors.Join(err, readErr); err != nil || string(again) != string(text) {
				t.Errorf("got %s, %v, want it written again", again, err)
			}
		})
	}
	if _, _, err := (layer.Cache{Dir: dir, Containerd: true}).Get(t.Context(), want.DiffID, opener(in, &calls.Int32)); err == nil {
		t.Error("ext4 in containerd's layout was accepted")
	}
}
