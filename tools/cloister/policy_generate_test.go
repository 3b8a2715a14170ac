package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const policyPod = `apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
  - {name: app, image: app, command: [/bin/app]}
`

// policyFiles writes a pod and its image, and returns the flags that name them.
func policyFiles(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		t.Fatal(err)
	}
	p, err := layout.Write(filepath.Join(dir, "images", "app"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pod.yaml")
	if err := os.WriteFile(file, []byte(policyPod), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"-f", file, "--images", filepath.Join(dir, "images"), "--cache", filepath.Join(dir, "cache")}
}

func runPolicy(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := newPolicyCommand()
	cmd.SetArgs(append([]string{"generate"}, args...))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestPolicyGenerateOutputs(t *testing.T) {
	files := policyFiles(t)
	text, stderr, err := runPolicy(t, files...)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "package policy\n") || !strings.Contains(text, `"command":["/bin/app"]`) {
		t.Errorf("got policy:\n%s", text)
	}
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	if want := "HOST_DATA " + digest + "\n"; stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}

	encoded, _, err := runPolicy(t, append(files, "--base64")...)
	if err != nil {
		t.Fatal(err)
	}
	if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err != nil || string(decoded) != text {
		t.Errorf("got %q, %v, want the policy in base64", encoded, err)
	}

	out := filepath.Join(t.TempDir(), "policy.rego")
	printed, _, err := runPolicy(t, append(files, "-o", out, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var result policyResult
	if err := json.Unmarshal([]byte(printed), &result); err != nil {
		t.Fatal(err)
	}
	want := policyResult{
		SHA256: digest, HostData: base64.StdEncoding.EncodeToString(sum[:]), HexData: digest, APIVersion: "0.12.0", Bytes: len(text), Output: out,
	}
	if result != want {
		t.Errorf("got %+v, want %+v", result, want)
	}
	if written, err := os.ReadFile(out); err != nil || string(written) != text {
		t.Errorf("got %d bytes in the file, %v, want the policy", len(written), err)
	}
}

func TestPolicyGenerateRefuses(t *testing.T) {
	files := policyFiles(t)
	cases := []struct {
		name  string
		args  []string
		want  string
		usage bool
	}{
		{"no-pod", nil, "no Pod document given", true},
		{"argument", append(files, "x"), `unexpected argument "x"`, true},
		{"unknown-api", append(files, "--api-version", "0.9.0"), "--api-version is", true},
		{"no-images", []string{"-f", files[1], "--images", filepath.Join(t.TempDir(), "none")}, "open images", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := runPolicy(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" {
				t.Fatalf("got %v and output %q, want %q", err, stdout, c.want)
			}
			var usage *usageError
			if errors.As(err, &usage) != c.usage {
				t.Errorf("got usage error %v, want %v", !c.usage, c.usage)
			}
		})
	}
}
