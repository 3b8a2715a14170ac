package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// An image comes from the registry's mirror.
func TestRegistryFlags(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	tr := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(tr.CloseIdleConnections)
	tag, err := name.NewTag(host + "/hub/library/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, webImage(t), remote.WithTransport(tr)); err != nil {
		t.Fatal(err)
	}
	flags := []string{"generate", "--image", "web:1", "--outraw", "--cache", t.TempDir()}
	mirror := "docker.io=" + host + "/hub"
	stdout, _, err := policyCommand(t, "", append(flags, "--mirror", mirror, "--plain-http", "registry.example:5000", "--containerd-namespace", "k8s.io")...)
	if err != nil || !strings.Contains(stdout, "MADE_FOR=test") {
		t.Errorf("got %v, %.400s", err, stdout)
	}
	for _, m := range []string{"docker.io", "=" + host, "docker.io="} {
		_, _, err := policyCommand(t, "", append(flags, "--mirror", m)...)
		if err == nil || !strings.Contains(err.Error(), "want REGISTRY=MIRROR") || exitCode(err) != exitUsage {
			t.Errorf("%s: got %v (exit code %d)", m, err, exitCode(err))
		}
	}
}

// webImage has one layer, an empty tar.
func webImage(t *testing.T) v1.Image {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 1024))), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", "amd64"
	c.Config.Cmd, c.Config.Env = []string{"/web"}, []string{"MADE_FOR=test"}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}
