package snp

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// RootKey is what a derived key begins with.
type RootKey uint32

const (
	// RootChip is the chip's endorsement key: the same guest on the same chip gets the same key in every launch. Good for sealing.
	RootChip RootKey = 0
	// RootVM is the key the firmware made for this VM at its launch: no later launch gets the key again.
	RootVM RootKey = 1
)

func (r RootKey) String() string {
	switch r {
	case RootChip:
		return "chip"
	case RootVM:
		return "vm"
	}
	return fmt.Sprintf("RootKey(%d)", uint32(r))
}

// KeyFields are the properties of the guest that a derived key depends on; a guest in which one of them differs gets another key.
type KeyFields uint64

// Fields of KeyFields.
const (
	KeyPolicy KeyFields = 1 << iota
	KeyImageID
	KeyFamilyID
	KeyMeasurement
	KeyGuestSVN
	KeyTCB

	keyFieldsKnown = KeyTCB<<1 - 1
)

// DerivedKeyRequest says what key is wanted. The zero request is answered too: its key depends on the chip and the privilege level only, so that
// every guest on the chip can have it.
type DerivedKeyRequest struct {
	Root   RootKey
	Fields KeyFields
	// GuestSVN is mixed in with KeyGuestSVN: at most the guest's own, so that a newer guest can derive what an older one sealed with.
	GuestSVN uint32
	// TCB is mixed in with KeyTCB: in no part newer than the committed TCB.
	TCB TCB
}

// check refuses what would look as if the key depended on something that it does not.
func (r DerivedKeyRequest) check() error {
	switch {
	case r.Root > RootVM:
		return fmt.Errorf("derived key: got root %s, want chip or vm", r.Root)
	case r.Fields&^keyFieldsKnown != 0:
		return fmt.Errorf("derived key: got fields %#x, want bits of %#x", uint64(r.Fields), uint64(keyFieldsKnown))
	case r.Fields&KeyGuestSVN == 0 && r.GuestSVN != 0:
		return fmt.Errorf("derived key: got guest svn %d without KeyGuestSVN: it would not be mixed in", r.GuestSVN)
	case r.Fields&KeyTCB == 0 && r.TCB != (TCB{}):
		return fmt.Errorf("derived key: got tcb %x without KeyTCB: it would not be mixed in", r.TCB[:])
	}
	return nil
}

// DerivedKey asks the firmware for a key, at the privilege level the device was opened for. Only the ioctl device gives them: where there is none the
// error is ErrNoDerivedKeys with the reason.
//
// HOST_DATA is not among the fields: a guest with the same measurement and another policy gets the same key. Who seals for one policy must derive a
// further key from this one and HOST_DATA, and keep this one to itself.
func (g *Guest) DerivedKey(ctx context.Context, r DerivedKeyRequest) ([32]byte, error) {
	if err := r.check(); err != nil {
		return [32]byte{}, err
	}
	if g.ioctl == nil {
		return [32]byte{}, fmt.Errorf("derived key: %w: %s has none: %w", ErrNoDerivedKeys, g.reports, g.devErr)
	}
	return alone(ctx, g.turn, func() ([32]byte, error) {
		return asking(g, func() ([32]byte, error) {
			return g.ioctl.dev.DerivedKey(sevguest.DerivedKeyReq{
				RootKeySelect: uint32(r.Root), GuestFieldSelect: uint64(r.Fields), VMPL: g.vmpl, GuestSVN: r.GuestSVN,
				TCBVersion: binary.LittleEndian.Uint64(r.TCB[:]),
			})
		})
	})
}
