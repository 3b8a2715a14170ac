package blockhash

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Blocks that end right before and start right after memory that cannot be read: one byte too many ends the test.
func TestSum2StaysWithinTheBlocks(t *testing.T) {
	page := os.Getpagesize()
	block := (BlockSize + page - 1) / page * page
	memory, err := unix.Mmap(-1, 0, 2*block+3*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	first, second := memory[page:page+block], memory[2*page+block:2*page+2*block]
	for _, m := range [][]byte{first, second} {
		if err := unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			t.Fatal(err)
		}
		for i := range m {
			m[i] = byte(i * i)
		}
		if err := unix.Mprotect(m, unix.PROT_READ); err != nil { // what is hashed is not written to either
			t.Fatal(err)
		}
	}
	start, end := (*[BlockSize]byte)(second), (*[BlockSize]byte)(first[block-BlockSize:])
	for name, fast := range ways() {
		t.Run(name, func(t *testing.T) {
			for size := range MaxSaltSize + 1 {
				compare(t, newTest(t, make([]byte, size), fast), make([]byte, size), start, end)
				compare(t, newTest(t, make([]byte, size), fast), make([]byte, size), end, start)
			}
		})
	}
}
