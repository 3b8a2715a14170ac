package emulator

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// FaultKind names a way in which host or firmware misbehave.
type FaultKind string

// The faults known. Each is something a real host can do, or that a real machine was seen to do.
const (
	FaultBusy      FaultKind = "busy"      // the host answers "busy"; the kernel waits and retries
	FaultThrottled FaultKind = "throttled" // the host serves no request sooner than WaitMS after the last one
	FaultBroken    FaultKind = "broken"    // an unclear failure: EIO, and the kernel wipes its message key
	FaultWiped     FaultKind = "wiped"     // the kernel wiped its message key: ENOTTY from then on, whatever the count

	FaultTampered  FaultKind = "tampered"   // one bit of the measurement is not what was signed
	FaultFlip      FaultKind = "flip"       // bit Bit of the report is not what was signed
	FaultFlipCerts FaultKind = "flip-certs" // bit Bit of the certificate table is not what it was

	FaultCertsNone    FaultKind = "certs-none"    // the host has no certificates
	FaultCertsWrap    FaultKind = "certs-wrap"    // an entry whose offset and length wrap in 32 bits
	FaultCertsGarbage FaultKind = "certs-garbage" // a table without a closing entry
	FaultCertsMany    FaultKind = "certs-many"    // more entries than any host has, all of the same bytes
	FaultCertsHuge    FaultKind = "certs-huge"    // the host wants more room than the kernel ever gives

	FaultRace FaultKind = "race" // configfs: another writer comes between the write and the reads

	FaultTCBUpgrade FaultKind = "tcb-upgrade" // the firmware is updated: TCB, key and certificates are Upgrade's from then on, whatever the count
	FaultTCBLag     FaultKind = "tcb-lag"     // after an update the host still has the old certificates
)

var faultKinds = []FaultKind{
	FaultBusy, FaultThrottled, FaultBroken, FaultWiped, FaultTampered, FaultFlip, FaultFlipCerts, FaultCertsNone, FaultCertsWrap,
	FaultCertsGarbage, FaultCertsMany, FaultCertsHuge, FaultRace, FaultTCBUpgrade, FaultTCBLag,
}

// FaultKinds are the names of all faults, for messages and help.
func FaultKinds() string {
	names := make([]string, len(faultKinds))
	for i, k := range faultKinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// Fault is one line of the fault script. Requests to the firmware are counted from 0, those for reports and those for keys, at both interfaces
// together; the fault holds for requests After up to After+Count-1 of those it sees, and without a Count for all that follow.
type Fault struct {
	Kind  FaultKind `cbor:"1,keyasint"`
	After uint32    `cbor:"2,keyasint"`
	Count uint32    `cbor:"3,keyasint"`
	// Times is for "busy": how often the host says so for each request. More than 30 outlasts the kernel's minute and the request fails.
	Times uint32 `cbor:"4,keyasint"`
	// WaitMS is for "busy" and "throttled": how long each of those takes. The kernel waits two seconds; tests are in a hurry.
	WaitMS uint32 `cbor:"5,keyasint"`
	// Bit is for "flip" and "flip-certs": bit Bit%8 of byte Bit/8.
	Bit uint32 `cbor:"6,keyasint"`
	// Data, if set, is how REPORT_DATA begins in the requests that the fault sees: others do not count and do not meet it.
	Data []byte `cbor:"7,keyasint,omitempty"`
}

const (
	maxFaults   = 64
	maxBusy     = 30 // retries of two seconds in the kernel's minute
	maxBusyWait = 2000
	maxBit      = 1 << 17 // of a certificate table as large as the kernel takes
)

func (f Fault) check() error {
	if !slices.Contains(faultKinds, f.Kind) {
		return fmt.Errorf("got kind %.32q, want one of %s", f.Kind, FaultKinds())
	}
	if f.WaitMS > maxBusyWait {
		return fmt.Errorf("got a wait of %d ms, want at most %d", f.WaitMS, maxBusyWait)
	}
	if len(f.Data) > 64 {
		return fmt.Errorf("got %d bytes of REPORT_DATA, want at most 64", len(f.Data))
	}
	if f.Bit >= maxBit {
		return fmt.Errorf("got bit %d, want less than %d", f.Bit, maxBit)
	}
	return nil
}

// sees says whether the fault counts a request, which for keys has no data.
func (f Fault) sees(data []byte) bool { return bytes.HasPrefix(data, f.Data) }

// holds says whether the fault concerns request n of those it sees.
func (f Fault) holds(n uint64) bool {
	first := uint64(f.After)
	return n >= first && (f.Count == 0 || n < first+uint64(f.Count))
}

// sticks says whether the fault stays once it has come.
func (f Fault) sticks() bool { return f.Kind == FaultWiped || f.Kind == FaultTCBUpgrade }
