package verity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// InspectOptions widens what Inspect accepts.
type InspectOptions struct {
	// AnySalt accepts every salt of at most 32 bytes. Without it the salt must be 32 zero bytes, as in all layers that
	// ACI's tools build.
	AnySalt bool
}

// Image is what one bounded read of a disk said. Only Root is bound to anything: it is what a policy judges.
type Image struct {
	FS         FileSystem
	Superblock Superblock
	Root       Hash

	fsSuperblock [fsSize]byte // compared with what dm-verity delivers after activation
}

// DataSize is the length of the file system in bytes.
func (i *Image) DataSize() int64 { return int64(i.Superblock.DataBlocks) * BlockSize }

// DiskSize is the length of file system, superblock and tree together. The disk may be longer.
func (i *Image) DiskSize() int64 {
	return i.DataSize() + BlockSize + int64(treeBlocks(i.Superblock.DataBlocks))*BlockSize
}

// Inspect reads the two superblocks and the top block of the tree from a disk of the given size, 12 KiB in all and each byte
// once, and computes the root hash. The reader may be hostile: everything is checked against the pinned parameters before
// it is used. The root of a disk with a single data block is the hash of that block: such a disk has no tree.
func Inspect(r io.ReaderAt, deviceSize int64, opts InspectOptions) (*Image, error) {
	first := make([]byte, BlockSize)
	if err := readBlock(r, first, 0, deviceSize); err != nil {
		return nil, fmt.Errorf("inspect disk: first block: %w", err)
	}
	kind, blocks, err := parseFileSystem(first)
	if err != nil {
		return nil, fmt.Errorf("inspect disk: %w", err)
	}
	if blocks == 0 || blocks > maxDataBlocks {
		return nil, fmt.Errorf("inspect disk: %s size: got %d blocks, want 1 to %d: %w", kind, blocks, maxDataBlocks, ErrFormat)
	}
	meta := make([]byte, BlockSize, 2*BlockSize)
	if blocks > 1 {
		meta = meta[:2*BlockSize]
	}
	if err := readBlock(r, meta, int64(blocks)*BlockSize, deviceSize); err != nil {
		return nil, fmt.Errorf("inspect disk: verity superblock: %w", err)
	}
	sb, err := ParseSuperblock(meta)
	if err != nil {
		return nil, fmt.Errorf("inspect disk: %w", err)
	}
	img := &Image{FS: kind, Superblock: *sb}
	if sb.DataBlocks != blocks {
		return nil, fmt.Errorf("inspect disk: data blocks: got %d in the verity superblock, want %d as the %s superblock says: %w",
			sb.DataBlocks, blocks, kind, ErrFormat)
	}
	if !opts.AnySalt && !bytes.Equal(sb.Salt, DefaultSalt()) {
		return nil, fmt.Errorf("inspect disk: salt: want %d zero bytes: %w", MaxSaltSize, ErrFormat)
	}
	if img.DiskSize() > deviceSize {
		return nil, fmt.Errorf("inspect disk: device size: got %d bytes, want at least %d: %w", deviceSize, img.DiskSize(), ErrFormat)
	}
	copy(img.fsSuperblock[:], first[fsOffset:])
	top := first
	if blocks > 1 {
		top = meta[BlockSize:]
	}
	img.Root = sha256.Sum256(append(bytes.Clone(sb.Salt), top...))
	return img, nil
}

// readBlock fills b from the disk. The bound comes first, so that a short device is a format error and not an I/O error.
func readBlock(r io.ReaderAt, b []byte, off, deviceSize int64) error {
	if off+int64(len(b)) > deviceSize {
		return fmt.Errorf("device size: got %d bytes, want at least %d: %w", deviceSize, off+int64(len(b)), ErrFormat)
	}
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil // ReadAt may return io.EOF with the last byte
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}
