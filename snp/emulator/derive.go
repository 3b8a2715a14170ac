package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// derive serves MSG_KEY_REQ. As in the firmware the key depends on the root, the level and the selected fields, and a request for a newer version
// than the guest's own, or a level that the guest does not have, is refused.
func (p *Processor) derive(req sevguest.DerivedKeyReq) (key [32]byte, status uint32) {
	if !p.mayDerive(req) {
		return key, sevguest.StatusInvalid
	}
	q, le := &p.params, binary.LittleEndian
	mac := hmac.New(sha256.New, q.Root[:])
	mac.Write([]byte("cloister emulator derived key"))
	msg := le.AppendUint32(nil, req.RootKeySelect)
	if snp.RootKey(req.RootKeySelect) == snp.RootVM {
		msg = append(msg, p.reportID[:]...) // one a launch
	}
	msg = le.AppendUint64(msg, req.GuestFieldSelect)
	msg = le.AppendUint32(msg, req.VMPL)
	for _, f := range []struct {
		bit   snp.KeyFields
		value []byte
	}{
		{snp.KeyPolicy, le.AppendUint64(nil, uint64(q.Policy))},
		{snp.KeyImageID, q.ImageID[:]},
		{snp.KeyFamilyID, q.FamilyID[:]},
		{snp.KeyMeasurement, q.Measurement[:]},
		{snp.KeyGuestSVN, le.AppendUint32(nil, req.GuestSVN)},
		{snp.KeyTCB, le.AppendUint64(nil, req.TCBVersion)},
	} {
		if snp.KeyFields(req.GuestFieldSelect)&f.bit != 0 {
			msg = append(msg, f.value...)
		}
	}
	mac.Write(msg)
	return [32]byte(mac.Sum(nil)), 0
}

// keyFields are the fields that a derived key can depend on.
const keyFields = snp.KeyPolicy | snp.KeyImageID | snp.KeyFamilyID | snp.KeyMeasurement | snp.KeyGuestSVN | snp.KeyTCB

func (p *Processor) mayDerive(req sevguest.DerivedKeyReq) bool {
	q := &p.params
	var asked snp.TCB
	binary.LittleEndian.PutUint64(asked[:], req.TCBVersion)
	parts, err := asked.Parts(q.Line)
	return err == nil && p.now.tcb.AtLeast(parts) && req.GuestSVN <= q.GuestSVN &&
		snp.RootKey(req.RootKeySelect) <= snp.RootVM && snp.KeyFields(req.GuestFieldSelect)&^keyFields == 0 &&
		req.VMPL <= 3 && req.VMPL >= q.VMPLFloor
}
