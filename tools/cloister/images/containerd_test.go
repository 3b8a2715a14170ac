package images

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// fakeContainerd answers for images and content as containerd does: by namespace, content in messages of some size.
type fakeContainerd struct {
	socket string
	spaces map[string]*space
}

type fakeImages struct {
	imagesapi.UnimplementedImagesServer
	*fakeContainerd
}

type fakeContent struct {
	contentapi.UnimplementedContentServer
	*fakeContainerd
}

type space struct {
	images map[string]*types.Descriptor
	blobs  map[string][]byte
}

func newContainerd(t *testing.T) *fakeContainerd {
	t.Helper()
	dir := must(os.MkdirTemp("", "ctrd"))(t) // a socket's path must be short
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &fakeContainerd{socket: filepath.Join(dir, "s"), spaces: map[string]*space{}}
	l := must(net.Listen("unix", c.socket))(t)
	s := grpc.NewServer()
	imagesapi.RegisterImagesServer(s, fakeImages{fakeContainerd: c})
	contentapi.RegisterContentServer(s, fakeContent{fakeContainerd: c})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// add stores an image under a name, as a pull does.
func (c *fakeContainerd) add(t *testing.T, namespace, name string, img *testImage) *space {
	t.Helper()
	s, ok := c.spaces[namespace]
	if !ok {
		s = &space{map[string]*types.Descriptor{}, map[string][]byte{}}
		c.spaces[namespace] = s
	}
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"": img})
	for _, e := range must(os.ReadDir(filepath.Join(dir, "blobs/sha256")))(t) {
		s.blobs["sha256:"+e.Name()] = must(os.ReadFile(filepath.Join(dir, "blobs/sha256", e.Name())))(t)
	}
	s.images[name] = &types.Descriptor{MediaType: string(must(img.MediaType())(t)), Digest: img.digest, Size: must(img.Size())(t)}
	return s
}

func (c *fakeContainerd) space(ctx context.Context) (*space, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ns := md.Get("containerd-namespace")
	if len(ns) != 1 {
		return nil, status.Error(codes.FailedPrecondition, "namespace is required")
	}
	if s, ok := c.spaces[ns[0]]; ok {
		return s, nil
	}
	return &space{}, nil
}

func (c fakeImages) Get(ctx context.Context, req *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	s, err := c.space(ctx)
	if err != nil {
		return nil, err
	}
	d, ok := s.images[req.Name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "image %q: not found", req.Name)
	}
	return &imagesapi.GetImageResponse{Image: &imagesapi.Image{Name: req.Name, Target: d}}, nil
}

func (c fakeContent) Info(ctx context.Context, req *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	s, err := c.space(ctx)
	if err != nil {
		return nil, err
	}
	raw, ok := s.blobs[req.Digest]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "content %s: not found", req.Digest)
	}
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: req.Digest, Size: int64(len(raw))}}, nil
}

func (c fakeContent) Read(req *contentapi.ReadContentRequest, out contentapi.Content_ReadServer) error {
	s, err := c.space(out.Context())
	if err != nil {
		return err
	}
	raw, ok := s.blobs[req.Digest]
	if !ok {
		return status.Errorf(codes.NotFound, "content %s: not found", req.Digest)
	}
	for at := 0; at < len(raw); at += 100 {
		if err := out.Send(&contentapi.ReadContentResponse{Offset: int64(at), Data: raw[at:min(at+100, len(raw))]}); err != nil {
			return err
		}
	}
	return nil
}

func TestContainerd(t *testing.T) {
	t.Setenv("CONTAINERD_NAMESPACE", "")
	c := newContainerd(t)
	web, db := newImage(t, "base", "web"), newImage(t, "base", "db")
	c.add(t, "default", "docker.io/library/web:1", web)
	c.add(t, "k8s.io", "ghcr.io/me/db:2", db)
	for _, address := range []string{c.socket, "unix://" + c.socket} {
		o := Options{Containerd: address}
		web.check(t, find(t, o, "web:1"))
		db.check(t, find(t, o, "ghcr.io/me/db:2"))
		web.check(t, find(t, o, "web@"+web.digest))
	}
	if got := find(t, Options{Containerd: c.socket, Namespace: "default"}, "web:1"); got.Digest != web.digest {
		t.Errorf("digest: got %s, want %s", got.Digest, web.digest)
	}
	for ref, o := range map[string]Options{
		"ghcr.io/me/db:2":             {Containerd: c.socket, Namespace: "default"},
		"web:2":                       {Containerd: c.socket},
		"web@" + db.digest[:70] + "0": {Containerd: c.socket},
	} {
		if err := findErr(t, o, ref); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.socket) {
			t.Errorf("%s: got %v", ref, err)
		}
	}
	t.Setenv("CONTAINERD_NAMESPACE", "moby")
	if err := findErr(t, Options{Containerd: c.socket}, "web:1"); !strings.Contains(err.Error(), "namespace moby") {
		t.Errorf("got %v", err)
	}
}

func TestContainerdAmbiguous(t *testing.T) {
	c := newContainerd(t)
	one, two := newImage(t, "one"), newImage(t, "two")
	c.add(t, "default", "docker.io/library/web:1", one)
	c.add(t, "k8s.io", "docker.io/library/web:1", two)
	if err := findErr(t, Options{Containerd: c.socket}, "web:1"); !strings.Contains(err.Error(), "--containerd-namespace") {
		t.Errorf("got %v", err)
	}
	one.check(t, find(t, Options{Containerd: c.socket, Namespace: "default"}, "web:1"))
}

// containerd's word is compared like a registry's; what it did not keep is looked for elsewhere.
func TestContainerdContent(t *testing.T) {
	img := newImage(t, "base", "app")
	m := must(img.Manifest())(t)
	layer1 := m.Layers[1].Digest.String()
	for name, c := range map[string]struct {
		digest string
		change func(raw []byte) []byte
		want   string
	}{
		"manifest": {img.digest, func(raw []byte) []byte { return append([]byte(" "), raw[1:]...) }, "want " + img.digest},
		"config":   {m.Config.Digest.String(), func(raw []byte) []byte { return append([]byte(" "), raw[1:]...) }, "configuration"},
		"longer":   {layer1, func(raw []byte) []byte { return append(raw, 0) }, "layer 1"},
		"shorter":  {layer1, func(raw []byte) []byte { return raw[:len(raw)-1] }, "layer 1"},
		"other":    {layer1, func([]byte) []byte { return gzipped(t, tarOf(t, "x", "y")) }, "layer 1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newContainerd(t)
			s := d.add(t, "k8s.io", "docker.io/library/web:1", img)
			s.blobs[c.digest] = c.change(s.blobs[c.digest])
			if err := findErr(t, Options{Containerd: d.socket}, "web:1"); errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	d := newContainerd(t)
	s := d.add(t, "k8s.io", "docker.io/library/web:1", img)
	delete(s.blobs, layer1)
	if err := findErr(t, Options{Containerd: d.socket}, "web:1"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "discard_unpacked_layers") {
		t.Errorf("got %v", err)
	}
	r := newRegistry(t)
	ref := r.push(t, "web:1", img)
	s = d.add(t, "default", ref, img)
	delete(s.blobs, m.Config.Digest.String())
	img.check(t, find(t, Options{Containerd: d.socket, Registry: true}, ref))
}

func TestContainerdUnreachable(t *testing.T) {
	if _, err := Open(t.Context(), Options{Containerd: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a socket that is not there: got no error")
	}
	if _, err := Open(t.Context(), Options{Containerd: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "want a content store") {
		t.Errorf("a directory without blobs: got %v", err)
	}
	dead := writeFixture(t, nil) // a file that nobody listens on
	if err := findErr(t, Options{Containerd: dead}, "web:1"); !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v", err)
	}
}

func TestContentDir(t *testing.T) {
	img := newImage(t, "base", "app")
	root := t.TempDir()
	dir := writeLayout(t, filepath.Join(root, "io.containerd.content.v1.content"), map[string]*testImage{"": img})
	for _, at := range []string{root, dir} {
		img.check(t, find(t, Options{Containerd: at}, "web@"+img.digest))
		if err := findErr(t, Options{Containerd: at}, "web:1"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "knows digests only") {
			t.Errorf("got %v", err)
		}
		if err := findErr(t, Options{Containerd: at}, "web@"+sha(nil)); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
}
