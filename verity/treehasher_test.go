package verity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

const groupBytes = 128 * block // the data below one block of the tree's lowest level

func newTree(t testing.TB, opts verity.TreeOptions) *verity.TreeHasher {
	t.Helper()
	h, err := verity.NewTreeHasher(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// wantTree compares root and tree with the textbook's.
func wantTree(t testing.TB, h *verity.TreeHasher, data, salt []byte) {
	t.Helper()
	wanted, want := textbookTree(data, salt)
	got, err := h.Finish(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("root: got %s, want %x", got, want)
	}
	tree := &lockedMemory{}
	if err := h.WriteTree(tree); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tree.b, wanted) {
		t.Fatal("tree differs")
	}
}

// dirtySpool has bytes in it that must not matter.
func dirtySpool() *lockedMemory {
	return &lockedMemory{memory: memory{b: bytes.Repeat([]byte{0xee}, 3*block)}}
}

func TestTreeHasherInOrder(t *testing.T) {
	for _, n := range treeSizes {
		data := fakeExt4(n, 0)
		for _, c := range []struct {
			name    string
			workers int
			spool   verity.Disk
		}{{"one-worker", 1, nil}, {"two-workers-and-spool", 2, dirtySpool()}, {"five-workers", 5, nil}} {
			if n > 1000 && c.spool == nil { // the size matters for the levels, which are built in the same way
				continue
			}
			t.Run(fmt.Sprintf("%d-blocks-%s", n, c.name), func(t *testing.T) {
				h := newTree(t, verity.TreeOptions{BuildOptions: verity.BuildOptions{Workers: c.workers}, Spool: c.spool})
				if _, err := io.CopyBuffer(onlyWriter{h}, onlyReader{bytes.NewReader(data)}, make([]byte, 70001)); err != nil {
					t.Fatal(err)
				}
				wantTree(t, h, data, verity.DefaultSalt())
			})
		}
	}
}

type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }

// step is one call of a random history.
type step struct {
	kind  byte // of write, zeros, hash at
	n, at int
}

// play makes random calls and does the same to a plain array.
func play(t testing.TB, h *verity.TreeHasher, steps []step) []byte {
	t.Helper()
	var model []byte
	extend := func(to int) {
		if to > len(model) {
			model = append(model, make([]byte, to-len(model))...)
		}
	}
	cursor := 0
	for i, s := range steps {
		var err error
		switch s.kind % 3 {
		case 0:
			p := bytes.Repeat([]byte{byte(i + 1)}, s.n)
			extend(cursor + s.n)
			cursor += copy(model[cursor:], p)
			_, err = h.Write(p)
		case 1:
			extend(cursor + s.n)
			clear(model[cursor : cursor+s.n])
			cursor += s.n
			err = h.WriteZeros(int64(s.n))
		case 2:
			if open := cursor / block; cursor%block != 0 && s.at/block <= open && open < s.at/block+s.n/block {
				continue
			}
			p := bytes.Repeat([]byte{byte(i + 1), 7}, s.n/block*block/2)
			extend((s.at / block * block) + len(p))
			copy(model[s.at/block*block:], p)
			err = h.HashAt(uint64(s.at/block), p)
		}
		if err != nil {
			t.Fatalf("step %d: %+v: %v", i, s, err)
		}
	}
	if rest := cursor % block; rest != 0 {
		if _, err := h.Write(bytes.Repeat([]byte{9}, block-rest)); err != nil {
			t.Fatal(err)
		}
		extend(cursor + block - rest)
		copy(model[cursor:], bytes.Repeat([]byte{9}, block-rest))
	}
	extend(block)
	return model
}

// Random histories of all three calls, against an array.
func TestTreeHasherAnyOrder(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			var steps []step
			for range 30 {
				s := step{kind: byte(random.IntN(3)), n: random.IntN(3 * block), at: random.IntN(12 * groupBytes)}
				if random.IntN(4) == 0 {
					s.n = random.IntN(3 * groupBytes)
				}
				steps = append(steps, s)
			}
			opts := verity.TreeOptions{BuildOptions: verity.BuildOptions{Workers: 1 + int(seed%3), Salt: []byte("salt")[:seed%5]}}
			if seed%2 == 0 {
				opts.Spool = dirtySpool()
			}
			h := newTree(t, opts)
			model := play(t, h, steps)
			// The data may end after what was given: in zeros.
			model = append(model, make([]byte, int(seed%3)*100*block)...)
			wantTree(t, h, model, opts.Salt)
		})
	}
}

// A hole costs neither time nor memory: these would be 4 GiB of zeros.
func TestTreeHasherHole(t *testing.T) {
	const size = 4 << 30
	root := func(write func(h *verity.TreeHasher) error) verity.Hash {
		h := newTree(t, verity.TreeOptions{})
		if err := write(h); err != nil {
			t.Fatal(err)
		}
		got, err := h.Finish(size)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	last := bytes.Repeat([]byte{1}, block)
	inOrder := root(func(h *verity.TreeHasher) error {
		if err := h.WriteZeros(size - block); err != nil {
			return err
		}
		_, err := h.Write(last)
		return err
	})
	byPlace := root(func(h *verity.TreeHasher) error { return h.HashAt(size/block-1, last) })
	// veritysetup format of a sparse file with that last block, salt of 32 zero bytes
	const want = "dd4e8275ba95c9ea6c45208a7f69a1120d505279cd73743a48bcc6062b5516a7"
	if inOrder.String() != want || byPlace.String() != want {
		t.Errorf("got %s in order and %s by place, want %s", inOrder, byPlace, want)
	}
}

func TestTreeHasherSeal(t *testing.T) {
	data := fakeExt4(1000, 4)
	want := &lockedMemory{memory: memory{b: bytes.Clone(data)}}
	if _, err := verity.Seal(t.Context(), want, int64(len(data)), verity.BuildOptions{}); err != nil {
		t.Fatal(err)
	}
	h := newTree(t, verity.TreeOptions{})
	if _, err := h.Write(data); err != nil {
		t.Fatal(err)
	}
	got := &lockedMemory{memory: memory{b: bytes.Clone(data)}}
	if _, err := h.Seal(got); err == nil {
		t.Error("sealed before Finish")
	}
	if err := h.WriteTree(got); err == nil {
		t.Error("wrote a tree before Finish")
	}
	root, err := h.Finish(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	img, err := h.Seal(got)
	if err != nil {
		t.Fatal(err)
	}
	if img.Root != root || !bytes.Equal(got.b, want.b) {
		t.Errorf("got root %s and another disk than Seal's, want %s", img.Root, root)
	}
	if _, err := h.Seal(fullReader{got}); !errors.Is(err, errFull) {
		t.Errorf("disk that is full: got %v, want %v", err, errFull)
	}
}

// fullReader can be read, not written.
type fullReader struct{ io.ReaderAt }

func (fullReader) WriteAt([]byte, int64) (int, error) { return 0, errFull }

func TestTreeHasherRefuses(t *testing.T) {
	one := make([]byte, block)
	cases := map[string]func(*verity.TreeHasher) error{
		"part-of-a-block":      func(h *verity.TreeHasher) error { return h.HashAt(0, one[:100]) },
		"beyond-1-TiB":         func(h *verity.TreeHasher) error { return h.HashAt(1<<28, one) },
		"far-beyond-1-TiB":     func(h *verity.TreeHasher) error { return h.HashAt(1<<64-1, one) },
		"across-1-TiB":         func(h *verity.TreeHasher) error { return h.HashAt(1<<28-1, append(one, one...)) },
		"zeros-beyond-1-TiB":   func(h *verity.TreeHasher) error { return h.WriteZeros(1<<40 + 1<<30) },
		"zeros-without-end":    func(h *verity.TreeHasher) error { return h.WriteZeros(1<<63 - 1) },
		"fewer-zeros-than-no":  func(h *verity.TreeHasher) error { return h.WriteZeros(-1) },
		"write-beyond-1-TiB":   func(h *verity.TreeHasher) error { return errors.Join(h.WriteZeros(1<<40), write(h, groupBytes)) },
		"block-half-written":   func(h *verity.TreeHasher) error { return errors.Join(write(h, block+1), h.HashAt(1, one)) },
		"end-half-written":     func(h *verity.TreeHasher) error { return errors.Join(write(h, block+1), finish(h, 2*block)) },
		"end-before-the-data":  func(h *verity.TreeHasher) error { return errors.Join(write(h, 2*block), finish(h, block)) },
		"end-before-the-zeros": func(h *verity.TreeHasher) error { return errors.Join(h.WriteZeros(groupBytes), finish(h, block)) },
		"no-data":              func(h *verity.TreeHasher) error { return finish(h, 0) },
		"size-of-half-a-block": func(h *verity.TreeHasher) error { return finish(h, block/2) },
		"write-after-finish":   func(h *verity.TreeHasher) error { return errors.Join(finish(h, block), write(h, 1)) },
		"zeros-after-finish":   func(h *verity.TreeHasher) error { return errors.Join(finish(h, block), h.WriteZeros(groupBytes)) },
		"block-after-finish":   func(h *verity.TreeHasher) error { return errors.Join(finish(h, block), h.HashAt(0, one)) },
		"finish-twice":         func(h *verity.TreeHasher) error { return errors.Join(finish(h, block), finish(h, block)) },
		"finish-after-close":   func(h *verity.TreeHasher) error { return errors.Join(write(h, block), h.Close(), finish(h, block)) },
		"block-after-close":    func(h *verity.TreeHasher) error { return errors.Join(write(h, block), h.Close(), h.HashAt(7, one)) },
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			if err := do(newTree(t, verity.TreeOptions{})); err == nil {
				t.Error("accepted")
			}
		})
	}
	t.Run("long-salt", func(t *testing.T) {
		if _, err := verity.NewTreeHasher(t.Context(), verity.TreeOptions{BuildOptions: verity.BuildOptions{Salt: make([]byte, 33)}}); err == nil {
			t.Error("accepted")
		}
	})
}

func write(h *verity.TreeHasher, n int) error {
	_, err := h.Write(bytes.Repeat([]byte{1}, n))
	return err
}

func finish(h *verity.TreeHasher, size int64) error {
	_, err := h.Finish(size)
	return err
}

// A spool that fails ends the work with its error, however much is written after it: nobody waits for ever.
func TestTreeHasherSpoolFails(t *testing.T) {
	h := newTree(t, verity.TreeOptions{Spool: fullReader{bytes.NewReader(nil)}})
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		err = write(h, groupBytes)
	}
	if !errors.Is(err, errFull) {
		t.Errorf("write: got %v, want %v", err, errFull)
	}
	if err := finish(h, 1000*groupBytes); !errors.Is(err, errFull) {
		t.Errorf("finish: got %v, want %v", err, errFull)
	}
	h = newTree(t, verity.TreeOptions{Spool: fullReader{bytes.NewReader(nil)}})
	if err := errors.Join(write(h, block), finish(h, block)); !errors.Is(err, errFull) {
		t.Errorf("failure at the end: got %v, want %v", err, errFull)
	}
	h = newTree(t, verity.TreeOptions{Spool: forgetful{}})
	if err := errors.Join(write(h, block), finish(h, block)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("spool that forgets: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// forgetful takes what is written and has nothing to read.
type forgetful struct{}

func (forgetful) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (forgetful) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestTreeHasherCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h, err := verity.NewTreeHasher(ctx, verity.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(h, groupBytes+1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := write(h, groupBytes); !errors.Is(err, context.Canceled) {
		t.Errorf("write: got %v, want %v", err, context.Canceled)
	}
	if err := finish(h, 2*groupBytes); !errors.Is(err, context.Canceled) {
		t.Errorf("finish: got %v, want %v", err, context.Canceled)
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
