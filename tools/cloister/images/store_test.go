package images

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// signatureOf is an image of one small layer, as cosign attaches them.
func signatureOf(t *testing.T, text string) v1.Image {
	t.Helper()
	l := static.NewLayer([]byte(text), "application/vnd.dev.cosign.simplesigning.v1+json")
	img := must(mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: l}))(t)
	return mutate.ConfigMediaType(img, types.OCIConfigJSON)
}

func cosignTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

// storeOf is the store that a check of signatures would get.
func storeOf(t *testing.T, o Options, ref string) Store {
	t.Helper()
	var s Store
	o.Verify = func(_ context.Context, r SignatureRequest) ([]Signer, error) {
		s = r.Store
		return []Signer{{"cosign", "x"}}, nil
	}
	find(t, o, ref)
	return s
}

// Signatures lie beside the image: under cosign's tag, or as a referrer.
func TestStores(t *testing.T) {
	t.Setenv("CONTAINERD_NAMESPACE", "")
	img := newImage(t, "base")
	bySig := signatureOf(t, "by tag")
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: must(img.Digest())(t), Size: must(img.Size())(t)}
	byRef, ok := mutate.Subject(signatureOf(t, "by referrer"), subject).(v1.Image)
	if !ok {
		t.Fatal("the library's image with a subject is no image")
	}
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))(t)
	for name, i := range map[string]v1.Image{"web:1": img, "web:" + cosignTag(img.digest): bySig, "": byRef} {
		var opts []layout.Option
		if name != "" {
			opts = append(opts, layout.WithAnnotations(map[string]string{refNameAnnotation: name}))
		}
		if err := p.AppendImage(i, opts...); err != nil {
			t.Fatal(err)
		}
	}
	// What "cosign save" writes has kinds in place of names.
	saved := t.TempDir()
	p = must(layout.Write(saved, empty.Index))(t)
	for kind, i := range map[string]v1.Image{"image": img, "sigs": bySig} {
		if err := p.AppendImage(i, layout.WithAnnotations(map[string]string{kindAnnotation: cosignKind + kind})); err != nil {
			t.Fatal(err)
		}
	}
	r := newRegistry(t)
	ref := r.push(t, "web:1", img)
	r.push(t, "web:"+cosignTag(img.digest), bySig)
	r.push(t, "web@"+must(byRef.Digest())(t).String(), byRef)
	old := newRegistry(t) // without the interface for referrers
	oldRef := old.push(t, "web:1", img)
	old.push(t, "web:"+cosignTag(img.digest), bySig)
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: byRef})
	if err := remote.WriteIndex(must(name.NewTag(old.host+"/web:"+strings.Replace(img.digest, ":", "-", 1)))(t), index, client(t)); err != nil {
		t.Fatal(err)
	}
	old.intercept(refuseReferrers)
	tagged := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	p = must(layout.FromPath(tagged))(t)
	if err := p.AppendImage(bySig, layout.WithAnnotations(map[string]string{refNameAnnotation: cosignTag(img.digest)})); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{refNameAnnotation: strings.Replace(img.digest, ":", "-", 1)})); err != nil {
		t.Fatal(err)
	}
	c := newContainerd(t)
	c.add(t, "default", "docker.io/library/web:1", img)
	c.add(t, "default", "docker.io/library/web:"+cosignTag(img.digest), &testImage{Image: bySig, digest: must(bySig.Digest())(t).String()})

	for name, at := range map[string]struct {
		o         Options
		ref       string
		referrers int
	}{
		"layout":       {Options{Layouts: []string{dir}}, "web:1", 1},
		"tagged":       {Options{Layouts: []string{tagged}}, "web:1", 1},
		"archive":      {Options{ArchiveFiles: []string{dirTar(t, dir)}}, "web:1", 1},
		"cosign-save":  {Options{Archives: map[string]string{"web:1": saved}}, "web:1", 0},
		"registry":     {Options{Registry: true}, ref, 1},
		"old-registry": {Options{Registry: true}, oldRef, 1},
		"containerd":   {Options{Containerd: c.socket}, "web:1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOf(t, at.o, at.ref)
			d, raw, err := s.Manifest(t.Context(), cosignTag(img.digest))
			if err != nil || d.Digest != must(bySig.Digest())(t) || sha(raw) != d.Digest.String() {
				t.Fatalf("signature: got %s %s, %v", d.Digest, raw, err)
			}
			doc := must(parseDocument(raw, d.MediaType))(t)
			if blob, err := s.Blob(t.Context(), doc.Layers[0]); err != nil || string(blob) != "by tag" {
				t.Errorf("payload: got %q, %v", blob, err)
			}
			list, err := s.Referrers(t.Context(), img.digest)
			if err != nil || len(list) != at.referrers {
				t.Fatalf("referrers: got %v, %v, want %d", list, err, at.referrers)
			}
			for _, d := range list {
				if _, raw, err := s.Manifest(t.Context(), d.Digest.String()); err != nil || sha(raw) != d.Digest.String() {
					t.Errorf("referrer %s: got %s, %v", d.Digest, raw, err)
				}
			}
			for _, none := range []string{"no-such-tag", sha([]byte("none")), cosignTag(sha(nil)) + "x"} {
				if _, _, err := s.Manifest(t.Context(), none); !errors.Is(err, ErrNotFound) {
					t.Errorf("manifest %s: got %v, want that there is none", none, err)
				}
			}
			if _, err := s.Referrers(t.Context(), "latest"); err == nil {
				t.Error("referrers of what is no digest: got no error")
			}
			d = doc.Layers[0]
			d.Size = maxSideBlob + 1
			if _, err := s.Blob(t.Context(), d); err == nil || !strings.Contains(err.Error(), "want at most") {
				t.Errorf("a huge blob: got %v", err)
			}
		})
	}
}
