package nodeinstall

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Kinds of what is recorded.
const (
	kindFile = "file"
	kindLink = "link"
	kindDir  = "directory" // made by the installation
	kindEdit = "edit"      // containerd's main file, which got a line
)

// entry is one thing that an installation made.
type entry struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	SHA256 string `json:"sha256,omitempty"` // of a file's bytes; of an edited file after the edit
	Target string `json:"target,omitempty"` // of a link
	Backup string `json:"backup,omitempty"` // of an edited file
}

// record is what is kept of an installation, at recordPath.
type record struct {
	Version int     `json:"version"` // 1
	Options kept    `json:"options"`
	Entries []entry `json:"entries"`
}

// kept are the options that a drop-in is made of, so that its age can be told later.
type kept struct {
	Containerd string `json:"containerd_config"`
	Version    string `json:"containerd_version,omitempty"`
	Prefix     string `json:"prefix"`
	Handler    string `json:"handler"`
	Sandboxer  string `json:"sandboxer"`
	Socket     string `json:"snapshotter"`
	LayersRoot string `json:"snapshotter_root"`
}

// readRecord gives nil where nothing was installed.
func readRecord(root string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(root, recordPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record of the installation: %w", err)
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("record of the installation %q: %w", recordPath, err)
	}
	if r.Version != 1 {
		return nil, refuse("use the version of cloister that installed it", "record of the installation %q has version %d, want 1", recordPath, r.Version)
	}
	for _, e := range r.Entries {
		if !filepath.IsAbs(e.Path) || filepath.Clean(e.Path) != e.Path {
			return nil, fmt.Errorf("record of the installation %q names path %q, want a clean absolute one", recordPath, e.Path)
		}
	}
	return &r, nil
}

func (r *record) find(path string) *entry {
	if r == nil {
		return nil
	}
	for i := range r.Entries {
		if r.Entries[i].Path == path {
			return &r.Entries[i]
		}
	}
	return nil
}

func (r *record) put(e entry) {
	if have := r.find(e.Path); have != nil {
		*have = e
		return
	}
	r.Entries = append(r.Entries, e)
}

func (r *record) write(root string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(root, recordPath), append(text, '\n'), 0o644)
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// digestFile hashes a file without reading it into memory; "" where there is none.
func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// replaceFile puts a file in its place by one rename.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	return replaceWith(path, bytes.NewReader(text), mode)
}

func replaceWith(path string, in io.Reader, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".cloister-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	return placeFile(f, in, path, func() error { return f.Chmod(mode) })
}

// placeFile fills a temporary file and renames it to path. own gives it its mode, and its owner if that is not us.
func placeFile(f *os.File, in io.Reader, path string, own func() error) error {
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	if err := own(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
