package measure

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPageInfo spells the structure out byte by byte, as the firmware's ABI specification has it, against the code that builds it.
func TestPageInfo(t *testing.T) {
	page := bytes.Repeat([]byte{0x5a}, PageSize)
	content := sha512.Sum384(page)
	for _, c := range []struct {
		name     string
		kind     PageType
		contents []byte
	}{
		{"normal", PageNormal, content[:]},
		{"vmsa", PageVMSA, content[:]},
		{"zero", PageZero, make([]byte, 48)},
		{"unmeasured", PageUnmeasured, make([]byte, 48)},
		{"secrets", PageSecrets, make([]byte, 48)},
		{"cpuid", PageCPUID, make([]byte, 48)},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := make([]byte, 0x70)
			copy(info[0x30:], c.contents)
			binary.LittleEndian.PutUint16(info[0x60:], 0x70)
			info[0x62] = byte(c.kind)
			binary.LittleEndian.PutUint64(info[0x68:], 0xFFFFFFFFF000)
			first := sha512.Sum384(info)
			var ctx Context
			if err := ctx.Update(c.kind, 0xFFFFFFFFF000, page); err != nil {
				t.Fatal(err)
			}
			if ctx.Digest() != first {
				t.Fatalf("first page: got %s, want %x", ctx.Digest(), first)
			}
			copy(info, first[:]) // the second page extends the first
			binary.LittleEndian.PutUint64(info[0x68:], 0x1000)
			second := sha512.Sum384(info)
			if err := ctx.Update(c.kind, 0x1000, page); err != nil {
				t.Fatal(err)
			}
			if ctx.Digest() != second {
				t.Fatalf("second page: got %s, want %x", ctx.Digest(), second)
			}
		})
	}
}

func TestUpdateTakesPagesInOrder(t *testing.T) {
	pages := bytes.Repeat([]byte{1}, 2*PageSize)
	var whole, single Context
	if err := whole.Update(PageNormal, 0x4000, pages); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(2) {
		if err := single.Update(PageNormal, 0x4000+i*PageSize, pages[:PageSize]); err != nil {
			t.Fatal(err)
		}
	}
	if whole.Digest() != single.Digest() {
		t.Error("two pages at once measure differently from one after the other")
	}
	for _, c := range []struct {
		gpa  uint64
		data []byte
	}{{0x10, pages}, {0, pages[:100]}} {
		var ctx Context
		if err := ctx.Update(PageNormal, c.gpa, c.data); err == nil || ctx.Digest() != (Digest{}) {
			t.Errorf("%d bytes at %#x: accepted", len(c.data), c.gpa)
		}
	}
}

// TestHashTable checks the table against its published shape: GUIDs as they lie in memory, lengths, order, padding.
func TestHashTable(t *testing.T) {
	h := HashParts([]byte("kernel"), []byte("initrd"), "console=ttyS0")
	table := h.Table()
	sum := func(s string) string { b := sha256.Sum256([]byte(s)); return hex.EncodeToString(b[:]) }
	want := "06d63894224fc94cb479a793d411fd21" + "a800" +
		"d82dd09720bd944caa78e7714d36ab2a" + "3200" + sum("console=ttyS0\x00") +
		"31f7ba442f3ad74b9af141e29169781d" + "3200" + sum("initrd") +
		"3794e74dd2ab7f42b835d5b172d2045b" + "3200" + sum("kernel") +
		strings.Repeat("00", 8)
	if got := hex.EncodeToString(table); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(table)%16 != 0 {
		t.Errorf("got %d bytes, want a multiple of 16", len(table))
	}
	page, err := h.Page(0xC00)
	if err != nil || !bytes.Equal(page[0xC00:0xC00+len(table)], table) || len(page) != PageSize {
		t.Errorf("page: %v", err)
	}
	for _, off := range []int{-1, PageSize - len(table) + 1} {
		if _, err := h.Page(off); err == nil {
			t.Errorf("offset %d: accepted", off)
		}
	}
}

func TestEmulated(t *testing.T) {
	base := Emulated([]byte("kernel"), []byte("initrd"), "cmdline")
	// A change of this value changes what every relying party of a development guest expects.
	const golden = "c7fc5e086ef81ca3d25a9e3a1a648f582a2b92548181382e15435f11ee34dc574416bad5d10b057843d51204da40d222"
	if got := Digest(base).String(); got != golden {
		t.Errorf("got %s, want %s", got, golden)
	}
	for name, other := range map[string][48]byte{
		"kernel":  Emulated([]byte("kernel2"), []byte("initrd"), "cmdline"),
		"initrd":  Emulated([]byte("kernel"), []byte("initrd2"), "cmdline"),
		"cmdline": Emulated([]byte("kernel"), []byte("initrd"), "cmdline "),
		"swapped": Emulated([]byte("initrd"), []byte("kernel"), "cmdline"),
	} {
		if other == base {
			t.Errorf("another %s has the same measurement", name)
		}
	}
}

func TestHashFiles(t *testing.T) {
	dir := t.TempDir()
	kernel, initrd := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.img")
	for path, text := range map[string]string{kernel: "kernel", initrd: "initrd"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := HashFiles(kernel, initrd, "cmdline")
	if want := HashParts([]byte("kernel"), []byte("initrd"), "cmdline"); err != nil || got != want {
		t.Errorf("got %x %v, want %x", got, err, want)
	}
	if _, err := HashFiles(kernel, filepath.Join(dir, "absent"), "cmdline"); err == nil {
		t.Error("an absent file was measured")
	}
	h, err := ParseHashes(hex.EncodeToString(got.Kernel[:]), hex.EncodeToString(got.Initrd[:]), hex.EncodeToString(got.Cmdline[:]))
	if err != nil || h != got {
		t.Errorf("hashes in hex: got %x %v, want %x", h, err, got)
	}
	for _, bad := range []string{"", "zz", strings.Repeat("ab", 31)} {
		if _, err := ParseHashes(bad, bad, bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q: accepted as a digest", bad)
		}
	}
}
