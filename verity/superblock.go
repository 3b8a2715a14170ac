package verity

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	// BlockSize is the size of data and hash blocks; no other is accepted.
	BlockSize = 4096
	// SuperblockSize is the length of the superblock; it has a whole block for itself on the disk.
	SuperblockSize = 512
	// MaxSaltSize is the longest salt this package accepts; the format has room for 256.
	MaxSaltSize = 32

	signature   = "verity\x00\x00"
	version     = 1 // of the superblock
	hashType    = 1 // "normal": salt first, digests packed; 0 is Chrome OS's
	algorithm   = "sha256"
	saltField   = 256
	algorithmSz = 32
)

// Offsets within the superblock, as veritysetup writes it; all integers are little endian.
const (
	offVersion    = 8
	offHashType   = 12
	offUUID       = 16
	offAlgorithm  = 32
	offDataBlock  = 64
	offHashBlock  = 68
	offDataBlocks = 72
	offSaltSize   = 80
	offPad1       = 82
	offSalt       = 88
	offPad2       = 344
)

// maxDataBlocks bounds the data area to 1 TiB: eight times the largest layer the tools make, and small enough that no
// size computed from it can overflow.
const maxDataBlocks = 1 << 28

// Superblock is the verity superblock without its pinned fields.
type Superblock struct {
	UUID       [16]byte
	DataBlocks uint64
	Salt       []byte
}

// DefaultSalt returns the salt of every layer that ACI's tools and this project build: 32 zero bytes.
func DefaultSalt() []byte { return make([]byte, MaxSaltSize) }

// ParseSuperblock reads a superblock. It accepts exactly what [Superblock.Marshal] writes: version, hash type, algorithm and
// block sizes are pinned, and bytes without a meaning must be zero, so that two disks that differ in their superblock
// differ in a field.
func ParseSuperblock(b []byte) (*Superblock, error) {
	if len(b) < SuperblockSize {
		return nil, fmt.Errorf("parse verity superblock: got %d bytes, want %d: %w", len(b), SuperblockSize, ErrFormat)
	}
	b = b[:SuperblockSize]
	if string(b[:offVersion]) != signature {
		return nil, fmt.Errorf("parse verity superblock: no signature: %w", ErrFormat)
	}
	for _, pinned := range []struct {
		name string
		off  int
		want uint32
	}{
		{"version", offVersion, version},
		{"hash type", offHashType, hashType},
		{"data block size", offDataBlock, BlockSize},
		{"hash block size", offHashBlock, BlockSize},
	} {
		if got := binary.LittleEndian.Uint32(b[pinned.off:]); got != pinned.want {
			return nil, fmt.Errorf("parse verity superblock: %s: got %d, want %d: %w", pinned.name, got, pinned.want, ErrFormat)
		}
	}
	name := make([]byte, algorithmSz)
	copy(name, algorithm)
	if !bytes.Equal(b[offAlgorithm:offDataBlock], name) {
		return nil, fmt.Errorf("parse verity superblock: algorithm: want %s: %w", algorithm, ErrFormat)
	}
	sb := &Superblock{DataBlocks: binary.LittleEndian.Uint64(b[offDataBlocks:])}
	copy(sb.UUID[:], b[offUUID:])
	if sb.DataBlocks == 0 || sb.DataBlocks > maxDataBlocks {
		return nil, fmt.Errorf("parse verity superblock: data blocks: got %d, want 1 to %d: %w", sb.DataBlocks, maxDataBlocks, ErrFormat)
	}
	saltSize := int(binary.LittleEndian.Uint16(b[offSaltSize:]))
	if saltSize > MaxSaltSize {
		return nil, fmt.Errorf("parse verity superblock: salt size: got %d, want at most %d: %w", saltSize, MaxSaltSize, ErrFormat)
	}
	if !zero(b[offPad1:offSalt]) || !zero(b[offSalt+saltSize:]) {
		return nil, fmt.Errorf("parse verity superblock: unused bytes are not zero: %w", ErrFormat)
	}
	sb.Salt = append([]byte{}, b[offSalt:offSalt+saltSize]...)
	return sb, nil
}

// Marshal writes the superblock in the layout of veritysetup.
func (s *Superblock) Marshal() ([]byte, error) {
	if s.DataBlocks == 0 || s.DataBlocks > maxDataBlocks {
		return nil, fmt.Errorf("write verity superblock: data blocks: got %d, want 1 to %d", s.DataBlocks, maxDataBlocks)
	}
	if len(s.Salt) > MaxSaltSize {
		return nil, fmt.Errorf("write verity superblock: salt size: got %d, want at most %d", len(s.Salt), MaxSaltSize)
	}
	b := make([]byte, SuperblockSize)
	copy(b, signature)
	binary.LittleEndian.PutUint32(b[offVersion:], version)
	binary.LittleEndian.PutUint32(b[offHashType:], hashType)
	copy(b[offUUID:], s.UUID[:])
	copy(b[offAlgorithm:], algorithm)
	binary.LittleEndian.PutUint32(b[offDataBlock:], BlockSize)
	binary.LittleEndian.PutUint32(b[offHashBlock:], BlockSize)
	binary.LittleEndian.PutUint64(b[offDataBlocks:], s.DataBlocks)
	binary.LittleEndian.PutUint16(b[offSaltSize:], uint16(len(s.Salt)))
	copy(b[offSalt:offPad2], s.Salt)
	return b, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
