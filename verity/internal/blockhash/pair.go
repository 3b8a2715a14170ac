package blockhash

import "encoding/binary"

const chunkSize = 64 // what SHA-256's compression function takes at a time

// state is SHA-256's state in the order of the instructions' registers: words F, E, B, A, then H, G, D, C.
type state [8]uint32

// initial is SHA-256's first state (FIPS 180-4, section 5.3.3).
var initial = state{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// put writes the digest.
func (s *state) put(sum *[Size]byte) {
	for i, word := range [8]uint32{s[3], s[2], s[7], s[6], s[1], s[0], s[5], s[4]} {
		binary.BigEndian.PutUint32(sum[4*i:], word)
	}
}

// pair hashes two blocks side by side. The message is the salt, the block and the padding: a first chunk of salt and the
// block's start, whole chunks read from the block itself, and a last chunk of the block's end and the padding, which always
// fits as the salt is short.
type pair struct {
	salt        int
	states      [2]state
	first, last [2][chunkSize]byte
}

func (p *pair) init(salt []byte) {
	p.salt = len(salt)
	for i := range 2 {
		copy(p.first[i][:], salt)
		p.last[i][len(salt)] = 0x80
		binary.BigEndian.PutUint64(p.last[i][chunkSize-8:], uint64(len(salt)+BlockSize)*8)
	}
}

func (p *pair) sum(sumA, sumB *[Size]byte, a, b *[BlockSize]byte) {
	start := chunkSize - p.salt // in the block, of the whole chunks
	const whole = BlockSize/chunkSize - 1
	end := start + whole*chunkSize
	copy(p.first[0][p.salt:], a[:start])
	copy(p.first[1][p.salt:], b[:start])
	copy(p.last[0][:], a[end:])
	copy(p.last[1][:], b[end:])
	p.states = [2]state{initial, initial}
	compress2(&p.states, &p.first[0][0], &p.first[1][0], 1)
	compress2(&p.states, &a[start], &b[start], whole)
	compress2(&p.states, &p.last[0][0], &p.last[1][0], 1)
	p.states[0].put(sumA)
	p.states[1].put(sumB)
}
