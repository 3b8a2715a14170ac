package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

var update = flag.Bool("update", false, "write the golden files anew")

// oneImage answers every reference.
type oneImage struct{}

func (oneImage) Image(_ context.Context, reference string) (*pod.Image, error) {
	return &pod.Image{
		Digest: "sha256:" + strings.Repeat("0", 64),
		Config: v1.Config{Env: []string{"PATH=/bin", "LANG=C", "IP=none"}, Entrypoint: []string{"/entry"}, Cmd: []string{"go"}, WorkingDir: "/image"},
		Layers: []pod.Layer{{DiffID: "sha256:base"}, {DiffID: "sha256:" + reference}},
		Accounts: &pod.AccountFiles{
			Passwd: []byte("root:x:0:0::/:\nweb:x:33:44::/:\n"), Group: []byte("root:x:0:\nweb:x:44:\nlogs:x:70:web\n"),
		},
	}, nil
}

// fakeRoots gives each layer a root that only depends on its diff id.
func fakeRoots(_ context.Context, l pod.Layer) (string, error) {
	sum := sha256.Sum256([]byte(l.DiffID))
	return hex.EncodeToString(sum[:]), nil
}

func doc(name, text string) workload.Document {
	return workload.Document{Name: name, Data: []byte(text)}
}

var testOptions = Options{Seccomp: map[string]string{"RuntimeDefault": strings.Repeat("5", 64)}}

func readEverything(t *testing.T) *File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "everything.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := Read(workload.Document{Name: "everything.yaml", Data: text}, nil, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func resolve(t *testing.T, w *Workload) []*pod.Container {
	t.Helper()
	containers, err := w.Pod.Resolve(t.Context(), oneImage{})
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
	return containers
}

func policyOf(t *testing.T, w *Workload) []byte {
	t.Helper()
	text, err := policygen.Generate(t.Context(), resolve(t, w), fakeRoots, policygen.Options{})
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
	return text
}
