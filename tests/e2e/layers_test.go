package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/verity/layer"
)

// entry is one entry of a test layer.
type entry struct {
	name         string
	kind         byte // tar.TypeReg when 0
	mode         int64
	data         []byte
	link         string
	uid, gid     int
	major, minor int64
	xattrs       map[string]string
	time         time.Time
}

// makeLayer writes a tar and gives it the digest that an image would name it by.
func makeLayer(entries ...entry) (pod.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.name, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.data)), Linkname: e.link, Uid: e.uid, Gid: e.gid,
			Devmajor: e.major, Devminor: e.minor, ModTime: e.time, PAXRecords: map[string]string{},
		}
		if !e.time.IsZero() {
			h.Format = tar.FormatPAX // which has fractions of a second
		}
		for name, value := range e.xattrs {
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeDir {
			h.Mode |= 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return pod.Layer{}, err
		}
		if _, err := w.Write(e.data); err != nil {
			return pod.Layer{}, err
		}
	}
	if err := w.Close(); err != nil {
		return pod.Layer{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return pod.Layer{
		DiffID: "sha256:" + hex.EncodeToString(sum[:]),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
	}, nil
}

// image is the layers of the test containers, base first.
type image struct {
	base, data, top pod.Layer
	blob            []byte // content of /data/blob
	secret          pod.Layer
	foreign         pod.Layer // in no policy
}

// secretFile is the content of a file that only a layer of the secrets case holds.
const secretFile = "secret-in-a-file-3f9d2c81"

var testImage = sync.OnceValues(func() (image, error) {
	program, err := workloadProgram()
	if err != nil {
		return image{}, err
	}
	var img image
	// Random, so that no two blocks are alike and a block in the place of another is seen; seeded, so that roots are stable.
	img.blob = make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(img.blob)
	for _, l := range []struct {
		to      *pod.Layer
		entries []entry
	}{
		{&img.base, []entry{
			{name: "bin/", kind: tar.TypeDir},
			{name: "bin/w", mode: 0o755, data: program},
			{name: "etc/", kind: tar.TypeDir},
			{name: "etc/passwd", data: []byte("root:x:0:0::/:/bin/w\nworker:x:1000:1000::/:/bin/w\n")},
			{name: "etc/group", data: []byte("root:x:0:\nworker:x:1000:\nextra:x:2000:worker\n")},
			{name: "tmp/", kind: tar.TypeDir, mode: 0o1777},
			{name: "data/", kind: tar.TypeDir},
			{name: "data/gone", data: []byte("the top layer removes this")},
			{name: "data/replaced", data: []byte("base")},
			{name: "data/hard", kind: tar.TypeLink, link: "data/replaced"},
		}},
		{&img.data, []entry{{name: "data/", kind: tar.TypeDir}, {name: "data/blob", data: img.blob}}},
		{&img.top, []entry{
			{name: "data/", kind: tar.TypeDir},
			{name: "data/.wh.gone"},
			{name: "data/replaced", data: []byte("top")},
		}},
		{&img.secret, []entry{{name: "data/", kind: tar.TypeDir}, {name: "data/secret", data: []byte(secretFile)}}},
		{&img.foreign, []entry{{name: "data/", kind: tar.TypeDir}, {name: "data/foreign", data: []byte("foreign")}}},
	} {
		if *l.to, err = makeLayer(l.entries...); err != nil {
			return image{}, err
		}
	}
	return img, nil
})

func mustImage(t *testing.T) image {
	t.Helper()
	img, err := testImage()
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// layerCache holds the suite's disks.
func layerCache() layer.Cache { return layer.Cache{Dir: filepath.Join(scratch, "layers")} }

// rootOf is what policies are made with.
func rootOf(ctx context.Context, l pod.Layer) (string, error) {
	cache := layerCache()
	cache.Format = formatOf(l)
	_, root, err := cache.Get(ctx, l.DiffID, l.Open)
	return root.String(), err
}

// erofsLayers are the layers, by diff id, whose disks are EROFS images; all others are ext4.
var erofsLayers sync.Map

func formatOf(l pod.Layer) layer.Format {
	if _, ok := erofsLayers.Load(l.DiffID); ok {
		return layer.EROFS
	}
	return layer.Ext4
}

// convert turns containers into ones that can be plugged.
func convert(t *testing.T, ctx context.Context, containers ...*pod.Container) []*run.Container {
	t.Helper()
	var out []*run.Container
	for _, c := range containers {
		cache := layerCache()
		cache.Format = formatOf(c.Layers[0])
		made, err := run.Convert(ctx, cache, []*pod.Container{c})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, made...)
	}
	return out
}
