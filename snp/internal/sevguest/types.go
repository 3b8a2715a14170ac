package sevguest

import "structs"

// Request numbers: _IOWR('S', nr, 32 bytes).
const (
	CmdGetReport     = 0xC0205300
	CmdGetDerivedKey = 0xC0205301
	CmdGetExtReport  = 0xC0205302
)

// Sizes and limits of the interface.
const (
	ReportSize    = 1184   // a report, all versions
	ReportOffset  = 0x20   // of the report in its response
	KeyOffset     = 0x20   // of the key in its response
	MaxCertsLen   = 0x4000 // SEV_FW_BLOB_MAX_SIZE: a larger buffer is EINVAL
	PageSize      = 4096
	StatusInvalid = 0x16 // firmware status: invalid parameters
)

// Parts of exitinfo2. The high half is the hypervisor's word, the low half the firmware's.
const (
	VMMErrLength  = 1    // certificate buffer too small
	VMMErrBusy    = 2    // host throttles
	FirmwareUnset = 0xff // what the kernel presets: the firmware was never reached
)

// ExitInfo2VMM builds the exitinfo2 of a hypervisor error.
func ExitInfo2VMM(code uint32) uint64 { return uint64(code) << 32 }

// GuestRequest is struct snp_guest_request_ioctl, the argument of each request.
type GuestRequest struct {
	_          structs.HostLayout
	MsgVersion uint8 // must not be 0
	_          [7]byte
	ReqData    Pointer
	RespData   Pointer
	ExitInfo2  uint64
}

// ReportReq is struct snp_report_req.
type ReportReq struct {
	_        structs.HostLayout
	UserData [64]byte
	VMPL     uint32
	_        [28]byte
}

// ReportResp is struct snp_report_resp with the firmware's MSG_REPORT_RSP laid over its data.
type ReportResp struct {
	_      structs.HostLayout
	Status uint32
	Size   uint32
	_      [24]byte
	Report [4000 - ReportOffset]byte
}

// DerivedKeyReq is struct snp_derived_key_req.
type DerivedKeyReq struct {
	_                structs.HostLayout
	RootKeySelect    uint32 // 0 VCEK, 1 VMRK
	_                uint32
	GuestFieldSelect uint64
	VMPL             uint32
	GuestSVN         uint32
	TCBVersion       uint64
}

// DerivedKeyResp is struct snp_derived_key_resp with MSG_KEY_RSP laid over its data.
type DerivedKeyResp struct {
	_      structs.HostLayout
	Status uint32
	_      [28]byte
	Key    [32]byte
}

// ExtReportReq is struct snp_ext_report_req.
type ExtReportReq struct {
	_            structs.HostLayout
	Data         ReportReq
	CertsAddress Pointer
	CertsLen     uint32
	_            uint32
}
