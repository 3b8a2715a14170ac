package images

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/cloister-cc/cloister/verity/layer"
)

// entryError says that a lock file's entry contradicts the very image that it names: the file was changed, or made by a
// version of this program that made other roots.
type entryError struct {
	reference, lock string
	member          string // "layers[0]"
	got, want       string // the entry's, and the image's
	image           string // its manifest and where it is
}

func (e *entryError) Error() string {
	return fmt.Sprintf("image %s: lock file %q: member %q: got %.2048s, want %.2048s, which %s has (look who changed the lock file; --update-lock makes the entry from the image)",
		quote(e.reference), e.lock, e.member, e.got, e.want, e.image)
}

func (r *Resolver) entryError(ref reference, c *candidate, member, got, want string) error {
	return &entryError{reference: ref.text, lock: r.opts.Lock, member: member, got: got, want: want, image: c.name() + " in " + c.place}
}

// contradiction holds an entry against the image whose manifest it names.
func (r *Resolver) contradiction(ref reference, e *lockEntry, c *candidate) error {
	if !sameConfig(e.config, c.config) {
		return r.entryError(ref, c, "config", innerDigest(e.config), innerDigest(c.config))
	}
	for _, f := range []layer.Format{layer.Ext4, layer.EROFS} {
		if n := len(e.roots(f)); n != 0 && n != len(c.layers) {
			return r.entryError(ref, c, member(f), fmt.Sprintf("%d layers", n), fmt.Sprint(len(c.layers)))
		}
	}
	name := "diff_ids"
	if len(e.DiffIDs) == 0 {
		name = "config.rootfs.diff_ids"
	}
	for i, id := range e.diffIDs() { // as many as roots: the entry was checked when it was read
		if want := c.layers[i].diffID; id != want {
			return r.entryError(ref, c, fmt.Sprintf("%s[%d]", name, i), id, want)
		}
	}
	return nil
}

// member is an entry's name for the roots of a format.
func member(f layer.Format) string {
	if f == layer.EROFS {
		return "erofs_layers"
	}
	return "layers"
}

// innerDigest tells configurations apart by what a policy is made of.
func innerDigest(c imageConfig) string {
	raw, err := json.Marshal(c.doc.Config)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("sha256:%x of its inner configuration", sha256.Sum256(raw))
}

// againstCache holds an entry's roots against those that this user has seen for the same layers.
func (r *Resolver) againstCache(ref reference, e *lockEntry, c *candidate) error {
	for _, f := range []layer.Format{layer.Ext4, layer.EROFS} {
		for i, got := range e.roots(f) {
			if i >= len(c.layers) {
				break
			}
			if want, ok := r.cache.get(c.layers[i].diffID, f); ok && got != want {
				return r.entryError(ref, c, fmt.Sprintf("%s[%d]", member(f), i), got, want)
			}
		}
	}
	return nil
}

// againstLayers holds an entry's roots against those that were found in the image's layers.
func (r *Resolver) againstLayers(ref reference, e *lockEntry, c *candidate, found []Layer) error {
	image := (&lockEntry{}).with(found)
	for _, f := range []layer.Format{layer.Ext4, layer.EROFS} {
		got, want := e.roots(f), image.roots(f)
		if len(got) == 0 {
			continue
		}
		if len(got) != len(want) {
			return r.entryError(ref, c, member(f), fmt.Sprintf("%d roots", len(got)), fmt.Sprint(len(want)))
		}
		for i := range got {
			if got[i] != want[i] {
				return r.entryError(ref, c, fmt.Sprintf("%s[%d]", member(f), i), got[i], want[i])
			}
		}
	}
	return nil
}
