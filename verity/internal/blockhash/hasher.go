package blockhash

import (
	"crypto/fips140"
	"crypto/sha256"
	"fmt"
)

const (
	// BlockSize is the length of a block in bytes.
	BlockSize = 4096
	// Size is the length of a digest in bytes.
	Size = sha256.Size
	// MaxSaltSize is the longest salt in bytes: with it, salt and padding stay within the first and the last chunk.
	MaxSaltSize = 32
)

// Hasher hashes salted blocks. It holds scratch space: each goroutine needs its own.
type Hasher struct {
	salt int
	fast bool
	// joined is salt and block in one piece, for the standard library.
	joined [MaxSaltSize + BlockSize]byte
	pair   pair
}

// New returns a Hasher that puts salt, at most MaxSaltSize bytes, before each block.
func New(salt []byte) (*Hasher, error) {
	return newHasher(salt, accelerated() && !fips140.Enabled())
}

func newHasher(salt []byte, fast bool) (*Hasher, error) {
	if len(salt) > MaxSaltSize {
		return nil, fmt.Errorf("block hash: salt size: got %d, want at most %d", len(salt), MaxSaltSize)
	}
	h := &Hasher{salt: len(salt), fast: fast}
	copy(h.joined[:], salt)
	h.pair.init(salt)
	return h, nil
}

// Sum hashes one block.
func (h *Hasher) Sum(block *[BlockSize]byte) [Size]byte {
	copy(h.joined[h.salt:], block[:])
	return sha256.Sum256(h.joined[:h.salt+BlockSize])
}

// Sum2 hashes two blocks; they may be the same, and a digest may lie anywhere but in them.
func (h *Hasher) Sum2(sumA, sumB *[Size]byte, a, b *[BlockSize]byte) {
	if h.fast {
		h.pair.sum(sumA, sumB, a, b)
		return
	}
	*sumA, *sumB = h.Sum(a), h.Sum(b)
}
