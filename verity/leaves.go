package verity

import (
	"bytes"

	"github.com/cloister-cc/cloister/verity/internal/blockhash"
)

// zeroBlock is what a hole in a file reads as.
var zeroBlock [BlockSize]byte

// leafHasher hashes runs of blocks, data or tree alike. Each goroutine needs its own.
type leafHasher struct {
	hasher *blockhash.Hasher
	zero   Hash // of a block of zeros: sparse disks are full of them
}

func newLeafHasher(salt []byte) (*leafHasher, error) {
	h, err := blockhash.New(salt)
	if err != nil {
		return nil, err
	}
	return &leafHasher{hasher: h, zero: h.Sum(&zeroBlock)}, nil
}

// sums writes the digest of each block of blocks to out. It hashes two at a time, and blocks of zeros not at all.
func (l *leafHasher) sums(out, blocks []byte) {
	var waiting []byte // a block for which there is no second one yet
	var place []byte   // where its digest belongs
	for ; len(blocks) > 0; out, blocks = out[HashSize:], blocks[BlockSize:] {
		switch {
		case bytes.Equal(blocks[:BlockSize], zeroBlock[:]):
			copy(out, l.zero[:])
		case waiting == nil:
			waiting, place = blocks, out
		default:
			l.hasher.Sum2((*[HashSize]byte)(place), (*[HashSize]byte)(out), (*[BlockSize]byte)(waiting), (*[BlockSize]byte)(blocks))
			waiting = nil
		}
	}
	if waiting != nil {
		sum := l.hasher.Sum((*[BlockSize]byte)(waiting))
		copy(place, sum[:])
	}
}

// zeroSums fills out, all or part of a block of the tree's lowest level, with the digests of blocks of zeros.
func (l *leafHasher) zeroSums(out []byte) {
	for at := 0; at < len(out); at += HashSize {
		copy(out[at:], l.zero[:])
	}
}
