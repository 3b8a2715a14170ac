package coco

import (
	"encoding/json"
	"strconv"

	"github.com/cloister-cc/cloister/snp"
)

// Evidence is the document. Byte strings are arrays of numbers; what a report version does not have is null.
type Evidence struct {
	Report report `json:"attestation_report"`
	Chain  []cert `json:"cert_chain"` // null when the host gave none
}

// Go writes arrays (not slices) of bytes as arrays of numbers by itself.
type report struct {
	Version         uint32    `json:"version"`
	GuestSVN        uint32    `json:"guest_svn"`
	Policy          uint64    `json:"policy"`
	FamilyID        [16]byte  `json:"family_id"`
	ImageID         [16]byte  `json:"image_id"`
	VMPL            uint32    `json:"vmpl"`
	SignatureAlgo   uint32    `json:"sig_algo"`
	CurrentTCB      tcb       `json:"current_tcb"`
	PlatformInfo    uint64    `json:"plat_info"`
	KeyInfo         uint32    `json:"key_info"`
	ReportData      [64]byte  `json:"report_data"`
	Measurement     [48]byte  `json:"measurement"`
	HostData        [32]byte  `json:"host_data"`
	IDKeyDigest     [48]byte  `json:"id_key_digest"`
	AuthorKeyDigest [48]byte  `json:"author_key_digest"`
	ReportID        [32]byte  `json:"report_id"`
	ReportIDMA      [32]byte  `json:"report_id_ma"`
	ReportedTCB     tcb       `json:"reported_tcb"`
	CPUFamily       *uint8    `json:"cpuid_fam_id"`
	CPUModel        *uint8    `json:"cpuid_mod_id"`
	CPUStepping     *uint8    `json:"cpuid_step"`
	ChipID          [64]byte  `json:"chip_id"`
	CommittedTCB    tcb       `json:"committed_tcb"`
	Current         firmware  `json:"current"`
	Committed       firmware  `json:"committed"`
	LaunchTCB       tcb       `json:"launch_tcb"`
	LaunchMit       *uint64   `json:"launch_mit_vector"`
	CurrentMit      *uint64   `json:"current_mit_vector"`
	Signature       signature `json:"signature"`
}

type tcb struct {
	FMC        *uint8 `json:"fmc"` // Turin only
	BootLoader uint8  `json:"bootloader"`
	TEE        uint8  `json:"tee"`
	SNP        uint8  `json:"snp"`
	Microcode  uint8  `json:"microcode"`
}

type firmware struct {
	Major uint8 `json:"major"`
	Minor uint8 `json:"minor"`
	Build uint8 `json:"build"`
}

type signature struct {
	R [72]byte `json:"r"`
	S [72]byte `json:"s"`
}

type cert struct {
	Type certType `json:"cert_type"`
	Data numbers  `json:"data"`
}

// certType is the name of a known kind, or {"OTHER": guid}.
type certType snp.GUID

var certNames = map[snp.GUID]string{
	snp.GUIDVCEK: "VCEK", snp.GUIDVLEK: "VLEK", snp.GUIDASK: "ASK", snp.GUIDARK: "ARK", snp.GUIDCRL: "CRL",
}

type otherCert struct {
	GUID string `json:"OTHER"`
}

// MarshalJSON implements json.Marshaler.
func (t certType) MarshalJSON() ([]byte, error) {
	if name, ok := certNames[snp.GUID(t)]; ok {
		return json.Marshal(name)
	}
	return json.Marshal(otherCert{snp.GUID(t).String()})
}

// numbers is a byte string written as an array of numbers.
type numbers []byte

// MarshalJSON implements json.Marshaler.
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
