package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

// The cipher of writable disks: AEGIS-128 with a random nonce of 128 bits for each write of a block, so that a nonce is not used twice whatever is written.
// What is stored with each block is the nonce and the tag, and the tag covers the block's number.
const (
	cipher    = "capi:aegis128-random"
	keyBytes  = 16
	tagBytes  = 32 // 16 of nonce, 16 of tag
	blockSize = 4096
)

const blockSectors = blockSize / dm.SectorSize

// The size in bytes of a disk that is taken for scratch. Below the smallest there is no room beside dm-integrity's own.
const (
	minDisk = 16 << 20
	maxDisk = 1 << 46
)

// dm-integrity's superblock is in the disk's first block; a disk of zeros there is formatted.
const (
	integrityMagic   = "integrt\x00"
	providedOffset   = 16 // u64, in sectors
	superblockBytes  = 8 << 10
	formattingLength = 8 // sectors
)

// encrypt maps the disk behind dm-integrity and dm-crypt with a key that was drawn here and is nowhere else. What the disk held is lost.
func (t *Mount) encrypt(ctx context.Context, disk *os.File, number dm.Number, size int64) (*node, error) {
	mapper, err := t.m.deviceMapper()
	if err != nil {
		return nil, err
	}
	provided, err := t.format(mapper, disk, number, size)
	if err != nil {
		return nil, fmt.Errorf("format dm-integrity: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	integrity, err := t.mapDevice(mapper, "integrity", func(name string) error {
		return mapper.Load(name, integrityTable(number, provided), false)
	})
	if err != nil {
		return nil, err
	}
	return t.mapDevice(mapper, "crypt", func(name string) error {
		return withKey(name, func(description string) error {
			return mapper.Load(name, cryptTable(integrity.number, provided, description), false)
		})
	})
}

// format has dm-integrity write a fresh superblock, and returns how many sectors it leaves for data. The kernel sizes everything by that, but it is
// read back from the host's disk: it is bounded here, and whatever it is, no block reads back that was not written with this key.
func (t *Mount) format(mapper verity.Mapper, disk *os.File, number dm.Number, size int64) (uint64, error) {
	block, err := newAligned(superblockBytes)
	if err != nil {
		return 0, err
	}
	defer block.free()
	if _, err := disk.WriteAt(block, 0); err != nil {
		return 0, fmt.Errorf("write zeros: %w", err)
	}
	formatter := &Mount{m: t.m, target: t.target}
	_, err = formatter.mapDevice(mapper, "format", func(name string) error {
		return mapper.Load(name, integrityTable(number, formattingLength), false)
	})
	if err == nil {
		err = formatter.Unmount(context.Background())
	}
	if err != nil {
		t.steps = append(t.steps, formatter.steps...)
		return 0, err
	}
	if _, err := disk.ReadAt(block, 0); err != nil {
		return 0, fmt.Errorf("read superblock: %w", err)
	}
	return parseProvided(block, size)
}

// parseProvided reads the superblock that the kernel wrote, and the host could change since.
func parseProvided(block []byte, size int64) (uint64, error) {
	if len(block) < providedOffset+8 || string(block[:len(integrityMagic)]) != integrityMagic {
		return 0, fmt.Errorf("superblock: got no dm-integrity signature: %w", ErrDisk)
	}
	provided := binary.LittleEndian.Uint64(block[providedOffset:])
	if most := uint64(size / dm.SectorSize); provided > most || provided < most/2 {
		return 0, fmt.Errorf("superblock: got %d sectors of data, want %d to %d: %w", provided, most/2, most, ErrDisk)
	}
	return provided / blockSectors * blockSectors, nil
}

// integrityTable keeps tags for whoever is above. Mode D: nothing here outlives the guest, so no journal is worth its second write.
func integrityTable(disk dm.Number, sectors uint64) dm.Target {
	return dm.Target{
		Length: sectors, Type: "integrity",
		Params: fmt.Sprintf("%s 0 %d D 2 block_size:%d fix_padding", disk, tagBytes, blockSize),
	}
}

// keyKind is a key that the kernel uses and never gives back to a process.
const keyKind = "logon"

// withKey draws a key and calls load with its description while the kernel has it for this thread. Afterwards only what was loaded has the key: it is in
// no table that can be read back, and in no memory of this process.
func withKey(name string, load func(description string) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var key [keyBytes]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	description := "cloister:" + name
	id, err := unix.AddKey(keyKind, description, key[:], unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil {
		return fmt.Errorf("give the kernel a key: %w", err)
	}
	err = load(description)
	if _, unlinkErr := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); unlinkErr != nil {
		err = errors.Join(err, fmt.Errorf("take the key back: %w", unlinkErr))
	}
	return err
}

func cryptTable(below dm.Number, sectors uint64, key string) dm.Target {
	return dm.Target{
		Length: sectors, Type: "crypt",
		Params: fmt.Sprintf("%s :%d:%s:%s 0 %s 0 2 integrity:%d:aead sector_size:%d", cipher, keyBytes, keyKind, key, below, tagBytes, blockSize),
	}
}

// node is a mapped device.
type node struct {
	path   string
	number dm.Number
}

// mapDevice makes a device of the table that load gives it, and records its removal.
func (t *Mount) mapDevice(mapper verity.Mapper, kind string, load func(name string) error) (*node, error) {
	name := fmt.Sprintf("cloister-%s-%d", kind, t.m.counter.Add(1)-1)
	number, err := mapper.Create(name)
	if err != nil {
		return nil, err
	}
	t.did(Held{"device", name}, func() error { return mapper.Remove(name) })
	if err := load(name); err != nil {
		return nil, err
	}
	if err := mapper.Resume(name); err != nil {
		return nil, err
	}
	status, err := mapper.Status(name)
	if err != nil {
		return nil, err
	}
	if status.Number != number || !status.Active || status.ReadOnly {
		return nil, fmt.Errorf("device %q: got %s, active %t, read-only %t, want %s, active and writable: %w",
			name, status.Number, status.Active, status.ReadOnly, number, verity.ErrChanged)
	}
	return &node{path: filepath.Join(t.m.cfg.Dev, fmt.Sprintf("dm-%d", number.Minor)), number: number}, nil
}

// aligned is memory that direct I/O takes.
type aligned []byte

func newAligned(size int) (aligned, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	return b, nil
}

func (a aligned) free() { _ = unix.Munmap(a) }
