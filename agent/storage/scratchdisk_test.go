package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/storage/internal/check"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/verity/dm"
)

// superblock is what dm-integrity writes, as far as it is read.
func superblock(provided uint64) []byte {
	b := make([]byte, superblockBytes)
	copy(b, integrityMagic)
	binary.LittleEndian.PutUint64(b[providedOffset:], provided)
	return b
}

func TestParseProvided(t *testing.T) {
	const size = 64 << 20
	if got, err := parseProvided(superblock(125003), size); err != nil || got != 125000 {
		t.Errorf("got %d sectors, %v, want 125000", got, err)
	}
	for _, c := range []struct {
		name  string
		block []byte
	}{
		{"no-signature", make([]byte, superblockBytes)},
		{"short", superblock(125000)[:20]},
		{"more-than-the-disk", superblock(size/512 + 1)},
		{"all-ones", superblock(^uint64(0))},
		{"less-than-half", superblock(size/1024 - 1)},
		{"nothing", superblock(0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := parseProvided(c.block, size); !errors.Is(err, ErrDisk) || got != 0 {
				t.Errorf("got %d sectors, want an error", got)
			}
		})
	}
}

func FuzzParseProvided(f *testing.F) {
	f.Add(superblock(125000), int64(64<<20))
	f.Add(superblock(^uint64(0)), int64(minDisk))
	f.Add([]byte(integrityMagic), int64(maxDisk))
	f.Fuzz(func(t *testing.T, block []byte, size int64) {
		if size < minDisk || size > maxDisk {
			return // such a disk is refused before
		}
		got, err := parseProvided(block, size)
		if err != nil && got != 0 {
			t.Fatalf("got %d sectors with error %v", got, err)
		}
		if err == nil && (got == 0 || got > uint64(size/512) || got%blockSectors != 0) {
			t.Fatalf("got %d sectors on a disk of %d bytes", got, size)
		}
	})
}

// The tables are what the security rests on: the key is the kernel's, tags are checked, blocks are whole.
func TestCryptTables(t *testing.T) {
	below := dm.Number{Major: 8, Minor: 16}
	want := dm.Target{Length: 1000, Type: "integrity", Params: "8:16 0 32 D 2 block_size:4096 fix_padding"}
	if got := integrityTable(below, 1000); got != want {
		t.Errorf("integrity: got %+v, want %+v", got, want)
	}
	want = dm.Target{
		Length: 1000, Type: "crypt",
		Params: "capi:aegis128-random :16:logon:cloister:x 0 8:16 0 2 integrity:32:aead sector_size:4096",
	}
	if got := cryptTable(below, 1000, "cloister:x"); got != want {
		t.Errorf("crypt: got %+v, want %+v", got, want)
	}
}

const scratchDir = "/run/gcs/c/k/scratch/k"

// sparse makes a disk of the host, and plugs it in.
func (g *guestVM) sparse(size int64, readOnly bool) (string, vm.Address) {
	g.t.Helper()
	path := filepath.Join(g.t.TempDir(), "scratch")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		g.t.Fatal(err)
	}
	a, err := g.vm.Plug(g.t.Context(), vm.Disk{Path: path, ReadOnly: readOnly})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = g.vm.Unplug(context.Background(), a) })
	return path, a
}

func (g *guestVM) scratchDisk(a vm.Address) check.Outcome {
	g.t.Helper()
	var o check.Outcome
	g.call("ScratchDisk", check.DiskArgs{Driver: "scsi", Source: a.String(), Dir: scratchDir}, &o)
	return o
}

func (g *guestVM) write(path string, content []byte) {
	g.t.Helper()
	var o check.Outcome
	g.call("Write", check.FileArgs{Path: path, Content: content}, &o)
	g.must("write", o)
}

// plain is what the host must not see: a text that fills every block.
var plain = bytes.Repeat([]byte("what the workload wrote, in the clear. "), 4<<20/39)

const plainName = "a-name-that-nobody-else-has"

func testScratchDisk(t *testing.T, g *guestVM) {
	path, a := g.sparse(256<<20, false)
	m := g.must("mount", g.scratchDisk(a))
	t.Logf("256 MiB: mounted in %.0f ms", m.Millis)
	g.write(scratchDir+"/"+plainName, plain)
	if f := g.read(scratchDir+"/"+plainName, true); !bytes.Equal(f.Content, plain) {
		t.Errorf("read back: got %d bytes, %s, want the %d written", len(f.Content), f.Err, len(plain))
	}
	for _, secret := range []string{string(plain[:64]), plainName, "lost+found"} {
		if at := find(t, path, []byte(secret)); at >= 0 {
			t.Errorf("the host reads %q at byte %d of its disk", secret, at)
		}
	}
	g.must("unmount", g.unmount(m.ID))
	// Another mount has another key: nothing of the first is there.
	m = g.must("mount again", g.scratchDisk(a))
	if f := g.read(scratchDir, false); len(f.Names) != 1 || f.Names[0] != "lost+found" {
		t.Errorf("a fresh scratch holds %q", f.Names)
	}
	g.must("unmount", g.unmount(m.ID))
}

// The host changes one byte of what a file's block became.
func testScratchDiskChanged(t *testing.T, g *guestVM) {
	path, a := g.sparse(128<<20, false)
	m := g.must("mount", g.scratchDisk(a))
	before := content(t, path)
	g.write(scratchDir+"/bad", plain)
	after := content(t, path)
	changed := longChanges(before, after)
	if len(changed) == 0 {
		t.Fatal("the file is not on the disk")
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	poke := func(flip byte) {
		t.Helper()
		for _, at := range changed {
			if _, err := f.WriteAt([]byte{after[at] ^ flip}, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	poke(1)
	if f := g.read(scratchDir+"/bad", true); unix.Errno(f.Errno) != unix.EIO {
		t.Errorf("read after a byte changed: got %d bytes, %q, want %v", len(f.Content), f.Err, unix.EIO)
	}
	poke(0)
	if f := g.read(scratchDir+"/bad", true); !bytes.Equal(f.Content, plain) {
		t.Errorf("read after it was put back: got %d bytes, %s", len(f.Content), f.Err)
	}
	g.must("unmount", g.unmount(m.ID))
}

func testScratchDiskRefused(t *testing.T, g *guestVM) {
	_, a := g.sparse(64<<20, true)
	if got := g.scratchDisk(a); got.Err == "" || got.Unknown {
		t.Errorf("a read-only disk: got %+v, want an error", got)
	} else {
		t.Log(got.Err)
	}
	_, a = g.sparse(1<<20, false)
	if got := g.scratchDisk(a); got.Err == "" || got.Unknown {
		t.Errorf("a disk of 1 MiB: got %+v, want an error", got)
	} else {
		t.Log(got.Err)
	}
}

func testScratchDiskUnplugged(t *testing.T, g *guestVM) {
	_, a := g.sparse(64<<20, false)
	m := g.must("mount", g.scratchDisk(a))
	g.write(scratchDir+"/a", plain)
	if err := g.vm.Unplug(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if f := g.read(scratchDir+"/a", true); f.Err == "" && !bytes.Equal(f.Content, plain) {
		t.Error("a disk that is gone gave other bytes")
	}
	g.must("unmount", g.unmount(m.ID))
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// find looks for bytes on a disk, and returns -1 when they are not there.
func find(t *testing.T, path string, what []byte) int { return bytes.Index(content(t, path), what) }

// longChanges returns a byte in the middle of each long run of blocks that differ: a file's blocks, and perhaps tables that the file system fills in the
// background. What it writes again and again is in short runs.
func longChanges(before, after []byte) []int {
	const long = 32
	var middles []int
	start := -1
	for at := 0; at+blockSize <= len(before); at += blockSize {
		differs := !bytes.Equal(before[at:at+blockSize], after[at:at+blockSize])
		switch {
		case differs && start < 0:
			start = at
		case !differs && start >= 0:
			if n := (at - start) / blockSize; n >= long {
				middles = append(middles, start+n/2*blockSize+100)
			}
			start = -1
		}
	}
	return middles
}
