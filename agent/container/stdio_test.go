package container

import (
	"bytes"
	"os"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// What a process wrote to its terminal just before its end is read after it.
func TestTerminalKeepsLastOutput(t *testing.T) {
	last := bytes.Repeat([]byte("last words "), 300)
	for range 100 {
		s, slave := newTerminal(t)
		if _, err := slave.Write(last); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		s.exited()
		var got []byte
		for {
			data, err := s.read(t.Context(), false, testRead)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) == 0 {
				break
			}
			got = append(got, data...)
		}
		if !bytes.Equal(got, last) {
			t.Fatalf("got %d bytes, want %d", len(got), len(last))
		}
	}
}

func TestTerminalResize(t *testing.T) {
	s, slave := newTerminal(t)
	defer slave.Close()
	if err := s.resize(37, 91); err != nil {
		t.Fatal(err)
	}
	size, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row != 37 || size.Col != 91 {
		t.Errorf("got %+v, %v, want 37 rows of 91", size, err)
	}
	if _, err := s.write([]byte("in\n")); err != nil {
		t.Error(err)
	}
	s.out.discard()
}

// testRead is how much one read of a test asks for, in bytes.
const testRead = 4096

func newTerminal(t *testing.T) (*stdio, *os.File) {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Skipf("needs pseudo terminals: %v", err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &stdio{}
	if err := s.take(master); err != nil {
		t.Fatal(err)
	}
	return s, slave
}
