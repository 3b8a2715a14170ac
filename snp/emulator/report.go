package emulator

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"

	"github.com/cloister-cc/cloister/snp"
)

// hostCerts is the table the host has: the endorsement key's certificate and what follows it. There is no GUID for the intermediate of VLEKs,
// so a host cannot send that one.
func hostCerts(chain [][]byte, vlek bool) []byte {
	guids := []snp.GUID{snp.GUIDVCEK, snp.GUIDASK, snp.GUIDARK}
	if vlek {
		guids = []snp.GUID{snp.GUIDVLEK, {}, snp.GUIDARK}
	}
	var certs []snp.Cert
	for i, der := range chain {
		if i < len(guids) && guids[i] != (snp.GUID{}) {
			certs = append(certs, snp.Cert{GUID: guids[i], Data: der})
		}
	}
	return snp.MarshalCerts(certs)
}

// fill makes an unsigned report.
func (p *Processor) fill(data [64]byte, vmpl uint32) []byte {
	b := make([]byte, snp.ReportSize)
	le, q := binary.LittleEndian, &p.params
	tcb, launched := p.now.tcb.Bytes(q.Line), p.launched.Bytes(q.Line)
	le.PutUint32(b[0x000:], q.ReportVersion)
	le.PutUint32(b[0x004:], q.GuestSVN)
	le.PutUint64(b[0x008:], uint64(q.Policy))
	copy(b[0x010:], q.FamilyID[:])
	copy(b[0x020:], q.ImageID[:])
	le.PutUint32(b[0x030:], vmpl)
	le.PutUint32(b[0x034:], 1) // ECDSA P-384 with SHA-384
	copy(b[0x038:], tcb[:])
	if q.Policy&snp.PolicySMT != 0 {
		le.PutUint64(b[0x040:], 1) // SMT is on
	}
	le.PutUint32(b[0x048:], q.keyInfo())
	copy(b[0x050:], data[:])
	copy(b[0x090:], q.Measurement[:])
	copy(b[0x0C0:], q.HostData[:])
	copy(b[0x0E0:], q.IDKeyDigest[:])
	copy(b[0x110:], q.AuthorDigest[:])
	copy(b[0x140:], p.reportID[:])
	copy(b[0x160:], slices.Repeat([]byte{0xff}, 32)) // no migration agent
	copy(b[0x180:], tcb[:])
	if q.ReportVersion >= 3 {
		cpu := q.cpu()
		copy(b[0x188:], []byte{cpu.Family, cpu.Model, cpu.Stepping})
	}
	copy(b[0x1A0:], q.ChipID[:])
	copy(b[0x1E0:], tcb[:])
	firmware := []byte{29, 55, 1, 0} // build, minor, major: 1.55.29
	copy(b[0x1E8:], firmware)
	copy(b[0x1EC:], firmware)
	copy(b[0x1F0:], launched[:])
	return b
}

// keyInfo is the word at 0x48: who signs, and whether an author key was given at launch.
func (p *TEEParams) keyInfo() uint32 {
	var info uint32
	if p.AuthorDigest != [48]byte{} {
		info |= 1
	}
	if p.VLEK {
		info |= snp.SignerVLEK << 2
	}
	return info
}

// signReport fills in the signature: R and S little endian in 72 bytes each.
func signReport(b []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	sum := sha512.Sum384(b[:snp.SignedSize])
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign report: %w", err)
	}
	for i, v := range []*big.Int{r, s} {
		field := b[snp.SignedSize+i*72:][:72]
		v.FillBytes(field)
		slices.Reverse(field)
	}
	return b, nil
}
