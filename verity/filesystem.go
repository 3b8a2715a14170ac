package verity

import (
	"encoding/binary"
	"fmt"
)

// FileSystem is the format of a layer's data area, by the name that mount knows.
type FileSystem string

// The two formats a layer may have.
const (
	Ext4  FileSystem = "ext4"
	EROFS FileSystem = "erofs"
)

// Both file systems keep their superblock at byte 1024 and fit into one block with it.
const (
	fsOffset = 1024
	fsSize   = 1024

	ext4Magic       = 0xEF53
	ext4BlocksLo    = 0x04
	ext4LogBlock    = 0x18 // block size is 1024 << this
	ext4MagicAt     = 0x38
	ext4Incompat    = 0x60
	ext4BlocksHi    = 0x150
	ext4Incompat64  = 0x80 // the high half of the block count counts only under this flag
	ext4LogBlock4K  = 2
	erofsMagic      = 0xE0F5E1E2
	erofsBlockBits  = 12 // offset of the field; the value for 4 KiB happens to be 12 too
	erofsBlocks     = 36
	erofsBlockBits4 = 12
)

// parseFileSystem returns the kind of the file system whose first block is given, and how many 4 KiB blocks it says it has.
func parseFileSystem(block []byte) (FileSystem, uint64, error) {
	sb := block[fsOffset : fsOffset+fsSize]
	switch {
	case binary.LittleEndian.Uint16(sb[ext4MagicAt:]) == ext4Magic:
		if got := binary.LittleEndian.Uint32(sb[ext4LogBlock:]); got != ext4LogBlock4K {
			return "", 0, fmt.Errorf("read ext4 superblock: log block size: got %d, want %d: %w", got, ext4LogBlock4K, ErrFormat)
		}
		blocks := uint64(binary.LittleEndian.Uint32(sb[ext4BlocksLo:]))
		if binary.LittleEndian.Uint32(sb[ext4Incompat:])&ext4Incompat64 != 0 {
			blocks |= uint64(binary.LittleEndian.Uint32(sb[ext4BlocksHi:])) << 32
		}
		return Ext4, blocks, nil
	case binary.LittleEndian.Uint32(sb) == erofsMagic:
		if got := sb[erofsBlockBits]; got != erofsBlockBits4 {
			return "", 0, fmt.Errorf("read erofs superblock: block bits: got %d, want %d: %w", got, erofsBlockBits4, ErrFormat)
		}
		return EROFS, uint64(binary.LittleEndian.Uint32(sb[erofsBlocks:])), nil
	}
	return "", 0, fmt.Errorf("read file system superblock: neither ext4 nor erofs: %w", ErrFormat)
}
