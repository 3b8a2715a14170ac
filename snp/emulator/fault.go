package emulator

import "fmt"

// FaultKind names a way in which host or firmware misbehave.
type FaultKind string

// The faults known. Each is something a real host can do, or that a real machine was seen to do.
const (
	FaultBusy         FaultKind = "busy"          // the host answers "busy"; the kernel waits and retries
	FaultWiped        FaultKind = "wiped"         // the kernel wiped its message key: ENOTTY from then on
	FaultTampered     FaultKind = "tampered"      // one bit of the measurement is not what was signed
	FaultCertsNone    FaultKind = "certs-none"    // the host has no certificates
	FaultCertsWrap    FaultKind = "certs-wrap"    // an entry whose offset and length wrap in 32 bits
	FaultCertsGarbage FaultKind = "certs-garbage" // a table without a closing entry
	FaultCertsHuge    FaultKind = "certs-huge"    // the host wants more room than the kernel ever gives
	FaultRace         FaultKind = "race"          // configfs: another writer comes between the write and the reads
)

// Fault is one line of the fault script. Report requests are counted from 0, at both interfaces together; the fault holds for requests
// After up to After+Count-1, and without a Count for all that follow.
type Fault struct {
	Kind  FaultKind `cbor:"1,keyasint"`
	After uint32    `cbor:"2,keyasint"`
	Count uint32    `cbor:"3,keyasint"`
	// Times is for "busy": how often the host says so for each request. More than 30 outlasts the kernel's minute and the request fails.
	Times uint32 `cbor:"4,keyasint"`
	// WaitMS is for "busy": how long each of those takes. The kernel waits two seconds; tests are in a hurry.
	WaitMS uint32 `cbor:"5,keyasint"`
}

const (
	maxFaults   = 64
	maxBusy     = 30 // retries of two seconds in the kernel's minute
	maxBusyWait = 2000
)

func (f Fault) check() error {
	switch f.Kind {
	case FaultBusy, FaultWiped, FaultTampered, FaultCertsNone, FaultCertsWrap, FaultCertsGarbage, FaultCertsHuge, FaultRace:
	default:
		return fmt.Errorf("got kind %.32q, which is not known", f.Kind)
	}
	if f.WaitMS > maxBusyWait {
		return fmt.Errorf("got a wait of %d ms, want at most %d", f.WaitMS, maxBusyWait)
	}
	return nil
}

// holds says whether the fault concerns request n.
func (f Fault) holds(n uint64) bool {
	first := uint64(f.After)
	return n >= first && (f.Count == 0 || n < first+uint64(f.Count))
}
