package measure

import (
	"bytes"
	"encoding/binary"
)

// Segment is a segment register as a VMSA has it.
type Segment struct {
	Selector, Attributes uint16
	Limit                uint32
	Base                 uint64
}

// SaveArea is the register state of a virtual processor, the VMSA: AMD64 Architecture Programmer's Manual, volume 2, table B-4. Its encoding is little
// endian without padding, 4096 bytes; the tests hold each offset against the table.
type SaveArea struct {
	ES, CS, SS, DS, FS, GS, GDTR, LDTR, IDTR, TR Segment // 0x000

	PL0SSP, PL1SSP, PL2SSP, PL3SSP, UCET uint64 // 0x0A0
	_                                    [2]byte
	VMPL, CPL                            uint8 // 0x0CA
	_                                    [4]byte
	EFER                                 uint64 // 0x0D0
	_                                    [104]byte

	XSS, CR4, CR3, CR0, DR7, DR6, RFLAGS, RIP              uint64 // 0x140
	DR0, DR1, DR2, DR3, DR0Mask, DR1Mask, DR2Mask, DR3Mask uint64 // 0x180
	_                                                      [24]byte
	RSP, SCET, SSP, ISSTAddr                               uint64 // 0x1D8
	RAX, STAR, LSTAR, CSTAR, SFMASK, KernelGSBase          uint64 // 0x1F8
	SysenterCS, SysenterESP, SysenterEIP, CR2              uint64 // 0x228
	_                                                      [32]byte
	GPAT, DbgCtl, BrFrom, BrTo, LastExcpFrom, LastExcpTo   uint64 // 0x268
	_                                                      [80]byte
	PKRU, TSCAux                                           uint32 // 0x2E8
	GuestTSCScale, GuestTSCOffset, RegProtNonce            uint64 // 0x2F0
	RCX, RDX, RBX                                          uint64 // 0x308
	_                                                      [8]byte
	RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15    uint64 // 0x328
	_                                                      [16]byte
	ExitInfo1, ExitInfo2, ExitIntInfo, NextRIP             uint64 // 0x390
	SEVFeatures, VIntrCtrl, ExitCode, VirtualTOM           uint64 // 0x3B0
	TLBID, PCPUID, EventInj, XCR0                          uint64 // 0x3D0
	_                                                      [16]byte
	X87DP                                                  uint64 // 0x400
	MXCSR                                                  uint32 // 0x408
	X87FTW, X87FSW, X87FCW, X87FOP, X87DS, X87CS           uint16 // 0x40C
	X87RIP                                                 uint64 // 0x418
	FPRegX87                                               [80]byte
	FPRegXMM                                               [256]byte
	FPRegYMM                                               [256]byte
	_                                                      [2448]byte // 0x670
}

// Page is the area as it lies in memory, one page.
func (s *SaveArea) Page() []byte {
	var b bytes.Buffer
	b.Grow(PageSize)
	if err := binary.Write(&b, binary.LittleEndian, s); err != nil {
		panic(err) // fixed-size fields only
	}
	return b.Bytes()
}
