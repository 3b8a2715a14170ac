//go:build !purego

package blockhash

// CPUID's bits for the instructions that compress2 uses.
const (
	leaf1SSSE3 = 1 << 9  // ECX: PSHUFB, PALIGNR
	leaf7SHA   = 1 << 29 // EBX: SHA256RNDS2, SHA256MSG1, SHA256MSG2
)

var hasSHA = detect()

// accelerated says that compress2 may be called.
func accelerated() bool { return hasSHA }

// detect asks the processor; golang.org/x/sys/cpu does not say.
func detect() bool {
	if leaves, _, _ := cpuid(0, 0); leaves < 7 {
		return false
	}
	_, _, ecx := cpuid(1, 0)
	_, ebx, _ := cpuid(7, 0)
	return ecx&leaf1SSSE3 != 0 && ebx&leaf7SHA != 0
}

// cpuid runs the instruction of that name.
//
//go:noescape
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx uint32)

// compress2 runs SHA-256's compression function over n chunks of 64 bytes at a with the first state, and over n at b with
// the second; n is at least 1. Nothing needs to be aligned.
//
//go:noescape
func compress2(states *[2]state, a, b *byte, n int)
