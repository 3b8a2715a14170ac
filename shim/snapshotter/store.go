package snapshotter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity/layer"
)

// store keeps layers' disks by diff id. Its directory belongs to one process.
type store struct {
	dir  string // one directory a layer
	work string // on the same file system: conversions, removals

	// mu guards all below and every change of facts. It is never held while a layer is read.
	mu   sync.Mutex
	pins map[string]int           // by diff id: layers in use that no snapshot refers to yet
	made map[digest.Digest]string // diff id of the blobs that were converted before
}

// openStore takes a directory over from whatever process had it before.
func openStore(dir, work string) (*store, error) {
	s := &store{dir: dir, work: work, pins: map[string]int{}, made: map[digest.Digest]string{}}
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := readFacts(filepath.Join(dir, name))
		if err != nil {
			continue // it counts as none, and is made again when it is asked for
		}
		s.index(f)
	}
	return s, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (s *store) index(f *facts) {
	for _, b := range f.Blobs {
		s.made[b.Digest] = f.DiffID
	}
}

func (s *store) path(diffID string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(diffID, "sha256:"))
}

// pin keeps a layer from being removed until the function it returns is called, whether the layer is there yet or not.
func (s *store) pin(diffID string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[diffID]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pins[diffID]--; s.pins[diffID] == 0 {
			delete(s.pins, diffID)
		}
	})
}

// diffIDOf returns the diff id of a blob that was converted before, or "".
func (s *store) diffIDOf(d digest.Digest) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[d]
}

// get returns what is known of a layer; fs.ErrNotExist if it is not there.
func (s *store) get(diffID string) (*facts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return readFacts(s.path(diffID))
}

// missingError says that a layer is known and has no disk that can be used: of an earlier version, or damaged.
type missingError struct {
	diffID string
	format layer.Format // it can be made in
}

func (e *missingError) Error() string { return fmt.Sprintf("layer %s has no disk", e.diffID) }

// describe is a layer as a manifest has it. The error of one without a disk is a *missingError.
func (s *store) describe(diffID string) (rootfs.Layer, error) {
	f, err := s.get(diffID)
	if err != nil {
		return rootfs.Layer{}, fmt.Errorf("layer %s: %w", diffID, err)
	}
	if len(f.Disks) == 0 {
		e := &missingError{diffID: diffID}
		if f.Native {
			e.format = layer.EROFS
		}
		return rootfs.Layer{}, e
	}
	out := rootfs.Layer{DiffID: diffID}
	for format, d := range f.Disks {
		at := &rootfs.Disk{Path: filepath.Join(s.path(diffID), d.File), Root: d.Root, Format: format}
		switch layer.Format(format) {
		case layer.Ext4:
			out.Ext4 = at
		case layer.EROFS:
			out.EROFS = at
		}
	}
	return out, nil
}

// draft is a layer's directory while it is made, in work.
type draft struct {
	dir   string
	facts facts
}

func (s *store) newDraft() (*draft, error) {
	dir, err := os.MkdirTemp(s.work, "layer-")
	if err != nil {
		return nil, err
	}
	return &draft{dir: dir, facts: facts{Disks: map[string]disk{}, Accounts: newAccounts()}}, nil
}

func (d *draft) discard() { os.RemoveAll(d.dir) }

// finish writes what was learnt of the layer beside its disk, to last.
func (d *draft) finish() error {
	for name, a := range d.facts.Accounts {
		if !a.Present {
			continue
		}
		if err := writeSynced(filepath.Join(d.dir, name), a.content); err != nil {
			return err
		}
	}
	return writeFacts(d.dir, &d.facts)
}

// add puts a finished draft into the store. Where the layer is there already, only what it lacks is taken. The caller has pinned the diff id.
func (s *store) add(d *draft) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.path(d.facts.DiffID)
	there, err := readFacts(dir)
	switch {
	case err == nil:
		err = s.merge(dir, there, d)
	default: // none, or one that is not whole
		if err = s.trash(dir); err == nil {
			err = os.Rename(d.dir, dir)
		}
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("keep layer %s: %w", d.facts.DiffID, err)
	}
	s.index(&d.facts)
	return nil
}

func (s *store) merge(dir string, there *facts, d *draft) error {
	for format, made := range d.facts.Disks {
		if old, ok := there.Disks[format]; ok {
			if old.Root != made.Root {
				return fmt.Errorf("%s: root hash: got %s, want %s as before", format, made.Root, old.Root)
			}
			continue
		}
		if err := os.Rename(filepath.Join(d.dir, made.File), filepath.Join(dir, made.File)); err != nil {
			return err
		}
		there.Disks[format] = made
	}
	for _, b := range d.facts.Blobs {
		there.remember(b)
	}
	return writeFacts(dir, there)
}

// seen notes that a blob is this layer's too.
func (s *store) seen(diffID string, b blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := readFacts(s.path(diffID))
	if err != nil {
		return err
	}
	if f.remember(b) {
		err = writeFacts(s.path(diffID), f)
	}
	s.index(f)
	return err
}

// trash moves something out of the way, to be removed by empty.
func (s *store) trash(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	to, err := os.MkdirTemp(s.work, "gone-")
	if err != nil {
		return err
	}
	return os.Rename(path, filepath.Join(to, "was"))
}

// sweep moves every layer out of the way that is neither referred to nor pinned. refs is called with the store locked: a reference that is written
// while a layer is pinned is either seen by it, or the pin is.
func (s *store) sweep(refs func() (map[string]bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, err := refs()
	if err != nil {
		return err
	}
	names, err := readNames(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		diffID := "sha256:" + name
		if used[diffID] || s.pins[diffID] > 0 {
			continue
		}
		if err := s.trash(filepath.Join(s.dir, name)); err != nil {
			return err
		}
		for d, id := range s.made {
			if id == diffID {
				delete(s.made, d)
			}
		}
	}
	return nil
}

// empty removes what trash moved away.
func (s *store) empty() error {
	gone, err := filepath.Glob(filepath.Join(s.work, "gone-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range gone {
		errs = append(errs, os.RemoveAll(g))
	}
	return errors.Join(errs...)
}
