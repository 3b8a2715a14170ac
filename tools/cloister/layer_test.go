package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// layerCommand runs `cloister layer …` and returns what it printed.
func layerCommand(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newRoot()
	cmd.SetArgs(append([]string{"layer"}, args...))
	cmd.SetIn(bytes.NewReader(stdin))
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return strings.TrimSpace(out.String()), err
}

func layerTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Typeflag: tar.TypeReg, Mode: 0o644, Size: 6}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLayerBuildVerifyRoot(t *testing.T) {
	dir := t.TempDir()
	in, disk, other := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "a.disk"), filepath.Join(dir, "b.disk")
	if err := os.WriteFile(in, layerTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	built, err := layerCommand(t, nil, "build", in, "-o", disk, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var res layer.Result
	if err := json.Unmarshal([]byte(built), &res); err != nil {
		t.Fatalf("%v in %s", err, built)
	}
	root := res.RootHash.String()
	if got, err := layerCommand(t, layerTar(t), "build", "-", "-o", other, "--diff-id", res.DiffID); err != nil || got != root {
		t.Errorf("build from standard input: got %q, %v, want %q", got, err, root)
	}
	a, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two builds of one layer differ")
	}
	for _, args := range [][]string{{"root", disk}, {"verify", disk}, {"verify", disk, "--root", root}} {
		want := root
		if args[0] == "verify" {
			want = "ok " + root
		}
		if got, err := layerCommand(t, nil, args...); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", args, got, err, want)
		}
	}
	printed, err := layerCommand(t, nil, "verify", disk, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var info layerInfo
	if err := json.Unmarshal([]byte(printed), &info); err != nil {
		t.Fatal(err)
	}
	if want := (layerInfo{res.RootHash, verity.Ext4, res.DataSize, res.Size, true}); info != want {
		t.Errorf("verify --json: got %+v, want %+v", info, want)
	}
}

// A layer's root is the only thing on standard output, whatever the format and the compression, and is that of the disk.
func TestLayerRootOfLayer(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.tar")
	if err := os.WriteFile(empty, make([]byte, 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25"
	if got, err := layerCommand(t, nil, "root", empty); err != nil || got != want {
		t.Errorf("empty layer: got %q, %v, want %q", got, err, want)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(layerTar(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	roots := map[string]bool{}
	for _, format := range []string{"ext4", "erofs"} {
		disk := filepath.Join(dir, format)
		if _, err := layerCommand(t, layerTar(t), "build", "--format", format, "-o", disk, "-"); err != nil {
			t.Fatal(err)
		}
		want, err := layerCommand(t, nil, "root", disk)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := layerCommand(t, gz.Bytes(), "root", "--format", format, "-"); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", format, got, err, want)
		}
		printed, err := layerCommand(t, layerTar(t), "root", "--format", format, "--json", "-")
		var res layerResult
		if err := errors.Join(err, json.Unmarshal([]byte(printed), &res)); err != nil || res.RootHash.String() != want || string(res.Format) != format {
			t.Errorf("%s: got %s, %v, want root %q", format, printed, err, want)
		}
		roots[want] = true
	}
	if len(roots) != 2 {
		t.Errorf("got %v, want a root a format", roots)
	}
}

// A long layer is told of on standard error, a short one is not.
func TestLayerProgress(t *testing.T) {
	for size, want := range map[int]string{1 << 10: "", slowLayer: "layer.tar: 64.0 MiB in"} {
		path := filepath.Join(t.TempDir(), "layer.tar")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, told bytes.Buffer
		cmd := newRoot()
		cmd.SetArgs([]string{"layer", "root", "--format", "erofs", path})
		cmd.SetOut(&out)
		cmd.SetErr(&told)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out.Len() != 65 || want == "" && told.Len() > 0 || !strings.HasPrefix(told.String(), want) {
			t.Errorf("%d bytes: got %q and %q, want one root and %q", size, &out, &told, want)
		}
	}
}

func TestLayerVerifyFindsFlippedByte(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if _, err := layerCommand(t, layerTar(t), "build", "-", "-o", disk); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	b[5*verity.BlockSize+100] ^= 1
	if err := os.WriteFile(disk, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = layerCommand(t, nil, "verify", disk)
	var corrupt *verity.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Block != 5 || !corrupt.Data {
		t.Errorf("got %v, want data block 5", err)
	}
}

func TestLayerRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	disk := filepath.Join(dir, "disk")
	if _, err := layerCommand(t, layerTar(t), "build", "-", "-o", disk); err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("0", 64)
	cases := []struct {
		name  string
		args  []string
		usage bool
	}{
		{"no-output", []string{"build", "-"}, true},
		{"no-layer", []string{"build", "-o", out}, true},
		{"absent-layer", []string{"build", filepath.Join(dir, "absent"), "-o", out}, false},
		{"other-diff-id", []string{"build", "-", "-o", out, "--diff-id", "sha256:" + zeros}, false},
		{"malformed-diff-id", []string{"build", "-", "-o", out, "--diff-id", "foo"}, true},
		{"other-root", []string{"verify", disk, "--root", zeros}, false},
		{"malformed-root", []string{"verify", disk, "--root", "xyz"}, true},
		{"unknown-format", []string{"root", "-", "--format", "squashfs"}, true},
		{"unknown-links", []string{"root", "-", "--hard-links", "no"}, true},
		{"root-of-two", []string{"root", "-", "-"}, true},
		{"format-of-a-disk", []string{"root", disk, "--format", "ext4"}, true},
		{"root-of-an-absent-layer", []string{"root", filepath.Join(dir, "absent")}, false},
		{"root-of-other-diff-id", []string{"root", "-", "--diff-id", "sha256:" + zeros}, false},
		{"verify-nothing", []string{"verify"}, true},
		{"root-of-no-disk", []string{"root", os.Args[0]}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := layerCommand(t, layerTar(t), c.args...)
			var usage *usageError
			if err == nil || errors.As(err, &usage) != c.usage {
				t.Errorf("got %v, want a failure (usage: %t)", err, c.usage)
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(dir, "*out*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
