package idblock

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/cloister-cc/cloister/snp/measure"
)

// BlockSize and AuthSize are the lengths of the two structures in bytes.
const (
	BlockSize = 96
	AuthSize  = 4096
)

// blockVersion is the only version of an ID block.
const blockVersion = 1

// Bits of a guest policy that a block is checked for.
const (
	policyReserved1 = 1 << 17 // must be one
	policyAllowed   = 1<<26 - 1
)

// Block is an ID block.
type Block struct {
	// LaunchDigest is what the launch must measure to.
	LaunchDigest measure.Digest
	// FamilyID and ImageID are free; reports carry them.
	FamilyID, ImageID [16]byte
	// GuestSVN is the image's security version; reports carry it.
	GuestSVN uint32
	// Policy is the guest policy, equal to that of the launch.
	Policy uint64
}

// Marshal is the block as the firmware reads it, BlockSize bytes.
func (b *Block) Marshal() []byte {
	out := make([]byte, 0, BlockSize)
	out = append(out, b.LaunchDigest[:]...)
	out = append(out, b.FamilyID[:]...)
	out = append(out, b.ImageID[:]...)
	out = binary.LittleEndian.AppendUint32(out, blockVersion)
	out = binary.LittleEndian.AppendUint32(out, b.GuestSVN)
	return binary.LittleEndian.AppendUint64(out, b.Policy)
}

// ParseBlock reads a block.
func ParseBlock(raw []byte) (*Block, error) {
	if len(raw) != BlockSize {
		return nil, fmt.Errorf("id block: got %d bytes, want %d", len(raw), BlockSize)
	}
	if v := binary.LittleEndian.Uint32(raw[0x50:]); v != blockVersion {
		return nil, fmt.Errorf("id block: got version %d, want %d", v, blockVersion)
	}
	b := &Block{
		LaunchDigest: measure.Digest(raw[:0x30]),
		FamilyID:     [16]byte(raw[0x30:]),
		ImageID:      [16]byte(raw[0x40:]),
		GuestSVN:     binary.LittleEndian.Uint32(raw[0x54:]),
		Policy:       binary.LittleEndian.Uint64(raw[0x58:]),
	}
	return b, b.Check()
}

// Check refuses what no launch can have.
func (b *Block) Check() error {
	if b.Policy&policyReserved1 == 0 || b.Policy&^policyAllowed != 0 {
		return fmt.Errorf("id block: guest policy: got %#x, want bit 17 set and none above 25", b.Policy)
	}
	if b.LaunchDigest == (measure.Digest{}) {
		return fmt.Errorf("id block: launch digest: got zeros")
	}
	return nil
}

// Text is a structure as QEMU's id-block and id-auth options take it: base64.
func Text(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }
