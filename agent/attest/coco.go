package attest

import (
	"encoding/json"
	"strconv"

	"github.com/cloister-cc/cloister/snp"
)

// The types below are CoCo's evidence as its verifiers parse it: the report by fields, byte strings as arrays of
// numbers, what a report version does not have as null. Go writes arrays (not slices) of bytes that way by itself.

type cocoEvidence struct {
	Report cocoReport `json:"attestation_report"`
	Chain  []cocoCert `json:"cert_chain"` // null when the host gave none
}

type cocoReport struct {
	Version         uint32        `json:"version"`
	GuestSVN        uint32        `json:"guest_svn"`
	Policy          uint64        `json:"policy"`
	FamilyID        [16]byte      `json:"family_id"`
	ImageID         [16]byte      `json:"image_id"`
	VMPL            uint32        `json:"vmpl"`
	SignatureAlgo   uint32        `json:"sig_algo"`
	CurrentTCB      cocoTCB       `json:"current_tcb"`
	PlatformInfo    uint64        `json:"plat_info"`
	KeyInfo         uint32        `json:"key_info"`
	ReportData      [64]byte      `json:"report_data"`
	Measurement     [48]byte      `json:"measurement"`
	HostData        [32]byte      `json:"host_data"`
	IDKeyDigest     [48]byte      `json:"id_key_digest"`
	AuthorKeyDigest [48]byte      `json:"author_key_digest"`
	ReportID        [32]byte      `json:"report_id"`
	ReportIDMA      [32]byte      `json:"report_id_ma"`
	ReportedTCB     cocoTCB       `json:"reported_tcb"`
	CPUFamily       *uint8        `json:"cpuid_fam_id"`
	CPUModel        *uint8        `json:"cpuid_mod_id"`
	CPUStepping     *uint8        `json:"cpuid_step"`
	ChipID          [64]byte      `json:"chip_id"`
	CommittedTCB    cocoTCB       `json:"committed_tcb"`
	Current         cocoFirmware  `json:"current"`
	Committed       cocoFirmware  `json:"committed"`
	LaunchTCB       cocoTCB       `json:"launch_tcb"`
	LaunchMit       *uint64       `json:"launch_mit_vector"`
	CurrentMit      *uint64       `json:"current_mit_vector"`
	Signature       cocoSignature `json:"signature"`
}

type cocoTCB struct {
	FMC        *uint8 `json:"fmc"` // Turin only
	BootLoader uint8  `json:"bootloader"`
	TEE        uint8  `json:"tee"`
	SNP        uint8  `json:"snp"`
	Microcode  uint8  `json:"microcode"`
}

type cocoFirmware struct {
	Major uint8 `json:"major"`
	Minor uint8 `json:"minor"`
	Build uint8 `json:"build"`
}

type cocoSignature struct {
	R [72]byte `json:"r"`
	S [72]byte `json:"s"`
}

type cocoCert struct {
	Type cocoCertType `json:"cert_type"`
	Data numbers      `json:"data"`
}

// cocoCertType is the name of a known kind, or {"OTHER": guid}.
type cocoCertType snp.GUID

func (t cocoCertType) MarshalJSON() ([]byte, error) {
	switch snp.GUID(t) {
	case snp.GUIDVCEK:
		return []byte(`"VCEK"`), nil
	case snp.GUIDVLEK:
		return []byte(`"VLEK"`), nil
	case snp.GUIDASK:
		return []byte(`"ASK"`), nil
	case snp.GUIDARK:
		return []byte(`"ARK"`), nil
	case snp.GUIDCRL:
		return []byte(`"CRL"`), nil
	}
	return json.Marshal(map[string]string{"OTHER": snp.GUID(t).String()})
}

// numbers is a byte string written as an array of numbers.
type numbers []byte

func (n numbers) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 4*len(n)+2)
	out = append(out, '[')
	for i, b := range n {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(b), 10)
	}
	return append(out, ']'), nil
}

// newCocoEvidence writes a report by fields. A table that does not parse is the host's doing and gives no chain: the
// report is as good without it.
func newCocoEvidence(r *snp.Report, table []byte) (*cocoEvidence, error) {
	tcb := tcbReader{line: lineOf(r)}
	out := &cocoEvidence{Report: cocoReport{
		Version: r.Version, GuestSVN: r.GuestSVN, Policy: uint64(r.Policy), FamilyID: r.FamilyID, ImageID: r.ImageID,
		VMPL: r.VMPL, SignatureAlgo: r.SignatureAlgo, CurrentTCB: tcb.read(r.CurrentTCB), PlatformInfo: r.PlatformInfo,
		KeyInfo: uint32(r.KeyInfo), ReportData: r.ReportData, Measurement: r.Measurement, HostData: r.HostData,
		IDKeyDigest: r.IDKeyDigest, AuthorKeyDigest: r.AuthorDigest, ReportID: r.ReportID, ReportIDMA: r.ReportIDMA,
		ReportedTCB: tcb.read(r.ReportedTCB), ChipID: r.ChipID, CommittedTCB: tcb.read(r.CommittedTCB),
		Current: cocoFirmware(r.Current), Committed: cocoFirmware(r.Committed), LaunchTCB: tcb.read(r.LaunchTCB),
		Signature: cocoSignature{R: [72]byte(r.Signature[:72]), S: [72]byte(r.Signature[72:])},
	}}
	if tcb.err != nil {
		return nil, tcb.err
	}
	if r.Version >= 3 {
		out.Report.CPUFamily, out.Report.CPUModel, out.Report.CPUStepping = &r.CPU.Family, &r.CPU.Model, &r.CPU.Stepping
	}
	if r.Version >= 5 {
		out.Report.LaunchMit, out.Report.CurrentMit = &r.LaunchMit, &r.CurrentMit
	}
	certs, err := snp.ParseCerts(table)
	if err != nil {
		return out, nil
	}
	for _, c := range certs {
		out.Chain = append(out.Chain, cocoCert{cocoCertType(c.GUID), c.Data})
	}
	return out, nil
}

// lineOf finds the layout of a report's TCB fields. Reports of version 2 do not name the processor; only lines with the
// older layout made them, as only that one is known where the processor is not.
func lineOf(r *snp.Report) snp.Line {
	line, err := snp.LineOf(r.CPU)
	if err != nil {
		return snp.Milan
	}
	return line
}

// tcbReader splits TCB fields by one layout and keeps the first error.
type tcbReader struct {
	line snp.Line
	err  error
}

func (t *tcbReader) read(tcb snp.TCB) cocoTCB {
	p, err := tcb.Parts(t.line)
	if err != nil && t.err == nil {
		t.err = err
	}
	out := cocoTCB{BootLoader: p.BootLoader, TEE: p.TEE, SNP: p.SNP, Microcode: p.Microcode}
	if t.line == snp.Turin {
		out.FMC = &p.FMC
	}
	return out
}
