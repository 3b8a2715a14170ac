package verity_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
)

// sparseFile has data at some blocks, holes between and zeros that are written.
func sparseFile(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{3*groupBytes + 5*block, 9 * groupBytes, 20*groupBytes + 100*block} {
		if _, err := f.WriteAt(fakeExt4(3, byte(at>>20)), at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt(make([]byte, groupBytes), 12*groupBytes); err != nil {
		t.Fatal(err)
	}
	return f
}

// A file with holes has the root of the bytes that it reads as, wherever its offset is, and the offset stays.
func TestBuildSparseFile(t *testing.T) {
	for name, size := range map[string]int64{
		"hole-at-the-end": 40*groupBytes + 7*block,
		"data-at-the-end": 20*groupBytes + 103*block,
		"all-hole":        3 * groupBytes,
		"one-hole-block":  block,
	} {
		t.Run(name, func(t *testing.T) {
			f := sparseFile(t, max(size, 20*groupBytes+103*block))
			data := make([]byte, size)
			if _, err := f.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Seek(4711, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			wantTree, want := textbookTree(data, verity.DefaultSalt())
			tree := &lockedMemory{}
			got, err := verity.Build(t.Context(), f, size, tree, verity.BuildOptions{})
			if err != nil || got != want {
				t.Errorf("root: got %s, %v, want %x", got, err, want)
			}
			if string(tree.b) != string(wantTree) {
				t.Error("tree differs")
			}
			if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 4711 {
				t.Errorf("offset: got %d, %v, want 4711", at, err)
			}
		})
	}
}

// A hole is inside the file; what is after its end is missing, not zero.
func TestBuildShortFile(t *testing.T) {
	f := sparseFile(t, 30*groupBytes)
	if _, err := verity.Build(t.Context(), f, 31*groupBytes, nil, verity.BuildOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// Files without holes to ask for (here a FIFO, which cannot be read by place at all) are read like any reader; opening this one
// again would wait for a writer for ever.
func TestBuildOtherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if _, err := verity.Build(t.Context(), fifo, 2*block, nil, verity.BuildOptions{}); err == nil {
		t.Error("a FIFO was accepted")
	}
	closed := sparseFile(t, 30*groupBytes)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := verity.Build(t.Context(), closed, 30*groupBytes, nil, verity.BuildOptions{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}
