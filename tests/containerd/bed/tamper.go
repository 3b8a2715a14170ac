package bed

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// blockSize of layer disks: of their file systems, superblocks and hash trees.
const blockSize = 4096

// Disks are the converted layers on the node's disk.
func (n *Node) Disks() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(n.Dir, "snapshotter", "layers", "*", "*.disk"))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no converted layers below %q", n.Dir)
	}
	return found, err
}

// FlipTree changes the top of a disk's hash tree: its root hash becomes another. Twice is as before.
func FlipTree(disk string) error {
	data, err := os.ReadFile(disk)
	if err != nil {
		return err
	}
	// The tree begins in the block after the verity superblock, which begins with this word.
	for at := len(data) - blockSize; at >= 0; at -= blockSize {
		if bytes.HasPrefix(data[at:], []byte("verity\x00\x00")) {
			return flip(disk, int64(at+blockSize))
		}
	}
	return fmt.Errorf("disk %q has no verity superblock", disk)
}

// FlipData changes the file system's superblock, which the tree covers. Twice is as before.
func FlipData(disk string) error { return flip(disk, 1024) }

// flip changes 64 bytes in place.
func flip(path string, at int64) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	section := make([]byte, 64)
	if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(len(section))), section); err != nil {
		return err
	}
	for i := range section {
		section[i] ^= 0xff
	}
	_, err = f.WriteAt(section, at)
	return err
}
