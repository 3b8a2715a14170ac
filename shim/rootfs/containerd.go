package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"
)

const (
	maxSidecar = 64 << 10
	// sidecarOption names, on the mount of a layer, the file with its root hash.
	sidecarOption = "X-containerd.dmverity="
	sidecarSuffix = ".dmverity"
	mergedName    = "fsmeta.erofs"
)

// readEROFS reads the mounts of containerd's own snapshotter: a writable disk where it has one, layers from the top down, and what stacks them.
//
// Source: "EROFS Snapshotter" and "containerd Mounts and Mount Management" in the docs directory of containerd v2.4.
func readEROFS(mounts []*types.Mount) (Rootfs, error) {
	rest := mounts
	if kind(rest[0]) == "ext4" && transformed(rest[0], "mkfs") {
		rest = rest[1:] // where runc's containers would write; ours write in the guest
	}
	if n := len(rest); n > 0 && (kind(rest[n-1]) == "overlay" || kind(rest[n-1]) == "bind") {
		if err := checkStack(rest[n-1], n > 1); err != nil {
			return Rootfs{}, err
		}
		rest = rest[:n-1]
	}
	if len(rest) == 0 {
		return Rootfs{}, describe(mounts)
	}
	var r Rootfs
	for i, m := range rest {
		if kind(m) != EROFS {
			return Rootfs{}, describe(mounts)
		}
		layer, err := readBlob(m)
		if err != nil {
			return Rootfs{}, fmt.Errorf("layer %d from the top: %w", i, err)
		}
		r.Layers = append(r.Layers, layer)
	}
	slices.Reverse(r.Layers)
	return r, nil
}

// checkStack takes the last mount only where it stands for the layers before it.
func checkStack(m *types.Mount, hasLayers bool) error {
	switch {
	case hasLayers && strings.HasPrefix(m.Type, "format/"):
		return nil
	case kind(m) == "overlay" && !hasLayers:
		return errors.New("an overlay of directories on the host: containerd has mounted the layers itself, or another snapshotter unpacked them; " +
			"the shim's layers are disks that the host does not mount")
	}
	return fmt.Errorf("mount of type %s from %s: %w", quote(m.Type), quote(m.Source), ErrUnknownMounts)
}

// describe names mounts that nobody here knows.
func describe(mounts []*types.Mount) error {
	var kinds []string
	for _, m := range mounts[:min(len(mounts), 4)] {
		kinds = append(kinds, fmt.Sprintf("%.32s from %s", m.Type, quote(m.Source)))
	}
	if more := len(mounts) - len(kinds); more > 0 {
		kinds = append(kinds, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("mounts %s: %w", strings.Join(kinds, ", "), ErrUnknownMounts)
}

// kind is a mount's type without what containerd does to it before.
func kind(m *types.Mount) string { return m.Type[strings.LastIndexByte(m.Type, '/')+1:] }

func transformed(m *types.Mount, by string) bool {
	return slices.Contains(strings.Split(m.Type, "/"), by)
}

// cached is the name of a blob in containerd's layer_content_caches, which is the layer's diff id.
var cached = regexp.MustCompile(`/sha256/([0-9a-f]{2})/([0-9a-f]{64})\.erofs$`)

// readBlob reads one layer: the blob is the mount's source, its root hash is in the file beside it.
func readBlob(m *types.Mount) (Layer, error) {
	if !cleanPath(m.Source) {
		return Layer{}, fmt.Errorf("source %s: want a clean absolute path", quote(m.Source))
	}
	beside := m.Source + sidecarSuffix
	for _, o := range m.Options {
		if strings.HasPrefix(o, "device=") || filepath.Base(m.Source) == mergedName {
			return Layer{}, fmt.Errorf("%s is several layers merged into one: set max_unmerged_layers = 0 in [plugins.\"io.containerd.snapshotter.v1.erofs\"]", m.Source)
		}
		if path, ok := strings.CutPrefix(o, sidecarOption); ok {
			beside = path
		}
	}
	if !cleanPath(beside) {
		return Layer{}, fmt.Errorf("%s%s: want a clean absolute path", sidecarOption, quote(beside))
	}
	text, err := readBounded(beside, maxSidecar)
	if errors.Is(err, fs.ErrNotExist) {
		return Layer{}, fmt.Errorf("%s has no root hash beside it (%s): set enable_dmverity = true in [plugins.\"io.containerd.differ.v1.erofs\"] and pull the image again: %w",
			m.Source, filepath.Base(beside), err)
	}
	if err != nil {
		return Layer{}, err
	}
	root, err := parseSidecar(text)
	if err != nil {
		return Layer{}, fmt.Errorf("%s: %w", beside, err)
	}
	l := Layer{EROFS: &Disk{Path: m.Source, Root: root, Format: EROFS}}
	if name := cached.FindStringSubmatch(m.Source); name != nil && strings.HasPrefix(name[2], name[1]) {
		l.DiffID = "sha256:" + name[2]
	}
	return l, nil
}

// parseSidecar returns the root hash. Where the superblock starts is read by the agent, from the disk's own file system.
func parseSidecar(text []byte) (string, error) {
	var s struct {
		RootHash   string `json:"roothash"`
		HashOffset int64  `json:"hashoffset"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&s); err != nil {
		return "", fmt.Errorf("not dm-verity metadata: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return "", errors.New("text after the dm-verity metadata")
	}
	if s.HashOffset <= 0 {
		return "", fmt.Errorf("hash tree at %d, want it behind the data", s.HashOffset)
	}
	return s.RootHash, checkRoot(s.RootHash)
}
