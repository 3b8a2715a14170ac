package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// maxLock bounds a lock file: some ten thousand images.
const maxLock = 64 << 20

// Lock is a lock file: what each reference was when it was found.
type Lock struct {
	path    string
	entries map[string]*lockEntry
	named   map[string][]string // keys by what they are spellings of
}

// lockEntry is one image. Only Config and Layers have to be there.
type lockEntry struct {
	Manifest    string          `json:"manifest,omitempty"` // digest of the platform's manifest
	Platform    string          `json:"platform,omitempty"`
	Config      json.RawMessage `json:"config"` // OCI image configuration, or its inner part alone
	Layers      []string        `json:"layers"` // ext4 roots, base first; empty only beside EROFSLayers
	EROFSLayers []string        `json:"erofs_layers,omitempty"`
	DiffIDs     []string        `json:"diff_ids,omitempty"`
	Signers     []Signer        `json:"signers,omitempty"`

	config imageConfig
}

// ReadLock reads a lock file. One that is not there is empty.
func ReadLock(path string) (*Lock, error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{path: path, entries: map[string]*lockEntry{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	defer f.Close()
	raw, err := readBounded(f, "lock file", maxLock)
	if err != nil {
		return nil, fmt.Errorf("lock file %q: %w", path, err)
	}
	l, err := ParseLock(raw)
	if err != nil {
		return nil, fmt.Errorf("lock file %q: %w", path, err)
	}
	l.path = path
	return l, nil
}

// ParseLock reads a lock file's bytes. What it does not know it refuses, naming entry and member: a misspelt member would
// otherwise be a root that is not used.
func ParseLock(raw []byte) (*Lock, error) {
	var byReference map[string]json.RawMessage
	if err := strictly(raw, &byReference); err != nil {
		return nil, err
	}
	if byReference == nil {
		return nil, errors.New("got null, want an object")
	}
	l := &Lock{entries: map[string]*lockEntry{}, named: map[string][]string{}}
	for _, ref := range slices.Sorted(maps.Keys(byReference)) {
		e, err := parseEntry(ref, byReference[ref])
		if err != nil {
			return nil, fmt.Errorf("entry %s: %w", quote(ref), err)
		}
		l.entries[ref] = e
		if parsed, err := parseReference(ref); err == nil { // what is no reference answers to its very text only
			l.named[parsed.canonical()] = append(l.named[parsed.canonical()], ref)
		}
	}
	return l, nil
}

// strictly decodes JSON in which members are spelt exactly, known and not repeated.
func strictly(raw []byte, into any) error {
	problems, err := kjson.UnmarshalStrict(raw, into)
	if err == nil && len(problems) > 0 {
		err = errors.Join(problems...)
	}
	return err
}

func parseEntry(ref string, raw []byte) (*lockEntry, error) {
	if ref == "" || len(ref) > maxReference {
		return nil, fmt.Errorf("reference: got %d bytes, want 1 to %d", len(ref), maxReference)
	}
	var e *lockEntry
	if err := strictly(raw, &e); err != nil {
		return nil, err
	}
	switch {
	case e == nil:
		return nil, errors.New("got null, want an object")
	case e.Config == nil:
		return nil, errors.New(`member "config" is missing`)
	case e.Layers == nil:
		return nil, errors.New(`member "layers" is missing`)
	}
	var err error
	if e.config, err = parseLockedConfig(e.Config); err != nil {
		return nil, fmt.Errorf(`member "config": %w`, err)
	}
	return e, e.check()
}

// check compares the members with each other.
func (e *lockEntry) check() error {
	if e.Manifest != "" {
		if _, err := parseDigest(e.Manifest); err != nil {
			return fmt.Errorf(`member "manifest": %w`, err)
		}
	}
	if e.Platform != "" {
		if _, err := parsePlatform(e.Platform); err != nil {
			return fmt.Errorf(`member "platform": %w`, err)
		}
	}
	n := max(len(e.Layers), len(e.EROFSLayers))
	if n == 0 || n > maxLayers {
		return fmt.Errorf(`member "layers": got %d roots, want 1 to %d`, n, maxLayers)
	}
	for _, list := range []struct {
		name  string
		has   []string
		parse func(string) error
	}{
		{"layers", e.Layers, isRoot},
		{"erofs_layers", e.EROFSLayers, isRoot},
		{"diff_ids", e.DiffIDs, isDiffID},
		{"config.rootfs.diff_ids", e.config.doc.RootFS.DiffIDs, isDiffID},
	} {
		if len(list.has) != 0 && len(list.has) != n {
			return fmt.Errorf("member %q: got %d entries beside %d layers", list.name, len(list.has), n)
		}
		for i, s := range list.has {
			if err := list.parse(s); err != nil {
				return fmt.Errorf(`member "%s[%d]": %w`, list.name, i, err)
			}
		}
	}
	if inner := e.config.doc.RootFS.DiffIDs; len(inner) > 0 && len(e.DiffIDs) > 0 && !slices.Equal(inner, e.DiffIDs) {
		return errors.New(`member "diff_ids": not the ones of the member "config"`)
	}
	return e.checkSigners()
}

func (e *lockEntry) checkSigners() error {
	for i, s := range e.Signers {
		if (s.Kind != "cosign" && s.Kind != "notation") || s.Identity == "" {
			return fmt.Errorf(`member "signers[%d]": got kind %s and identity %s, want cosign or notation and an identity`, i, quote(s.Kind), quote(s.Identity))
		}
	}
	return nil
}

func isRoot(s string) error {
	if _, err := verity.ParseHash(s); err != nil || strings.ToLower(s) != s {
		return fmt.Errorf("got %s, want a root hash of 64 lower-case hex digits", quote(s))
	}
	return nil
}

func isDiffID(s string) error {
	_, err := parseDigest(s)
	return err
}

// lookup finds the entry of a reference: the one of the same text, else the only one that is another spelling of it.
func (l *Lock) lookup(text string) (string, *lockEntry, error) {
	if e, ok := l.entries[text]; ok {
		return text, e, nil
	}
	ref, err := parseReference(text)
	if err != nil {
		return "", nil, err
	}
	found := l.named[ref.canonical()]
	switch {
	case len(found) == 0:
		return "", nil, nil
	case len(found) > 1 && !l.alike(found):
		return "", nil, fmt.Errorf("lock file %q: image %s: entries %q differ and are both spellings of it (write the reference as one of them)", l.path, quote(text), found)
	}
	return found[0], l.entries[found[0]], nil
}

// alike tells whether entries are equal.
func (l *Lock) alike(keys []string) bool {
	first, err := json.Marshal(l.entries[keys[0]])
	for _, k := range keys[1:] {
		other, otherErr := json.Marshal(l.entries[k])
		if err != nil || otherErr != nil || !bytes.Equal(first, other) {
			return false
		}
	}
	return true
}

// marshal writes the lock file's bytes: a function of its entries.
func (l *Lock) marshal() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(l.entries)
	return b.Bytes(), err
}

// roots are the entry's roots in a format; nil when it has none.
func (e *lockEntry) roots(f layer.Format) []string {
	if f == layer.EROFS {
		return e.EROFSLayers
	}
	return e.Layers
}

// diffIDs are those that the entry tells, in either place.
func (e *lockEntry) diffIDs() []string {
	if len(e.DiffIDs) > 0 {
		return e.DiffIDs
	}
	return e.config.doc.RootFS.DiffIDs
}

// platform is the one that the entry tells in either place, else the one that is asked for.
func (e *lockEntry) platform(asked platform) platform {
	if p, err := parsePlatform(e.Platform); e.Platform != "" && err == nil {
		return p
	}
	if d := e.config.doc; d.OS != "" && d.Architecture != "" {
		return d.platform()
	}
	return asked
}

// image is what the entry tells.
func (e *lockEntry) image(text string, p platform) *Image {
	img := &Image{
		Reference: text, Digest: e.Manifest, Platform: e.platform(p).String(), Config: e.config.doc.Config,
		Signers: slices.Clone(e.Signers), Layers: make([]Layer, max(len(e.Layers), len(e.EROFSLayers))),
	}
	for i := range img.Layers {
		l := &img.Layers[i]
		if ids := e.diffIDs(); len(ids) > 0 {
			l.DiffID = ids[i]
		}
		if len(e.Layers) > 0 {
			l.Ext4 = e.Layers[i]
		}
		if len(e.EROFSLayers) > 0 {
			l.EROFS = e.EROFSLayers[i]
		}
	}
	return img
}

// entryOf is what the lock file keeps of an image.
func entryOf(img *Image, c imageConfig) *lockEntry {
	e := &lockEntry{
		Manifest: img.Digest, Platform: img.Platform, Config: c.raw, config: c, Layers: []string{}, Signers: slices.Clone(img.Signers),
	}
	for _, l := range img.Layers {
		if l.DiffID != "" {
			e.DiffIDs = append(e.DiffIDs, l.DiffID)
		}
		if l.Ext4 != "" {
			e.Layers = append(e.Layers, l.Ext4)
		}
		if l.EROFS != "" {
			e.EROFSLayers = append(e.EROFSLayers, l.EROFS)
		}
	}
	return e
}
