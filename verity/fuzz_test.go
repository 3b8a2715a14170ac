package verity_test

import (
	"bytes"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

// FuzzParseSuperblock asserts that whatever is accepted is written back byte for byte: there is no second reading of it.
func FuzzParseSuperblock(f *testing.F) {
	good, err := (&verity.Superblock{UUID: [16]byte{1, 2}, DataBlocks: 77, Salt: verity.DefaultSalt()}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:511])
	short, err := (&verity.Superblock{DataBlocks: 1, Salt: []byte("s")}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(short)
	f.Fuzz(func(t *testing.T, b []byte) {
		sb, err := verity.ParseSuperblock(b)
		if err != nil {
			if sb != nil {
				t.Error("an error came with a superblock")
			}
			return
		}
		again, err := sb.Marshal()
		if err != nil {
			t.Fatalf("parsed but cannot be written: %v", err)
		}
		if !bytes.Equal(again, b[:verity.SuperblockSize]) {
			t.Errorf("got %x, want %x", again, b[:verity.SuperblockSize])
		}
	})
}

// FuzzInspect asserts for any device content: no panic, nothing read outside the device, and an accepted image fits into it.
func FuzzInspect(f *testing.F) {
	for _, data := range [][]byte{fakeExt4(2, 0), fakeEROFS(1), fakeEROFS(3)} {
		disk, _ := sealed(f, data)
		f.Add(disk, false)
		f.Add(disk[:len(disk)-1], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, anySalt bool) {
		img, err := verity.Inspect(bytes.NewReader(b), int64(len(b)), verity.InspectOptions{AnySalt: anySalt})
		if err != nil {
			if img != nil {
				t.Error("an error came with an image")
			}
			return
		}
		if img.DataSize() <= 0 || img.DiskSize() > int64(len(b)) || img.DataSize() >= img.DiskSize() {
			t.Errorf("sizes: got data %d, disk %d of a device of %d", img.DataSize(), img.DiskSize(), len(b))
		}
	})
}

// FuzzTreeHasher asserts that any order of writes, zeros and blocks by place gives the tree of the bytes that result.
func FuzzTreeHasher(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 200, 0, 0, 9, 3}, true)
	f.Add([]byte{2, 255, 9, 0, 16, 2, 1, 250, 1}, false)
	f.Fuzz(func(t *testing.T, history []byte, spool bool) {
		var steps []step
		for ; len(history) >= 3 && len(steps) < 20; history = history[3:] {
			// lengths up to two groups, some of whole blocks; places within four
			n := int(history[1]) * int(history[1]) * 16
			if history[0]&0x80 != 0 {
				n = n / block * block
			}
			steps = append(steps, step{kind: history[0] & 0x7f, n: n, at: int(history[2]) * 2 * block})
		}
		opts := verity.TreeOptions{BuildOptions: verity.BuildOptions{Workers: 2}}
		if spool {
			opts.Spool = dirtySpool()
		}
		h := newTree(t, opts)
		wantTree(t, h, play(t, h, steps), verity.DefaultSalt())
	})
}
