package main

import (
	"archive/tar"
	"bytes"
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
