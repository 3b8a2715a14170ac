package blockhash

import "testing"

// FuzzSums asserts for any salt, any two blocks and any alignment, in every way this machine has: the digests are those of
// crypto/sha256, also when the Hasher was used for something else before, and a salt that is too long is refused.
func FuzzSums(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint8(0))
	f.Add(make([]byte, 32), []byte("data"), uint8(1))
	f.Add([]byte("salt"), []byte{0xff}, uint8(63))
	f.Add(make([]byte, 33), []byte{1}, uint8(2))
	f.Fuzz(func(t *testing.T, salt, data []byte, at uint8) {
		memory := make([]byte, 256+2*BlockSize)
		a := (*[BlockSize]byte)(memory[at:])
		b := (*[BlockSize]byte)(memory[int(at)+BlockSize:])
		for i := 0; len(data) > 0 && i < BlockSize; i++ {
			a[i], b[BlockSize-1-i] = data[i%len(data)], data[i%len(data)]^byte(i>>8)
		}
		for _, fast := range ways() {
			h, err := newHasher(salt, fast)
			if err != nil {
				if h != nil || len(salt) <= MaxSaltSize {
					t.Fatalf("salt of %d bytes: got %v, %v", len(salt), h, err)
				}
				continue
			}
			if len(salt) > MaxSaltSize {
				t.Fatalf("salt of %d bytes was accepted", len(salt))
			}
			compare(t, h, salt, a, b)
			compare(t, h, salt, b, b)
		}
	})
}
