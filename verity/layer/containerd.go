package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/verity"
)

// ContainerdPath is where containerd's EROFS snapshotter looks for the blob of a layer, given the directory that its option
// layer_content_caches names and the 64 hex digits of the diff id: <dir>/sha256/<first two>/<digits>.erofs. Beside it lies
// <digits>.erofs.dmverity, JSON of the root hash and of where the verity superblock starts.
//
// Source: "Layer Content Cache" and "Data Integrity with dm-verity" in docs/snapshotters/erofs.md of containerd v2.4. Checked
// here: names, the sidecar's members, that veritysetup and the kernel accept blob and root. Tried by hand: containerd 2.4.2
// unpacks an image from such a cache and hands blobs and sidecars to a shim. Not tried: runc on it, which needs dm-verity on
// the node.
func ContainerdPath(dir, digest string) string {
	return filepath.Join(dir, "sha256", digest[:2], digest+".erofs")
}

const sidecarSuffix = ".dmverity"

// sidecar is the file beside a blob.
type sidecar struct {
	RootHash   string `json:"roothash"`
	HashOffset int64  `json:"hashoffset"` // of the verity superblock, in bytes
}

func writeSidecar(blob string, res Result) error {
	text, err := json.Marshal(sidecar{res.RootHash.String(), res.DataSize})
	if err != nil {
		return err
	}
	return atomically(blob+sidecarSuffix, func(f *os.File) error {
		if err := f.Chmod(0o644); err != nil {
			return err
		}
		_, err := f.Write(text)
		return err
	})
}

// checkSidecar compares the file beside a blob with the blob; one that is missing or differs makes the blob count as damaged.
func checkSidecar(blob string, img *verity.Image) error {
	text, err := os.ReadFile(blob + sidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s%s is missing: %w", blob, sidecarSuffix, verity.ErrFormat)
	}
	if err != nil {
		return err
	}
	var got sidecar
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("%s%s: %w: %w", blob, sidecarSuffix, err, verity.ErrFormat)
	}
	if want := (sidecar{img.Root.String(), img.DataSize()}); got != want {
		return fmt.Errorf("%s%s: got %+v, want %+v: %w", blob, sidecarSuffix, got, want, verity.ErrChanged)
	}
	return nil
}
