package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cloister-cc/cloister/shim/vm"
)

// maxLUN is the last unit number that guest and QEMU print alike; above it the guest's numbers carry an addressing mode.
const maxLUN = 255

// ErrDiskStateUnknown says that a disk may or may not be plugged in: QEMU did not answer in time. Its address stays taken.
var ErrDiskStateUnknown = errors.New("disk may or may not be plugged in")

// disks hands out unit numbers. A freed one is taken again as late as possible, because the guest learns of a removal a little later.
type disks struct {
	mu   sync.Mutex
	used [maxLUN + 1]bool
	next int
}

func (d *disks) take() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.used {
		lun := (d.next + i) % len(d.used)
		if !d.used[lun] {
			d.used[lun] = true
			d.next = lun + 1
			return lun, nil
		}
	}
	return 0, fmt.Errorf("all %d disks are in use", len(d.used))
}

func (d *disks) release(lun int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[lun] = false
}

func (d *disks) has(lun int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return lun >= 0 && lun <= maxLUN && d.used[lun]
}

func nodeName(lun int) string   { return fmt.Sprintf("node-%d", lun) }
func deviceName(lun int) string { return fmt.Sprintf("disk-%d", lun) }

// blockdev is the raw file below a disk.
type blockdev struct {
	Driver   string        `json:"driver"`
	NodeName string        `json:"node-name"`
	ReadOnly bool          `json:"read-only"`
	Discard  string        `json:"discard"`
	File     *blockdevFile `json:"file"`
}

type blockdevFile struct {
	Driver   string `json:"driver"`
	Filename string `json:"filename"`
	ReadOnly bool   `json:"read-only"`
	Discard  string `json:"discard"`
}

type scsiDisk struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	Bus     string `json:"bus"`
	Channel int    `json:"channel"`
	Target  int    `json:"scsi-id"`
	LUN     int    `json:"lun"`
	Drive   string `json:"drive"`
}

type nodeArgument struct {
	NodeName string `json:"node-name"`
}

type idArgument struct {
	ID string `json:"id"`
}

// firstSet is the descriptor set of the first disk: above all that a VM is started with.
const firstSet = 1024

type fdsetArgument struct {
	ID int `json:"fdset-id"`
}

// Plug adds a disk on the virtio-scsi controller.
func (m *VM) Plug(ctx context.Context, disk vm.Disk) (vm.Address, error) {
	lun, err := m.plug(ctx, disk)
	if err != nil {
		return vm.Address{}, fmt.Errorf("plug disk %q: %w", disk.Path, err)
	}
	return vm.Address{LUN: lun}, nil
}

func (m *VM) plug(ctx context.Context, disk vm.Disk) (int, error) {
	file, block, err := openDisk(disk)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lun, err := m.disks.take()
	if err != nil {
		return 0, err
	}
	if err := m.addNode(ctx, lun, disk, file, block); err != nil {
		return 0, m.abandon(lun, err)
	}
	err = m.monitor.execute(ctx, "device_add", scsiDisk{
		Driver: "scsi-hd", ID: deviceName(lun), Bus: "scsi0.0", LUN: lun, Drive: nodeName(lun),
	})
	if err == nil {
		return lun, nil
	}
	if !refused(err) {
		return 0, errors.Join(ErrDiskStateUnknown, err)
	}
	if undo := m.monitor.execute(ctx, "blockdev-del", nodeArgument{nodeName(lun)}); undo != nil {
		return 0, errors.Join(ErrDiskStateUnknown, err, undo)
	}
	m.disks.release(lun)
	return 0, err
}

// addNode makes the block node of a disk. QEMU works on a duplicate of the descriptor, so the set it came in is taken away at once.
func (m *VM) addNode(ctx context.Context, lun int, disk vm.Disk, file *os.File, block bool) error {
	set := fdsetArgument{firstSet + lun}
	if err := m.monitor.pass(ctx, "add-fd", set, file); err != nil {
		return err
	}
	node := blockdev{
		Driver: "raw", NodeName: nodeName(lun), ReadOnly: disk.ReadOnly, Discard: "ignore",
		File: &blockdevFile{Driver: "file", Filename: fmt.Sprintf("/dev/fdset/%d", set.ID), ReadOnly: disk.ReadOnly, Discard: "ignore"},
	}
	if block {
		node.File.Driver = "host_device"
	}
	if !disk.ReadOnly { // what the guest frees, a sparse file gives back
		node.Discard, node.File.Discard = "unmap", "unmap"
	}
	err := m.monitor.execute(ctx, "blockdev-add", node)
	if err != nil && !refused(err) {
		return err
	}
	if undo := m.monitor.execute(context.WithoutCancel(ctx), "remove-fd", set); undo != nil && !refused(undo) {
		return errors.Join(err, undo)
	}
	return err
}

// abandon gives a number back if QEMU said no; otherwise nobody knows what is there.
func (m *VM) abandon(lun int, err error) error {
	if !refused(err) {
		return errors.Join(ErrDiskStateUnknown, err)
	}
	m.disks.release(lun)
	return err
}

// refused tells QEMU's no from a lost answer.
func refused(err error) bool {
	var q *qmpError
	return errors.As(err, &q)
}

// Unplug removes a disk and returns when QEMU has closed its file.
func (m *VM) Unplug(ctx context.Context, address vm.Address) error {
	if err := m.unplug(ctx, address); err != nil {
		return fmt.Errorf("unplug disk %s: %w", address, err)
	}
	return nil
}

func (m *VM) unplug(ctx context.Context, address vm.Address) error {
	if address.Bus != 0 || !m.disks.has(address.LUN) {
		return errors.New("no such disk")
	}
	device := deviceName(address.LUN)
	deleted := m.monitor.watchDeleted(device)
	defer m.monitor.forgetDeleted(device)
	if err := m.monitor.execute(ctx, "device_del", idArgument{device}); err != nil {
		return err
	}
	select {
	case <-deleted:
	case <-m.monitor.done:
		return m.monitor.ended()
	case <-ctx.Done():
		return errors.Join(ErrDiskStateUnknown, ctx.Err())
	}
	if err := m.monitor.execute(ctx, "blockdev-del", nodeArgument{nodeName(address.LUN)}); err != nil {
		return errors.Join(ErrDiskStateUnknown, err)
	}
	m.disks.release(address.LUN)
	return nil
}
