package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"

	"github.com/cloister-cc/cloister/verity"
)

// maxManifest bounds layers.json, in bytes: a layer takes some 400.
const maxManifest = 1 << 20

// ErrUnknownMounts says that the mounts are of no snapshotter that this package knows.
var ErrUnknownMounts = errors.New(`its snapshotter is neither "cloister" nor "erofs" with dm-verity: set snapshotter = "cloister" for this runtime in containerd's configuration`)

// Read finds the layers behind the root file system's mounts as containerd's CreateTaskRequest carries them. No mounts are no layers.
func Read(mounts []*types.Mount) (Rootfs, error) {
	var r Rootfs
	var err error
	switch {
	case len(mounts) == 0:
		return Rootfs{}, nil
	case slices.Contains(mounts, nil):
		return Rootfs{}, errors.New("read root file system: a mount without content")
	case len(mounts) == 1 && mounts[0].Type == "bind" && filepath.Base(mounts[0].Source) == ViewDir:
		r, err = readManifest(filepath.Join(filepath.Dir(mounts[0].Source), Manifest))
	case len(mounts) > MaxLayers+2:
		err = fmt.Errorf("%d mounts, more than %d", len(mounts), MaxLayers+2)
	default:
		r, err = readEROFS(mounts)
	}
	if err != nil {
		return Rootfs{}, fmt.Errorf("read root file system: %w", err)
	}
	return r, nil
}

// readManifest reads the file that our snapshotter wrote for one snapshot.
func readManifest(path string) (Rootfs, error) {
	if !cleanPath(path) {
		return Rootfs{}, fmt.Errorf("mount source %s: want a clean absolute path", quote(filepath.Dir(path)))
	}
	text, err := readBounded(path, maxManifest)
	if err != nil {
		return Rootfs{}, err
	}
	r, err := ParseManifest(text)
	if err != nil {
		return Rootfs{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// ParseManifest reads the text of a layers.json. Every path in it is absolute and clean, every root and diff id well formed, and every layer has a disk.
func ParseManifest(text []byte) (Rootfs, error) {
	if len(text) > maxManifest {
		return Rootfs{}, fmt.Errorf("%d bytes, more than %d", len(text), maxManifest)
	}
	var r Rootfs
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Rootfs{}, fmt.Errorf("not a list of layers: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Rootfs{}, errors.New("text after the list of layers")
	}
	if len(r.Layers) > MaxLayers {
		return Rootfs{}, fmt.Errorf("%d layers, more than %d", len(r.Layers), MaxLayers)
	}
	for i := range r.Layers {
		if err := r.Layers[i].check(); err != nil {
			return Rootfs{}, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return r, nil
}

func (l *Layer) check() error {
	if l.DiffID != "" {
		if err := CheckDiffID(l.DiffID); err != nil {
			return err
		}
	}
	if l.Ext4 == nil && l.EROFS == nil {
		return errors.New("no disk in any format")
	}
	for format, disk := range map[string]*Disk{Ext4: l.Ext4, EROFS: l.EROFS} {
		if disk == nil {
			continue
		}
		if err := disk.check(); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		disk.Format = format
	}
	return nil
}

func (d *Disk) check() error {
	if !cleanPath(d.Path) {
		return fmt.Errorf("path %s: want a clean absolute path", quote(d.Path))
	}
	return checkRoot(d.Root)
}

// CheckDiffID refuses what is not "sha256:" and 64 lower-case hex digits.
func CheckDiffID(id string) error {
	digits, ok := strings.CutPrefix(id, "sha256:")
	if _, err := verity.ParseHash(digits); !ok || err != nil {
		return fmt.Errorf("diff id %s: want sha256: and 64 lower-case hex digits", quote(id))
	}
	return nil
}

func checkRoot(root string) error {
	if _, err := verity.ParseHash(root); err != nil {
		return fmt.Errorf("root hash %s: want 64 lower-case hex digits", quote(root))
	}
	return nil
}

func cleanPath(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && !strings.ContainsRune(path, 0)
}

// readBounded reads a regular file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: got %s, want a regular file", path, info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: more than %d bytes", path, most)
	}
	return text, err
}

// quote makes somebody else's string one short line.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
