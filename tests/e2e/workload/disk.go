package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// filling is what fill writes: enough that one file is many blocks.
func filling(text string) []byte {
	const size = 4 << 20
	return bytes.Repeat([]byte(text), size/len(text))
}

// fill writes a file full of a text, to the disk.
func fill(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	_, err = f.Write(filling(args[1]))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	fmt.Println("filled")
	return nil
}

// check reads such a file from the disk, not from memory, and says whether it is as it was written.
func check(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	want := filling(args[1])
	const chunk = 1 << 20
	// Direct I/O wants memory at a page's start.
	got, err := syscall.Mmap(-1, 0, len(want)/chunk*chunk+2*chunk, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	n := 0
	for n+chunk <= len(got) {
		read, err := f.Read(got[n : n+chunk])
		n += read
		if errors.Is(err, io.EOF) || err == nil && read < chunk {
			break
		}
		if err != nil {
			return err
		}
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("got %d other bytes, want %d", n, len(want))
	}
	fmt.Println("as written")
	return nil
}
