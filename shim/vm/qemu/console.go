package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxConsole bounds what a guest can make the host keep of its console, in bytes. A boot says some KiB.
const maxConsole = 16 << 20

// consoleFull ends a console that was longer.
const consoleFull = "\n[the console was longer than this: the rest is dropped]\n"

// openConsole makes the file of the serial console and returns what QEMU writes to. That is a pipe, whose other end is copied to the file until the last
// writer has closed it; done is closed then. The file itself goes to a VM that outlives us, and so does one that keeps nothing.
func openConsole(path string, detached bool) (theirs *os.File, done chan struct{}, err error) {
	// Made by us, who alone may read it.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("console: %w", err)
	}
	done = make(chan struct{})
	info, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("console: %w", err), file.Close())
	}
	if detached || !info.Mode().IsRegular() {
		close(done)
		return file, done, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("console: %w", err), file.Close())
	}
	go func() {
		defer close(done)
		copyConsole(file, r, maxConsole)
		_, _ = r.Close(), file.Close()
	}()
	return w, done, nil
}

// copyConsole writes at most limit bytes and reads until the end: a console that is full, or a disk that is, must not stop the guest.
func copyConsole(to io.Writer, from io.Reader, limit int64) {
	n, err := io.CopyN(to, from, limit)
	if err == nil {
		var more [1]byte
		if _, err = io.ReadFull(from, more[:]); err == nil {
			_, _ = io.WriteString(to, consoleFull)
		}
	}
	if n == limit || !errors.Is(err, io.EOF) {
		_, _ = io.Copy(io.Discard, from)
	}
}
