package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func testImage() *image {
	return &image{kind: Production, vmlinuz: []byte("kernel"), initrd: []byte("initrd"), packages: []byte("{}\n"), agent: []byte("agent")}
}

func TestWriteImage(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "a", "b")
	result, err := testImage().write(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: got mode %v (%v), want 0644", e.Name(), info.Mode(), err)
		}
	}
	want := []string{"SHA256SUMS", "cmdline", "initrd.img", "measurements.json", "packages.json", "vmlinuz"}
	if !slices.Equal(names, want) {
		t.Errorf("got files %q, want %q", names, want)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("beside the image lies something else: %v", left)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if got := result.Measurements.Cmdline.Size; got != int64(len(Cmdline)+1) {
		t.Errorf("measured command line: got %d bytes, want %d with the ending NUL", got, len(Cmdline)+1)
	}
	if cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline")); string(cmdline) != Cmdline {
		t.Errorf("cmdline: got %q (%v), want %q", cmdline, err, Cmdline)
	}
}

// TestMeasurements pins the file's form: another program reads it.
func TestMeasurements(t *testing.T) {
	img := testImage()
	img.kind, img.emulator = Development, []byte("emulator")
	golden(t, "measurements.json", measured(t, img))
}

func measured(t *testing.T, img *image) []byte {
	t.Helper()
	m, err := img.measure()
	if err != nil {
		t.Fatal(err)
	}
	b, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReplaceImage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	for _, kernel := range []string{"old", "new"} {
		img := testImage()
		img.vmlinuz = []byte(kernel)
		if err := checkReplaceable(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := img.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, FileKernel)); string(got) != "new" {
		t.Errorf("got kernel %q (%v), want the new one", got, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("beside the image lies something else: %v", left)
	}
}

// TestBuildKeepsForeignDirectory is a user who names the wrong directory: nothing in it is lost.
func TestBuildKeepsForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	writeTest(t, filepath.Join(dir, "thesis.txt"), "years of work")
	_, err := Build(t.Context(), Options{Out: dir})
	if err == nil || !strings.Contains(err.Error(), `it holds "thesis.txt"`) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "thesis.txt")); err != nil {
		t.Error(err)
	}
}
