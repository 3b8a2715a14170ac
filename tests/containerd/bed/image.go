package bed

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	digests "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is the name of the registry that all images of the tests are in. It resolves nowhere: each node is told that its own server is that registry.
const Registry = "registry.test"

// Ref is the reference of one of the tests' images.
func Ref(name string) string { return Registry + "/" + name + ":latest" }

// File is one entry of a layer made here.
type File struct {
	Name string // without a leading slash; a directory ends with one
	Mode int64
	Data []byte
}

// buildImages makes the images of the demo (nginx; client, which is busybox) and what is derived from them: "pause", "work" (client with the program of the tests in the VM)
// and "deep", with 30 layers.
func (p *Programs) buildImages(ctx context.Context, out string) error {
	dir := filepath.Join(p.Images, Registry)
	if _, err := run(ctx, p.Source, nil, "go", "run", "./demo/images", "-o", dir); err != nil {
		return err
	}
	work := filepath.Join(out, "workload")
	_, err := run(ctx, p.Source, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", work, "./tests/e2e/workload")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(work)
	if err != nil {
		return err
	}
	client := filepath.Join(dir, "client")
	for _, image := range []struct {
		name   string
		layers [][]File
		change func(*v1.ImageConfig)
	}{
		{"pause", nil, func(c *v1.ImageConfig) {
			c.User, c.Entrypoint, c.Cmd = "0", []string{"/usr/bin/sleep", "2147483647"}, nil
		}},
		{"work", [][]File{{{"usr/bin/w", 0o755, program}}}, func(c *v1.ImageConfig) { c.User, c.WorkingDir = "0", "/" }},
		{"deep", deepLayers(), func(c *v1.ImageConfig) { c.User, c.WorkingDir = "0", "/" }},
	} {
		if err := Derive(client, filepath.Join(dir, image.name), image.layers, image.change); err != nil {
			return fmt.Errorf("image %q: %w", image.name, err)
		}
	}
	return nil
}

// deepLayers make 30 layers of client's three.
func deepLayers() [][]File {
	var layers [][]File
	for i := 4; i <= 30; i++ {
		layers = append(layers, []File{{fmt.Sprintf("srv/layer/%d", i), 0o644, fmt.Appendf(nil, "%d\n", i)}, {"srv/top", 0o644, fmt.Appendf(nil, "%d\n", i)}})
	}
	return layers
}

// Derive writes an OCI layout of another image with layers on top.
func Derive(from, to string, layers [][]File, change func(*v1.ImageConfig)) error {
	image, err := openLayout(from)
	if err != nil {
		return err
	}
	made := to + ".new"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(made, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for _, l := range image.manifest.Layers {
		if err := os.Link(blob(from, l.Digest), blob(made, l.Digest)); err != nil {
			return err
		}
	}
	for _, files := range layers {
		data, err := layerTar(files)
		if err != nil {
			return err
		}
		d, err := putBlob(made, v1.MediaTypeImageLayer, data)
		if err != nil {
			return err
		}
		image.manifest.Layers = append(image.manifest.Layers, d)
		image.config.RootFS.DiffIDs = append(image.config.RootFS.DiffIDs, d.Digest)
	}
	image.config.History = nil
	change(&image.config.Config)
	if err := image.write(made); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(made, to)
}

// layoutImage is the one image of a layout.
type layoutImage struct {
	manifest v1.Manifest
	config   v1.Image
}

func blob(dir string, d digests.Digest) string {
	return filepath.Join(dir, "blobs", "sha256", d.Encoded())
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func openLayout(dir string) (*layoutImage, error) {
	var index v1.Index
	if err := readJSON(filepath.Join(dir, v1.ImageIndexFile), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("layout %q: got %d images, want one", dir, len(index.Manifests))
	}
	var image layoutImage
	if err := readJSON(blob(dir, index.Manifests[0].Digest), &image.manifest); err != nil {
		return nil, err
	}
	return &image, readJSON(blob(dir, image.manifest.Config.Digest), &image.config)
}

// write puts configuration, manifest and index into a layout whose layers are there.
func (i *layoutImage) write(dir string) error {
	config, err := putJSON(dir, v1.MediaTypeImageConfig, i.config)
	if err != nil {
		return err
	}
	i.manifest.Config = config
	manifest, err := putJSON(dir, v1.MediaTypeImageManifest, i.manifest)
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{v1.AnnotationRefName: "latest"}
	manifest.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644)
}

func putJSON(dir, mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return putBlob(dir, mediaType, data)
}

func putBlob(dir, mediaType string, data []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digests.FromBytes(data), Size: int64(len(data))}
	return d, os.WriteFile(blob(dir, d.Digest), data, 0o644)
}

// layerTar has the parents of each entry, once.
func layerTar(files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	seen := map[string]bool{".": true}
	var dirs func(name string) error
	dirs = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		if err := dirs(path.Dir(name)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)})
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name, "/") {
			if err := dirs(strings.TrimSuffix(f.Name, "/")); err != nil {
				return nil, err
			}
			continue
		}
		if err := dirs(path.Dir(f.Name)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: f.Name, Typeflag: tar.TypeReg, Mode: f.Mode, Size: int64(len(f.Data)), ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
