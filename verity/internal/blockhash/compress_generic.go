//go:build !amd64 || purego

package blockhash

// accelerated says that compress2 may be called.
func accelerated() bool { return false }

func compress2(*[2]state, *byte, *byte, int) { panic("blockhash: compress2 on a machine without it") }
