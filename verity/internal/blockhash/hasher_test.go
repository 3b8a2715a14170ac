package blockhash

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// ways are the implementations that this machine has.
func ways() map[string]bool {
	out := map[string]bool{"standard-library": false}
	if accelerated() {
		out["instructions"] = true
	}
	return out
}

func want(salt, block []byte) [Size]byte { return sha256.Sum256(append(bytes.Clone(salt), block...)) }

func newTest(t testing.TB, salt []byte, fast bool) *Hasher {
	t.Helper()
	h, err := newHasher(salt, fast)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Every length of salt, random blocks at every alignment, and one Hasher for all of them: nothing of a block stays behind.
func TestSumsEqualSHA256(t *testing.T) {
	for name, fast := range ways() {
		t.Run(name, func(t *testing.T) {
			random := rand.NewChaCha8([32]byte{1})
			for size := range MaxSaltSize + 1 {
				salt := make([]byte, size)
				_, _ = random.Read(salt) // does not fail
				h := newTest(t, salt, fast)
				for at := range 64 {
					memory := make([]byte, 2*BlockSize+128)
					_, _ = random.Read(memory)
					a := (*[BlockSize]byte)(memory[at:])
					b := (*[BlockSize]byte)(memory[BlockSize+63-at:])
					compare(t, h, salt, a, b)
				}
			}
		})
	}
}

func compare(t testing.TB, h *Hasher, salt []byte, a, b *[BlockSize]byte) {
	t.Helper()
	var sums [2][Size]byte
	h.Sum2(&sums[0], &sums[1], a, b)
	if wantA, wantB := want(salt, a[:]), want(salt, b[:]); sums != [2][Size]byte{wantA, wantB} {
		t.Fatalf("salt of %d bytes: got %x, want %x and %x", len(salt), sums, wantA, wantB)
	}
	if got := h.Sum(a); got != sums[0] {
		t.Fatalf("salt of %d bytes, one block: got %x, want %x", len(salt), got, sums[0])
	}
}

// Simple contents, where a wrong constant or carry would show as a pattern, and two views of one block.
func TestSumsOfPatterns(t *testing.T) {
	for name, fast := range ways() {
		t.Run(name, func(t *testing.T) {
			h := newTest(t, make([]byte, 32), fast)
			var zero, ones, count [BlockSize]byte
			for i := range BlockSize {
				ones[i], count[i] = 0xff, byte(i)
			}
			blocks := []*[BlockSize]byte{&zero, &ones, &count}
			for _, a := range blocks {
				for _, b := range blocks {
					compare(t, h, make([]byte, 32), a, b)
				}
			}
		})
	}
}

// The blocks stay as they are, and only the 32 bytes of each digest are written.
func TestSum2WritesOnlyTheDigests(t *testing.T) {
	for name, fast := range ways() {
		t.Run(name, func(t *testing.T) {
			random := rand.NewChaCha8([32]byte{2})
			h := newTest(t, []byte("salt"), fast)
			memory := make([]byte, 2*BlockSize)
			_, _ = random.Read(memory)
			before := bytes.Clone(memory)
			for at := range 40 {
				out := bytes.Repeat([]byte{0xa5}, 256)
				a, b := (*[BlockSize]byte)(memory), (*[BlockSize]byte)(memory[BlockSize:])
				h.Sum2((*[Size]byte)(out[at:]), (*[Size]byte)(out[at+100:]), a, b)
				wanted := bytes.Repeat([]byte{0xa5}, 256)
				sumA, sumB := want([]byte("salt"), a[:]), want([]byte("salt"), b[:])
				copy(wanted[at:], sumA[:])
				copy(wanted[at+100:], sumB[:])
				if !bytes.Equal(out, wanted) {
					t.Fatalf("at %d: got %x, want %x", at, out, wanted)
				}
			}
			if !bytes.Equal(memory, before) {
				t.Error("a block was written to")
			}
		})
	}
}

func TestSumsAllocateNothing(t *testing.T) {
	for name, fast := range ways() {
		t.Run(name, func(t *testing.T) {
			h := newTest(t, make([]byte, 32), fast)
			blocks := make([]byte, 2*BlockSize)
			sums := make([]byte, 2*Size)
			if got := testing.AllocsPerRun(100, func() {
				h.Sum2((*[Size]byte)(sums), (*[Size]byte)(sums[Size:]), (*[BlockSize]byte)(blocks), (*[BlockSize]byte)(blocks[BlockSize:]))
				sums[0] ^= h.Sum((*[BlockSize]byte)(blocks))[0]
			}); got != 0 {
				t.Errorf("got %v allocations, want none", got)
			}
		})
	}
}

func TestNewRefusesLongSalt(t *testing.T) {
	if _, err := New(make([]byte, MaxSaltSize+1)); err == nil {
		t.Error("accepted")
	}
}

func BenchmarkSum2(b *testing.B) {
	for name, fast := range ways() {
		b.Run(name, func(b *testing.B) {
			h := newTest(b, make([]byte, 32), fast)
			blocks := make([]byte, 32*BlockSize)
			var sums [2][Size]byte
			b.SetBytes(int64(len(blocks)))
			b.ReportAllocs()
			for b.Loop() {
				for at := 0; at < len(blocks); at += 2 * BlockSize {
					h.Sum2(&sums[0], &sums[1], (*[BlockSize]byte)(blocks[at:]), (*[BlockSize]byte)(blocks[at+BlockSize:]))
				}
			}
		})
	}
}
