package verity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

func readAt(b, p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// treeSizes are block counts around every border: one block, one full tree block, two levels, three levels, read chunks.
var treeSizes = []int{1, 2, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1000, 128*128 - 1, 128 * 128, 128*128 + 1}

func TestBuildEqualsTextbook(t *testing.T) {
	salts := map[string][]byte{"default": nil, "none": {}, "short": []byte("abc"), "random": []byte("0123456789abcdef0123456789ABCDEF")}
	for name, salt := range salts {
		for _, n := range treeSizes {
			if n > 1000 && name != "default" { // the salt matters per block, the size per level
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", name, n), func(t *testing.T) {
				data := fakeExt4(n, 0)
				used := salt
				if used == nil {
					used = verity.DefaultSalt()
				}
				wantTree, want := textbookTree(data, used)
				counts := []int{1, 2, 7}
				if n > 1000 {
					counts = counts[1:2]
				}
				for _, workers := range counts {
					tree := &lockedMemory{}
					got, err := verity.Build(t.Context(), bytes.NewReader(data), int64(len(data)), tree, verity.BuildOptions{Salt: salt, Workers: workers})
					if err != nil {
						t.Fatal(err)
					}
					if got != want {
						t.Errorf("root with %d workers: got %s, want %x", workers, got, want)
					}
					if !bytes.Equal(tree.b, wantTree) {
						t.Errorf("tree with %d workers differs", workers)
					}
				}
				if got, err := verity.Build(t.Context(), bytes.NewReader(data), int64(len(data)), nil, verity.BuildOptions{Salt: salt}); err != nil || got != want {
					t.Errorf("root without a tree: got %s, %v, want %x", got, err, want)
				}
			})
		}
	}
}

type lockedMemory struct {
	mu sync.Mutex
	memory
}

func (m *lockedMemory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.memory.ReadAt(p, off)
}

func (m *lockedMemory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.memory.WriteAt(p, off)
}

func TestBuildRefuses(t *testing.T) {
	for name, size := range map[string]int64{"zero": 0, "negative": -4096, "not-a-multiple": 4097, "too-large": 1<<40 + 4096} {
		t.Run(name, func(t *testing.T) {
			if _, err := verity.Build(t.Context(), bytes.NewReader(nil), size, nil, verity.BuildOptions{}); err == nil {
				t.Error("accepted")
			}
		})
	}
	t.Run("long-salt", func(t *testing.T) {
		if _, err := verity.Build(t.Context(), bytes.NewReader(make([]byte, 4096)), 4096, nil, verity.BuildOptions{Salt: make([]byte, 33)}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("short-data", func(t *testing.T) {
		_, err := verity.Build(t.Context(), bytes.NewReader(make([]byte, 4096*3)), 4096*300, nil, verity.BuildOptions{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := verity.Build(ctx, bytes.NewReader(make([]byte, 4096*300)), 4096*300, nil, verity.BuildOptions{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
	t.Run("tree-write-fails", func(t *testing.T) {
		_, err := verity.Build(t.Context(), bytes.NewReader(make([]byte, 4096*300)), 4096*300, fullDisk{}, verity.BuildOptions{})
		if !errors.Is(err, errFull) {
			t.Errorf("got %v, want %v", err, errFull)
		}
	})
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, errFull }

// Blocks must not allocate: 64 times the blocks may cost only what the workers and the upper levels cost.
func TestBuildAllocations(t *testing.T) {
	allocs := func(blocks int) float64 {
		data := make([]byte, blocks*block)
		return testing.AllocsPerRun(5, func() {
			if _, err := verity.Build(t.Context(), bytes.NewReader(data), int64(len(data)), nil, verity.BuildOptions{Workers: 2}); err != nil {
				t.Fatal(err)
			}
		})
	}
	small, large := allocs(256), allocs(256*64)
	if large > small+10 {
		t.Errorf("allocations: got %v for 64 times the blocks, want at most %v", large, small+10)
	}
}

// veritysetup finds the tool that defines the format.
func veritysetup(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("veritysetup")
	if err != nil {
		t.Skip("veritysetup is missing: apt-get install cryptsetup-bin")
	}
	return path
}

func TestBuildEqualsVeritysetup(t *testing.T) {
	tool := veritysetup(t)
	for _, n := range []int{2, 128, 129, 5000, 128*128 + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := t.TempDir()
			data := fakeExt4(n, 1)
			ours := filepath.Join(dir, "ours")
			theirs := filepath.Join(dir, "theirs")
			for _, p := range []string{ours, theirs} {
				if err := os.WriteFile(p, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := os.OpenFile(ours, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			img, err := verity.Seal(t.Context(), f, int64(len(data)), verity.BuildOptions{})
			if err != nil {
				t.Fatal(err)
			}
			params := []string{"--salt=" + strings.Repeat("00", 32), fmt.Sprintf("--hash-offset=%d", len(data)), fmt.Sprintf("--data-blocks=%d", n)}
			out, err := exec.CommandContext(t.Context(), tool, append([]string{"format", theirs, theirs}, params...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("veritysetup format: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), img.Root.String()) {
				t.Errorf("root: got %s, veritysetup says\n%s", img.Root, out)
			}
			// Its verify reads our superblock and tree; our Inspect and Verify read its disk.
			if out, err := exec.CommandContext(t.Context(), tool, "verify", ours, ours, img.Root.String(), params[1]).CombinedOutput(); err != nil {
				t.Errorf("veritysetup verify of our disk: %v\n%s", err, out)
			}
			g, err := os.Open(theirs)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			info, err := g.Stat()
			if err != nil {
				t.Fatal(err)
			}
			other, err := verity.Inspect(g, info.Size(), verity.InspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := verity.Verify(t.Context(), g, other); err != nil || other.Root != img.Root {
				t.Errorf("veritysetup's disk: got root %s, %v, want %s", other.Root, err, img.Root)
			}
		})
	}
}

func TestSealIsDeterministic(t *testing.T) {
	data := fakeExt4(300, 9)
	var disks [2]lockedMemory
	for i := range disks {
		disks[i].b = bytes.Clone(data)
		if _, err := verity.Seal(t.Context(), &disks[i], int64(len(data)), verity.BuildOptions{Workers: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(disks[0].b, disks[1].b) {
		t.Error("two builds of one disk differ")
	}
}

func TestVerifyFindsTheBlock(t *testing.T) {
	const n = 128*128 + 300 // three levels: 1 + 2 + 131 tree blocks
	data := fakeExt4(n, 3)
	disk := &lockedMemory{memory: memory{b: bytes.Clone(data)}}
	img, err := verity.Seal(t.Context(), disk, int64(len(data)), verity.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tree := n*block + block
	cases := []struct {
		name string
		at   int
		want verity.CorruptError
	}{
		{"first-data-block", 17, verity.CorruptError{Data: true, Block: 0}},
		{"middle-data-block", 7777*block + 4095, verity.CorruptError{Data: true, Block: 7777}},
		{"last-data-block", n*block - 1, verity.CorruptError{Data: true, Block: n - 1}},
		{"hash-of-a-data-block", tree + 3*block + 5*32, verity.CorruptError{Data: true, Block: 5}},
		{"padding-of-the-lowest-level", tree + 134*block - 1, verity.CorruptError{Block: 133}},
		{"middle-level", tree + block + 8, verity.CorruptError{Block: 1}},
		{"top", tree + 3, verity.CorruptError{Block: 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			disk.b[c.at] ^= 1
			defer func() { disk.b[c.at] ^= 1 }()
			err := verity.Verify(t.Context(), disk, img)
			var got *verity.CorruptError
			if !errors.As(err, &got) || *got != c.want {
				t.Errorf("got %v, want %v", err, &c.want)
			}
		})
	}
	if err := verity.Verify(t.Context(), disk, img); err != nil {
		t.Errorf("the undamaged disk: %v", err)
	}
	t.Run("one-block-disk", func(t *testing.T) {
		one := &lockedMemory{memory: memory{b: fakeEROFS(1)}}
		img, err := verity.Seal(t.Context(), one, block, verity.BuildOptions{})
		if err != nil {
			t.Fatal(err)
		}
		one.b[0] ^= 1
		if err := verity.Verify(t.Context(), one, img); !errors.Is(err, verity.ErrChanged) {
			t.Errorf("got %v, want %v", err, verity.ErrChanged)
		}
	})
}
