package verity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
)

// Disk is where Seal reads the data and writes superblock and tree; an *os.File is one.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Seal appends superblock and tree to the file system of size bytes at the start of disk. The result depends on those bytes
// and the salt only.
func Seal(ctx context.Context, disk Disk, size int64, opts BuildOptions) (*Image, error) {
	root, err := Build(ctx, disk, size, io.NewOffsetWriter(disk, size+BlockSize), opts)
	if err != nil {
		return nil, err
	}
	salt := opts.Salt
	if salt == nil {
		salt = DefaultSalt()
	}
	return writeSuperblock(disk, size, root, salt)
}

// writeSuperblock completes a disk of size bytes of data and its tree, and reads it back.
func writeSuperblock(disk Disk, size int64, root Hash, salt []byte) (*Image, error) {
	sb := Superblock{UUID: uuidOf(root), DataBlocks: uint64(size / BlockSize), Salt: salt}
	raw, err := sb.Marshal()
	if err != nil {
		return nil, err
	}
	block := make([]byte, BlockSize)
	copy(block, raw)
	if _, err := disk.WriteAt(block, size); err != nil {
		return nil, fmt.Errorf("write verity superblock: %w", err)
	}
	img, err := Inspect(disk, size+BlockSize+int64(treeBlocks(sb.DataBlocks))*BlockSize, InspectOptions{AnySalt: true})
	if err != nil {
		return nil, err
	}
	if img.Root != root {
		return nil, fmt.Errorf("seal disk: root hash: read %s back, want %s: %w", img.Root, root, ErrChanged)
	}
	return img, nil
}

// uuidOf derives the superblock's UUID from the root hash: the first 16 bytes of SHA-256 over "cloister verity uuid", a zero
// byte and the root, with RFC 9562's version 8 (made by a rule of one's own) and variant in place. veritysetup draws it at
// random, which would make two builds of one layer differ. The root does not cover it, and nothing believes it.
func uuidOf(root Hash) [16]byte {
	sum := sha256.Sum256(append([]byte("cloister verity uuid\x00"), root[:]...))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Verify reads the whole disk and compares every data and tree block with img, which Inspect returned for it. The guest never
// needs it: there the kernel checks each block as it is read.
func Verify(ctx context.Context, r io.ReaderAt, img *Image) error {
	tree := &treeChecker{r: r, base: img.DataSize() + BlockSize, blocks: img.Superblock.DataBlocks}
	if levels := treeLevels(img.Superblock.DataBlocks); len(levels) > 0 {
		tree.lowest = levelOffsets(levels)[0]
	}
	// A plain reader: here holes are read too, not believed.
	root, err := Build(ctx, struct{ io.ReaderAt }{r}, img.DataSize(), tree, BuildOptions{Salt: img.Superblock.Salt})
	if err != nil {
		return fmt.Errorf("verify disk: %w", err)
	}
	if root != img.Root {
		return fmt.Errorf("verify disk: root hash: got %s, want %s: %w", root, img.Root, ErrChanged)
	}
	return nil
}

// treeChecker stands where the builder writes its tree, and compares instead.
type treeChecker struct {
	r      io.ReaderAt
	base   int64 // where the tree starts on the disk
	lowest int64 // where its lowest level starts, from base
	blocks uint64
}

func (t *treeChecker) WriteAt(want []byte, off int64) (int, error) {
	got := make([]byte, len(want))
	if n, err := t.r.ReadAt(got, t.base+off); n < len(got) {
		return 0, fmt.Errorf("read tree: %w", err)
	}
	if bytes.Equal(got, want) {
		return len(want), nil
	}
	at := int64(0)
	for got[at] == want[at] {
		at++
	}
	if block := uint64((off + at - t.lowest) / HashSize); off >= t.lowest && block < t.blocks {
		return 0, &CorruptError{Data: true, Block: block}
	}
	return 0, &CorruptError{Block: uint64((off + at) / BlockSize)}
}
