package images

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// rootCache remembers the roots of layers by diff id and format, one small file each. Files are trusted like the program
// itself: the directory is the user's own. They appear whole, by a rename, so that any number of processes may share it.
type rootCache string

// defaultRootCache is cloister/roots in the user's cache directory; a user without one has no cache.
func defaultRootCache() rootCache {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return rootCache(filepath.Join(dir, "cloister", "roots"))
}

func (c rootCache) path(diffID string, f layer.Format) string {
	return filepath.Join(string(c), string(f), strings.TrimPrefix(diffID, "sha256:"))
}

// line is a file's whole content. It binds the root to the version of the format: a file of another version is none.
func line(diffID string, f layer.Format, root string) string {
	return fmt.Sprintf("cloister layer root: %s %s %s\n", layer.FormatVersion(f), diffID, root)
}

// get tells a root that is known. Anything but a whole file of ours is a layer that is not known.
func (c rootCache) get(diffID string, f layer.Format) (string, bool) {
	if c == "" {
		return "", false
	}
	file, err := openRegular(c.path(diffID, f))
	if err != nil {
		return "", false
	}
	defer file.Close()
	const most = 512
	raw, err := readBounded(file, "root", most)
	if err != nil {
		return "", false
	}
	fields := strings.Fields(string(raw))
	if len(fields) == 0 {
		return "", false
	}
	root := fields[len(fields)-1]
	if _, err := verity.ParseHash(root); err != nil || string(raw) != line(diffID, f, root) {
		return "", false
	}
	return root, true
}

// put keeps a root. A cache that cannot be written costs time later and is no error.
func (c rootCache) put(diffID string, f layer.Format, root string) {
	if c == "" {
		return
	}
	file := c.path(diffID, f)
	if os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	_ = writeFile(file, []byte(line(diffID, f, root)), 0o600)
}

// writeFile replaces a file by a whole one.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	// Without the sync a crash could leave an empty file of the right name.
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
