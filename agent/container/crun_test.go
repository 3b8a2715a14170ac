package container

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSealedRuntimeRunsAndCannotBeChanged(t *testing.T) {
	path, err := sealRuntime("true")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), path).Run(); err != nil {
		t.Fatalf("run the sealed copy: %v", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		defer f.Close()
		if _, err = f.Write([]byte("x")); err == nil {
			t.Fatal("the sealed copy was written to")
		}
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ETXTBSY) {
		t.Fatalf("write to the sealed copy: got %v, want that it is not permitted", err)
	}
	if got, err := sealRuntime("no-such-runtime-here"); err != nil || got != "no-such-runtime-here" {
		t.Fatalf("got %q, %v, want the name as it is", got, err)
	}
}

func TestReleaseInit(t *testing.T) {
	state := t.TempDir()
	if released, err := releaseInit(state); released || err != nil {
		t.Fatalf("no fifo: got %v, %v, want that the runtime is asked", released, err)
	}
	fifo := filepath.Join(state, "exec.fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := releaseInit(state); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("nobody waits: got %v, want an error", err)
	}
	waiting, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if released, err := releaseInit(state); !released || err != nil {
		t.Fatalf("got %v, %v, want released", released, err)
	}
	buf := make([]byte, 2)
	if n, err := waiting.Read(buf); n != 1 || err != nil || buf[0] != 0 {
		t.Fatalf("got %d bytes, %v, want one zero byte", n, err)
	}
	if _, err := os.Lstat(fifo); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the fifo stays: %v", err)
	}
}
