package verity_test

import (
	"crypto/sha256"
	"encoding/binary"
)

const block = 4096

// textbookTree builds the tree the way the format's description does, level by level and all in memory: slow, and obviously
// right. The fast builder is compared with it.
func textbookTree(data, salt []byte) (tree []byte, root [32]byte) {
	hash := func(b []byte) []byte {
		sum := sha256.Sum256(append(append([]byte{}, salt...), b...))
		return sum[:]
	}
	level := data
	for len(level) > block {
		var above []byte
		for at := 0; at < len(level); at += block {
			above = append(above, hash(level[at:at+block])...)
		}
		for len(above)%block != 0 {
			above = append(above, 0)
		}
		tree = append(append([]byte{}, above...), tree...) // each level goes before the one below it
		level = above
	}
	copy(root[:], hash(level))
	return tree, root
}

// fakeExt4 is a data area of n blocks whose first block passes for ext4's.
func fakeExt4(n int, seed byte) []byte {
	b := make([]byte, n*block)
	for i := range b {
		b[i] = byte(i*7+i/block) ^ seed
	}
	sb := b[1024:2048]
	clear(sb)
	binary.LittleEndian.PutUint16(sb[0x38:], 0xEF53)
	binary.LittleEndian.PutUint32(sb[0x18:], 2)
	binary.LittleEndian.PutUint32(sb[0x04:], uint32(n))
	return b
}

// fakeEROFS is the same for EROFS.
func fakeEROFS(n int) []byte {
	b := make([]byte, n*block)
	binary.LittleEndian.PutUint32(b[1024:], 0xE0F5E1E2)
	b[1024+12] = 12
	binary.LittleEndian.PutUint32(b[1024+36:], uint32(n))
	return b
}

// memory is a disk in memory that grows when written.
type memory struct{ b []byte }

func (m *memory) ReadAt(p []byte, off int64) (int, error) { return readAt(m.b, p, off) }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(m.b) {
		m.b = append(m.b, make([]byte, need-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}
