package dm

import "fmt"

// SectorSize is the unit of a target's range, whatever the disk's own sectors are.
const SectorSize = 512

// Number is a block device's number.
type Number struct {
	Major, Minor uint32
}

// String is the form that tables use.
func (n Number) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Target is a device's only mapping.
type Target struct {
	Start, Length uint64 // in sectors
	Type          string
	Params        string
}

// Status is what the kernel says about a device with its table.
type Status struct {
	Number   Number
	ReadOnly bool
	Active   bool
	Open     int // how many times the device is open
	Target   Target
}
