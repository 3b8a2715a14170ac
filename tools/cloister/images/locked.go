package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cloister-cc/cloister/verity/layer"
)

// ChangedError says that a reference means another image than the lock file has.
type ChangedError struct {
	Reference string
	Lock      string
	Old, New  string // what tells them apart: "sha256:…" of the manifest, or the layers
	Place     string // where the new one is
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("image %s: it changed: lock file %q has %s, %s has %s (if that is meant, take the new one with --update-lock)",
		quote(e.Reference), e.Lock, e.Old, e.Place, e.New)
}

// fromLock answers with an entry. Layouts and archives that the caller gave are compared with it; containerd and the registry
// are asked only for what the entry lacks: a format's roots, or signatures that are to be checked.
func (r *Resolver) fromLock(ctx context.Context, text, key string, e *lockEntry) (*Image, error) {
	if p := e.platform(r.platform); p != r.platform {
		return nil, fmt.Errorf("image %s: lock file %q has it for %s, want %s (replace the entry with --update-lock)", quote(text), r.opts.Lock, p, r.platform)
	}
	lacking := r.lacking(e)
	if r.opts.Locked {
		return r.onlyLocked(ctx, text, e, lacking)
	}
	ref, err := parseReference(text)
	if err != nil {
		if len(lacking) == 0 && r.opts.Verify == nil {
			return e.image(text, r.platform), nil // an entry for this very text, which no other place could have
		}
		return nil, err
	}
	c, _, err := r.searchGiven(ctx, ref)
	if err != nil {
		return nil, err
	}
	needed := len(lacking) > 0 || r.opts.Verify != nil
	if c == nil && needed {
		if c, err = r.search(ctx, ref); err != nil {
			return nil, err
		}
	}
	if c == nil {
		return e.image(text, r.platform), nil
	}
	if err := r.compare(ctx, ref, e, c); err != nil {
		return nil, err
	}
	if err := r.againstCache(ref, e, c); err != nil {
		return nil, err
	}
	if !needed {
		return e.image(text, r.platform), nil
	}
	if r.opts.Verify != nil && e.Manifest != "" && c.digest != e.Manifest {
		// The same content under another manifest has other signatures, or none.
		return nil, &ChangedError{Reference: text, Lock: r.opts.Lock, Old: e.Manifest, New: c.name(), Place: c.place}
	}
	return r.take(ctx, ref, key, c, e)
}

// onlyLocked answers without looking at anything else. Who requires signatures judges those that were recorded.
func (r *Resolver) onlyLocked(ctx context.Context, text string, e *lockEntry, lacking []layer.Format) (*Image, error) {
	if len(lacking) > 0 {
		return nil, fmt.Errorf("image %s: lock file %q has no %s roots for it: %w (to add them, run the same command once with --save-lock in place of --locked)",
			quote(text), r.opts.Lock, lacking[0], ErrLocked)
	}
	img := e.image(text, r.platform)
	if r.opts.Verify == nil {
		return img, nil
	}
	req := SignatureRequest{Reference: text, Digest: e.Manifest, Store: lockedStore{}, Recorded: slices.Clone(e.Signers)}
	if ref, err := parseReference(text); err == nil {
		req.Repository, req.Tag = ref.repository(), ref.tag
	}
	signers, err := r.opts.Verify(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("image %s: lock file %q: %w", quote(text), r.opts.Lock, err)
	}
	img.Signers = signers
	return img, nil
}

// compare tells whether a candidate is the image of an entry: by manifest digest, with which everything else that the entry
// tells must agree; else by what decides about its policy, configuration and diff ids (an archive has the same image under
// another manifest); else, for entries with nothing but roots, by the roots.
func (r *Resolver) compare(ctx context.Context, ref reference, e *lockEntry, c *candidate) error {
	if e.Manifest != "" && e.Manifest == c.digest {
		return r.contradiction(ref, e, c)
	}
	ids := e.diffIDs()
	changed := &ChangedError{Reference: ref.text, Lock: r.opts.Lock, Old: e.Manifest, New: c.digest, Place: c.place}
	switch {
	case len(ids) > 0 && slices.Equal(ids, c.diffIDs()) && sameConfig(e.config, c.config):
		return nil
	case e.Manifest != "" && c.digest != "":
		return changed
	case !sameConfig(e.config, c.config):
		changed.Old, changed.New = "another configuration", c.name()
		return changed
	case len(ids) > 0:
		changed.Old, changed.New = fmt.Sprintf("layers %.2048s", fmt.Sprint(ids)), fmt.Sprintf("layers %.2048s", fmt.Sprint(c.diffIDs()))
		return changed
	}
	return r.compareRoots(ctx, ref, e, c, changed)
}

func (r *Resolver) compareRoots(ctx context.Context, ref reference, e *lockEntry, c *candidate, changed *ChangedError) error {
	for _, f := range []layer.Format{layer.Ext4, layer.EROFS} {
		want := e.roots(f)
		if len(want) == 0 {
			continue
		}
		found, err := r.layers(ctx, ref.text, c, []layer.Format{f})
		if err != nil {
			return err
		}
		got := (&lockEntry{}).with(found).roots(f)
		if !slices.Equal(got, want) {
			changed.Old, changed.New = fmt.Sprintf("%s roots %.2048s", f, fmt.Sprint(want)), fmt.Sprint(got)
			return changed
		}
	}
	return nil
}

// with is the entry with the roots of layers.
func (e *lockEntry) with(layers []Layer) *lockEntry {
	return entryOf(&Image{Layers: layers}, e.config)
}

// complete gives an image the roots that the entry of the same image has.
func (e *lockEntry) complete(img *Image) {
	for i := range img.Layers {
		if len(e.Layers) == len(img.Layers) {
			img.Layers[i].Ext4 = e.Layers[i]
		}
		if len(e.EROFSLayers) == len(img.Layers) {
			img.Layers[i].EROFS = e.EROFSLayers[i]
		}
	}
}

// sameConfig compares what a policy is made of: the inner configurations.
func sameConfig(a, b imageConfig) bool {
	x, errX := json.Marshal(a.doc.Config)
	y, errY := json.Marshal(b.doc.Config)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// sameContent tells whether two candidates would give one policy.
func sameContent(a, b *candidate) bool {
	return a.digest != "" && a.digest == b.digest || slices.Equal(a.diffIDs(), b.diffIDs()) && sameConfig(a.config, b.config)
}

// write replaces the file, unless it is the same already.
func (l *Lock) write() error {
	text, err := l.marshal()
	if err != nil {
		return fmt.Errorf("lock file %q: %w", l.path, err)
	}
	if len(text) > maxLock {
		return fmt.Errorf("lock file %q: got %d bytes, want at most %d", l.path, len(text), maxLock)
	}
	old, err := os.ReadFile(l.path)
	if err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lock file: %w", err)
	}
	if err := writeFile(l.path, text, 0o644); err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	return nil
}
