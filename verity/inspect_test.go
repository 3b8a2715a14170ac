package verity_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

// sealed returns a good disk.
func sealed(t testing.TB, data []byte) ([]byte, *verity.Image) {
	t.Helper()
	disk := &lockedMemory{memory: memory{b: bytes.Clone(data)}}
	img, err := verity.Seal(t.Context(), disk, int64(len(data)), verity.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return disk.b, img
}

// countingReader fails the test when a byte is read twice: the answer to a second read may differ.
type countingReader struct {
	t     *testing.T
	b     []byte
	seen  map[int64]bool
	total int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		if c.seen[off+int64(i)] {
			c.t.Fatalf("byte %d was read twice", off+int64(i))
		}
		c.seen[off+int64(i)] = true
	}
	c.total += len(p)
	return readAt(c.b, p, off)
}

func TestInspectReadsOnce(t *testing.T) {
	for name, data := range map[string][]byte{"ext4": fakeExt4(500, 0), "erofs": fakeEROFS(500), "one-block": fakeEROFS(1), "two-blocks": fakeExt4(2, 0)} {
		t.Run(name, func(t *testing.T) {
			disk, want := sealed(t, data)
			r := &countingReader{t: t, b: disk, seen: map[int64]bool{}}
			img, err := verity.Inspect(r, int64(len(disk)), verity.InspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, root := textbookTree(data, verity.DefaultSalt())
			if img.Root != root || img.Root != want.Root || img.DataSize() != int64(len(data)) || img.DiskSize() != int64(len(disk)) {
				t.Errorf("got %s, %d, %d, want %x, %d, %d", img.Root, img.DataSize(), img.DiskSize(), root, len(data), len(disk))
			}
			if r.total > 3*block {
				t.Errorf("read %d bytes, want at most %d", r.total, 3*block)
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	const n = 200
	le := binary.LittleEndian
	sb := n * block
	cases := []struct {
		name string
		do   func(d []byte) []byte
		want string
	}{
		{"empty-device", func(d []byte) []byte { return nil }, "device size"},
		{"short-device", func(d []byte) []byte { return d[:100*block] }, "device size"},
		{"no-superblock", func(d []byte) []byte { return d[:sb] }, "device size"},
		{"no-tree", func(d []byte) []byte { return d[:sb+block] }, "device size"},
		{"tree-cut-by-one-byte", func(d []byte) []byte { return d[:len(d)-1] }, "device size"},
		{"unknown-file-system", func(d []byte) []byte { le.PutUint16(d[1024+0x38:], 0x1234); return d }, "neither ext4 nor erofs"},
		{"ext4-1k-blocks", func(d []byte) []byte { le.PutUint32(d[1024+0x18:], 0); return d }, "log block size"},
		{"ext4-no-blocks", func(d []byte) []byte { le.PutUint32(d[1024+4:], 0); return d }, "got 0 blocks"},
		{"ext4-huge", func(d []byte) []byte { le.PutUint32(d[1024+4:], 1<<31); return d }, "ext4 size"},
		{"ext4-huge-64-bit", func(d []byte) []byte {
			le.PutUint32(d[1024+0x60:], 0x80)
			le.PutUint32(d[1024+0x150:], 0xffffffff)
			return d
		}, "ext4 size"},
		{"ext4-longer-than-verity", func(d []byte) []byte { le.PutUint32(d[1024+4:], n+1); return d }, "no signature"},
		{"ext4-shorter-than-verity", func(d []byte) []byte {
			le.PutUint32(d[1024+4:], n-1)
			copy(d[(n-1)*block:], d[sb:sb+block])
			return d
		}, "data blocks"},
		{"no-signature", func(d []byte) []byte { d[sb] = 'V'; return d }, "no signature"},
		{"version-0", func(d []byte) []byte { d[sb+8] = 0; return d }, "version"},
		{"version-2", func(d []byte) []byte { d[sb+8] = 2; return d }, "version"},
		{"chrome-os-hash-type", func(d []byte) []byte { d[sb+12] = 0; return d }, "hash type"},
		{"sha1", func(d []byte) []byte { copy(d[sb+32:], "sha1\x00\x00"); return d }, "algorithm"},
		{"sha256-with-suffix", func(d []byte) []byte { copy(d[sb+32:], "sha256x"); return d }, "algorithm"},
		{"hidden-after-algorithm", func(d []byte) []byte { d[sb+63] = 1; return d }, "algorithm"},
		{"data-block-512", func(d []byte) []byte { le.PutUint32(d[sb+64:], 512); return d }, "data block size"},
		{"hash-block-8192", func(d []byte) []byte { le.PutUint32(d[sb+68:], 8192); return d }, "hash block size"},
		{"no-data-blocks", func(d []byte) []byte { le.PutUint64(d[sb+72:], 0); return d }, "data blocks"},
		{"data-blocks-overflow", func(d []byte) []byte { le.PutUint64(d[sb+72:], 1<<52+n); return d }, "data blocks"},
		{"salt-33", func(d []byte) []byte { le.PutUint16(d[sb+80:], 33); return d }, "salt size"},
		{"salt-65535", func(d []byte) []byte { le.PutUint16(d[sb+80:], 65535); return d }, "salt size"},
		{"salt-31", func(d []byte) []byte { le.PutUint16(d[sb+80:], 31); return d }, "salt: want 32 zero bytes"},
		{"salt-not-zero", func(d []byte) []byte { d[sb+88+31] = 1; return d }, "salt: want 32 zero bytes"},
		{"bytes-in-padding", func(d []byte) []byte { d[sb+82] = 1; return d }, "unused bytes"},
		{"bytes-after-salt", func(d []byte) []byte { d[sb+88+32] = 1; return d }, "unused bytes"},
		{"bytes-at-the-end", func(d []byte) []byte { d[sb+511] = 1; return d }, "unused bytes"},
	}
	good, _ := sealed(t, fakeExt4(n, 0))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := c.do(bytes.Clone(good))
			img, err := verity.Inspect(bytes.NewReader(d), int64(len(d)), verity.InspectOptions{})
			if img != nil || !errors.Is(err, verity.ErrFormat) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want an ErrFormat with %q", img, err, c.want)
			}
		})
	}
	t.Run("erofs-512-blocks", func(t *testing.T) {
		d, _ := sealed(t, fakeEROFS(4))
		d[1024+12] = 9
		if _, err := verity.Inspect(bytes.NewReader(d), int64(len(d)), verity.InspectOptions{}); !errors.Is(err, verity.ErrFormat) {
			t.Errorf("got %v, want %v", err, verity.ErrFormat)
		}
	})
}

func TestInspectAnySalt(t *testing.T) {
	data := fakeExt4(200, 0)
	salt := []byte("some salt")
	disk := &lockedMemory{memory: memory{b: bytes.Clone(data)}}
	if _, err := verity.Seal(t.Context(), disk, int64(len(data)), verity.BuildOptions{Salt: salt}); err != nil {
		t.Fatal(err)
	}
	if _, err := verity.Inspect(disk, int64(len(disk.b)), verity.InspectOptions{}); !errors.Is(err, verity.ErrFormat) {
		t.Errorf("without AnySalt: got %v, want %v", err, verity.ErrFormat)
	}
	img, err := verity.Inspect(disk, int64(len(disk.b)), verity.InspectOptions{AnySalt: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, want := textbookTree(data, salt); img.Root != want {
		t.Errorf("root: got %s, want %x", img.Root, want)
	}
}

// A device that fails is not a disk of the wrong form: the one may be retried, the other not.
func TestInspectReadError(t *testing.T) {
	broken := errors.New("broken")
	_, err := verity.Inspect(failingReader{broken}, 1<<20, verity.InspectOptions{})
	if !errors.Is(err, broken) || errors.Is(err, verity.ErrFormat) {
		t.Errorf("got %v, want %v", err, broken)
	}
	_, err = verity.Inspect(bytes.NewReader(make([]byte, 10)), 1<<20, verity.InspectOptions{})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

type failingReader struct{ err error }

func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestParseHash(t *testing.T) {
	good := strings.Repeat("0a", 32)
	if h, err := verity.ParseHash(good); err != nil || h.String() != good {
		t.Errorf("got %s, %v, want %s", h, err, good)
	}
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), "0x" + good[2:], strings.Repeat("g", 64)} {
		if _, err := verity.ParseHash(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
