package storage

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Address says where the host plugged a disk in. It is comparable: equal addresses are the same place.
type Address struct {
	driver string // driverSCSI or driverBlk
	source string // canonical
}

// The drivers of a storage on the wire (agent API contract, section 5).
const (
	driverSCSI = "scsi"
	driverBlk  = "blk"
)

const (
	maxTarget = 255
	// Above 255 Linux and QEMU number logical units in another way (flat addressing), which nothing here needs.
	maxLUN = 255
	// maxPCIDepth is the root port and the device behind it, and two bridges to spare.
	maxPCIDepth = 4
	maxPCISlot  = 0x1f
)

var pciSlot = regexp.MustCompile(`^[0-9a-f]{2}(\.[1-7])?$`)

// ParseAddress reads a storage's driver and source: "scsi" with "<bus>:<lun>" (the bus is the SCSI target), or "blk" with a
// PCI path of slots from the root bus, "02/01", each with ".<function>" unless that is 0. There is one spelling of each address:
// two spellings of one disk would be two disks to whoever counts its users.
func ParseAddress(driver, source string) (Address, error) {
	ok := false
	switch driver {
	case driverSCSI:
		target, lun, _ := strings.Cut(source, ":")
		ok = decimal(target, maxTarget) && decimal(lun, maxLUN)
	case driverBlk:
		slots := strings.Split(source, "/")
		ok = len(slots) <= maxPCIDepth
		for _, s := range slots {
			ok = ok && slot(s)
		}
	default:
		return Address{}, fmt.Errorf("driver %.32q: want scsi or blk: %w", driver, ErrAddress)
	}
	if !ok {
		return Address{}, fmt.Errorf("source %.64q of driver %s: %w", source, driver, ErrAddress)
	}
	return Address{driver: driver, source: source}, nil
}

func decimal(s string, most int) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= most && strconv.Itoa(n) == s
}

func slot(s string) bool {
	if !pciSlot.MatchString(s) {
		return false
	}
	n, err := strconv.ParseUint(s[:2], 16, 8)
	return err == nil && n <= maxPCISlot
}

// String is for messages: "scsi 0:3".
func (a Address) String() string { return a.driver + " " + a.source }
