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
