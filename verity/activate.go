package verity

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/verity/dm"
)

// Mapper is the part of the device-mapper that activation needs; *dm.Control is the kernel's.
type Mapper interface {
	Create(name string) (dm.Number, error)
	Load(name string, t dm.Target, readOnly bool) error
	Resume(name string) error
	Status(name string) (dm.Status, error)
	Remove(name string) error
}

// ErrLeftBehind says that a device could not be removed after a failed activation.
var ErrLeftBehind = errors.New("the device could not be removed")

// Activator makes dm-verity devices.
type Activator struct {
	Mapper Mapper
	// Dev is where the kernel makes nodes; "" means /dev.
	Dev string
	// Open opens the node of a mapped device; nil opens the node and checks that it is that device.
	Open func(path string, want dm.Number) (Node, error)
}

// Node is an open block device.
type Node interface {
	io.ReaderAt
	io.Closer
}

// Device is an active dm-verity device.
type Device struct {
	Name   string
	Path   string // its node
	Number dm.Number

	mapper Mapper
}

// Table is the mapping of an image on the given disk: built from the struct that was inspected and the root that was
// approved, never from the disk.
func Table(disk dm.Number, img *Image, approved Hash) dm.Target {
	salt := "-"
	if len(img.Superblock.Salt) > 0 {
		salt = hex.EncodeToString(img.Superblock.Salt)
	}
	blocks := img.Superblock.DataBlocks
	return dm.Target{
		Length: blocks * (BlockSize / dm.SectorSize),
		Type:   "verity",
		Params: fmt.Sprintf("%d %s %s %d %d %d %d %s %s %s", hashType, disk, disk, BlockSize, BlockSize, blocks, blocks+1, algorithm, approved, salt),
	}
}

// Activate maps the disk read-only behind dm-verity. The caller holds the disk open from Inspect until this returns, so that
// its number cannot be given to another disk; approved is the root that the policy allowed. Afterwards the kernel's own
// table is compared with the one that was meant, and the file system's superblock, read through dm-verity, with the one that
// Inspect saw. On any failure the device is removed again.
func (a Activator) Activate(ctx context.Context, name string, disk dm.Number, img *Image, approved Hash) (*Device, error) {
	if img.Root != approved {
		return nil, fmt.Errorf("activate %q: root hash: got %s, want %s as approved: %w", name, img.Root, approved, ErrChanged)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("activate %q: %w", name, err)
	}
	number, err := a.Mapper.Create(name)
	if err != nil {
		return nil, fmt.Errorf("activate %q: %w", name, err)
	}
	d := &Device{Name: name, Path: filepath.Join(cmp.Or(a.Dev, "/dev"), fmt.Sprintf("dm-%d", number.Minor)), Number: number, mapper: a.Mapper}
	if err := a.fill(d, Table(disk, img, approved), img); err != nil {
		if undo := d.Deactivate(); undo != nil {
			err = errors.Join(err, ErrLeftBehind, undo)
		}
		return nil, fmt.Errorf("activate %q: %w", name, err)
	}
	return d, nil
}

// fill loads the table and checks what became of it.
func (a Activator) fill(d *Device, table dm.Target, img *Image) error {
	if err := a.Mapper.Load(d.Name, table, true); err != nil {
		return err
	}
	if err := a.Mapper.Resume(d.Name); err != nil {
		return err
	}
	got, err := a.Mapper.Status(d.Name)
	if err != nil {
		return err
	}
	if got.Target != table || got.Number != d.Number || !got.ReadOnly || !got.Active {
		return fmt.Errorf("table: got %+v, want %+v on %s, read-only and active: %w", got, table, d.Number, ErrChanged)
	}
	return a.readThrough(d, img)
}

// readThrough reads the file system's superblock through dm-verity. The first read on the untrusted disk was not checked
// against anything but was used (for the size of the data area): here it is held against the approved root.
func (a Activator) readThrough(d *Device, img *Image) error {
	open := a.Open
	if open == nil {
		open = openNode
	}
	node, err := open(d.Path, d.Number)
	if err != nil {
		return err
	}
	defer node.Close()
	got := make([]byte, fsSize)
	if _, err := node.ReadAt(got, fsOffset); err != nil {
		return fmt.Errorf("read superblock through dm-verity: %w", err)
	}
	if [fsSize]byte(got) != img.fsSuperblock {
		return fmt.Errorf("%s superblock through dm-verity: %w", img.FS, ErrChanged)
	}
	return nil
}

// Deactivate removes the device. One that is still in use stays, with EBUSY.
func (d *Device) Deactivate() error { return d.mapper.Remove(d.Name) }

// openNode opens a node that devtmpfs made and makes sure that it is the device meant.
func openNode(path string, want dm.Number) (Node, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	got, err := blockNumber(f)
	if err == nil && got != want {
		err = fmt.Errorf("open %q: got device %s, want %s: %w", path, got, want, ErrChanged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
