package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/verity/dm"
)

// sysfs finds disks by address. Its content is the kernel's, but which devices there are is the host's doing: an address that
// fits two disks is refused, and so is one that fits something other than a virtio disk.
type sysfs struct{ root string }

// found is a disk in sysfs.
type found struct {
	name   string // of its node
	number dm.Number
}

var (
	scsiDisk   = regexp.MustCompile(`^sd[a-z]{1,3}$`)
	virtioDisk = regexp.MustCompile(`^vd[a-z]{1,3}$`)
	scsiHost   = regexp.MustCompile(`^[0-9]{1,5}$`)
	virtioDev  = regexp.MustCompile(`^virtio[0-9]{1,5}$`)
	pciBus     = regexp.MustCompile(`^0000:[0-9a-f]{2}$`)
)

func (s sysfs) find(a Address) (found, error) {
	switch a.driver {
	case driverSCSI:
		return s.findSCSI(a.source)
	case driverBlk:
		return s.findBlk(a.source)
	}
	return found{}, ErrAddress
}

// findSCSI looks for <host>:0:<target>:<lun> on hosts that are virtio-scsi controllers: an emulated IDE or SATA controller
// has the same names.
func (s sysfs) findSCSI(source string) (found, error) {
	devices := filepath.Join(s.root, "bus/scsi/devices")
	var dirs []string
	for _, name := range list(devices) {
		host, ok := strings.CutSuffix(name, ":0:"+source)
		if !ok || !scsiHost.MatchString(host) {
			continue
		}
		driver, err := readLine(filepath.Join(s.root, "class/scsi_host/host"+host+"/proc_name"))
		if err == nil && driver == "virtio_scsi" {
			dirs = append(dirs, filepath.Join(devices, name))
		}
	}
	if len(dirs) > 1 {
		return found{}, fmt.Errorf("it is on %d controllers: %w", len(dirs), ErrDisk)
	}
	if len(dirs) == 0 {
		return found{}, errNotYet
	}
	return blockDevice(dirs[0], scsiDisk)
}

// findBlk walks from the root bus through bridges to a virtio block device.
func (s sysfs) findBlk(source string) (found, error) {
	dir, bus := filepath.Join(s.root, "devices/pci0000:00"), "0000:00"
	slots := strings.Split(source, "/")
	for i, slot := range slots {
		if !strings.Contains(slot, ".") {
			slot += ".0"
		}
		dir = filepath.Join(dir, bus+":"+slot)
		if i == len(slots)-1 {
			break
		}
		buses := matching(filepath.Join(dir, "pci_bus"), pciBus)
		if len(buses) != 1 {
			return found{}, errNotYet
		}
		bus = buses[0]
	}
	devices := matching(dir, virtioDev)
	if len(devices) != 1 {
		return found{}, errNotYet
	}
	dir = filepath.Join(dir, devices[0])
	driver, err := os.Readlink(filepath.Join(dir, "driver"))
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, errNotYet
	}
	if err != nil || filepath.Base(driver) != "virtio_blk" {
		return found{}, fmt.Errorf("its driver is not virtio_blk: %w", ErrDisk)
	}
	return blockDevice(dir, virtioDisk)
}

// blockDevice returns the only disk beneath a device.
func blockDevice(dir string, form *regexp.Regexp) (found, error) {
	names := list(filepath.Join(dir, "block"))
	if len(names) == 0 {
		return found{}, errNotYet
	}
	if len(names) > 1 || !form.MatchString(names[0]) {
		return found{}, fmt.Errorf("its block devices are %.128q: %w", names, ErrDisk)
	}
	line, err := readLine(filepath.Join(dir, "block", names[0], "dev"))
	if err != nil {
		return found{}, errNotYet
	}
	number, err := parseNumber(line)
	if err != nil {
		return found{}, err
	}
	return found{name: names[0], number: number}, nil
}

func parseNumber(s string) (dm.Number, error) {
	a, b, _ := strings.Cut(s, ":")
	major, err1 := strconv.ParseUint(a, 10, 12)
	minor, err2 := strconv.ParseUint(b, 10, 20)
	if err1 != nil || err2 != nil {
		return dm.Number{}, fmt.Errorf("device number %.32q: %w", s, ErrDisk)
	}
	return dm.Number{Major: uint32(major), Minor: uint32(minor)}, nil
}

func matching(dir string, form *regexp.Regexp) []string {
	var out []string
	for _, name := range list(dir) {
		if form.MatchString(name) {
			out = append(out, name)
		}
	}
	return out
}

// list names what is in a directory; one that is not there (yet) is empty.
func list(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func readLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}
