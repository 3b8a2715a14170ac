package measure

import (
	"encoding/binary"
	"testing"
)

// TestSaveAreaLayout holds each field against its offset in the Architecture Programmer's Manual, volume 2, table B-4.
func TestSaveAreaLayout(t *testing.T) {
	var s SaveArea
	if n := binary.Size(s); n != PageSize {
		t.Fatalf("got %d bytes, want %d", n, PageSize)
	}
	for _, c := range []struct {
		name  string
		field any
		at    int
	}{
		{"ES", &s.ES.Selector, 0x000},
		{"CS", &s.CS.Selector, 0x010},
		{"CS attributes", &s.CS.Attributes, 0x012},
		{"CS limit", &s.CS.Limit, 0x014},
		{"CS base", &s.CS.Base, 0x018},
		{"SS", &s.SS.Selector, 0x020},
		{"DS", &s.DS.Selector, 0x030},
		{"FS", &s.FS.Selector, 0x040},
		{"GS", &s.GS.Selector, 0x050},
		{"GDTR", &s.GDTR.Selector, 0x060},
		{"LDTR", &s.LDTR.Selector, 0x070},
		{"IDTR", &s.IDTR.Selector, 0x080},
		{"TR", &s.TR.Selector, 0x090},
		{"PL0_SSP", &s.PL0SSP, 0x0A0},
		{"PL1_SSP", &s.PL1SSP, 0x0A8},
		{"PL2_SSP", &s.PL2SSP, 0x0B0},
		{"PL3_SSP", &s.PL3SSP, 0x0B8},
		{"U_CET", &s.UCET, 0x0C0},
		{"VMPL", &s.VMPL, 0x0CA},
		{"CPL", &s.CPL, 0x0CB},
		{"EFER", &s.EFER, 0x0D0},
		{"XSS", &s.XSS, 0x140},
		{"CR4", &s.CR4, 0x148},
		{"CR3", &s.CR3, 0x150},
		{"CR0", &s.CR0, 0x158},
		{"DR7", &s.DR7, 0x160},
		{"DR6", &s.DR6, 0x168},
		{"RFLAGS", &s.RFLAGS, 0x170},
		{"RIP", &s.RIP, 0x178},
		{"DR0", &s.DR0, 0x180},
		{"DR1", &s.DR1, 0x188},
		{"DR2", &s.DR2, 0x190},
		{"DR3", &s.DR3, 0x198},
		{"DR0_ADDR_MASK", &s.DR0Mask, 0x1A0},
		{"DR1_ADDR_MASK", &s.DR1Mask, 0x1A8},
		{"DR2_ADDR_MASK", &s.DR2Mask, 0x1B0},
		{"DR3_ADDR_MASK", &s.DR3Mask, 0x1B8},
		{"RSP", &s.RSP, 0x1D8},
		{"S_CET", &s.SCET, 0x1E0},
		{"SSP", &s.SSP, 0x1E8},
		{"ISST_ADDR", &s.ISSTAddr, 0x1F0},
		{"RAX", &s.RAX, 0x1F8},
		{"STAR", &s.STAR, 0x200},
		{"LSTAR", &s.LSTAR, 0x208},
		{"CSTAR", &s.CSTAR, 0x210},
		{"SFMASK", &s.SFMASK, 0x218},
		{"KERNEL_GS_BASE", &s.KernelGSBase, 0x220},
		{"SYSENTER_CS", &s.SysenterCS, 0x228},
		{"SYSENTER_ESP", &s.SysenterESP, 0x230},
		{"SYSENTER_EIP", &s.SysenterEIP, 0x238},
		{"CR2", &s.CR2, 0x240},
		{"G_PAT", &s.GPAT, 0x268},
		{"DBGCTL", &s.DbgCtl, 0x270},
		{"BR_FROM", &s.BrFrom, 0x278},
		{"BR_TO", &s.BrTo, 0x280},
		{"LASTEXCPFROM", &s.LastExcpFrom, 0x288},
		{"LASTEXCPTO", &s.LastExcpTo, 0x290},
		{"PKRU", &s.PKRU, 0x2E8},
		{"TSC_AUX", &s.TSCAux, 0x2EC},
		{"GUEST_TSC_SCALE", &s.GuestTSCScale, 0x2F0},
		{"GUEST_TSC_OFFSET", &s.GuestTSCOffset, 0x2F8},
		{"REG_PROT_NONCE", &s.RegProtNonce, 0x300},
		{"RCX", &s.RCX, 0x308},
		{"RDX", &s.RDX, 0x310},
		{"RBX", &s.RBX, 0x318},
		{"RBP", &s.RBP, 0x328},
		{"RSI", &s.RSI, 0x330},
		{"RDI", &s.RDI, 0x338},
		{"R8", &s.R8, 0x340},
		{"R9", &s.R9, 0x348},
		{"R10", &s.R10, 0x350},
		{"R11", &s.R11, 0x358},
		{"R12", &s.R12, 0x360},
		{"R13", &s.R13, 0x368},
		{"R14", &s.R14, 0x370},
		{"R15", &s.R15, 0x378},
		{"GUEST_EXITINFO1", &s.ExitInfo1, 0x390},
		{"GUEST_EXITINFO2", &s.ExitInfo2, 0x398},
		{"GUEST_EXITINTINFO", &s.ExitIntInfo, 0x3A0},
		{"GUEST_NRIP", &s.NextRIP, 0x3A8},
		{"SEV_FEATURES", &s.SEVFeatures, 0x3B0},
		{"VINTR_CTRL", &s.VIntrCtrl, 0x3B8},
		{"GUEST_EXIT_CODE", &s.ExitCode, 0x3C0},
		{"VIRTUAL_TOM", &s.VirtualTOM, 0x3C8},
		{"TLB_ID", &s.TLBID, 0x3D0},
		{"PCPU_ID", &s.PCPUID, 0x3D8},
		{"EVENTINJ", &s.EventInj, 0x3E0},
		{"XCR0", &s.XCR0, 0x3E8},
		{"X87_DP", &s.X87DP, 0x400},
		{"MXCSR", &s.MXCSR, 0x408},
		{"X87_FTW", &s.X87FTW, 0x40C},
		{"X87_FSW", &s.X87FSW, 0x40E},
		{"X87_FCW", &s.X87FCW, 0x410},
		{"X87_FOP", &s.X87FOP, 0x412},
		{"X87_DS", &s.X87DS, 0x414},
		{"X87_CS", &s.X87CS, 0x416},
		{"X87_RIP", &s.X87RIP, 0x418},
		{"FPREG_X87", &s.FPRegX87[0], 0x420},
		{"FPREG_XMM", &s.FPRegXMM[0], 0x470},
		{"FPREG_YMM", &s.FPRegYMM[0], 0x570},
	} {
		s = SaveArea{}
		size := set(t, c.field)
		page := s.Page()
		for i, b := range page {
			if inside := i >= c.at && i < c.at+size; inside != (b != 0) {
				t.Errorf("%s: byte %#x is %#x, want the field at %#x to %#x", c.name, i, b, c.at, c.at+size-1)
				break
			}
		}
	}
}

// set makes every byte of a field 0xFF and returns its size.
func set(t *testing.T, field any) int {
	switch f := field.(type) {
	case *uint8:
		*f = ^uint8(0)
	case *uint16:
		*f = ^uint16(0)
	case *uint32:
		*f = ^uint32(0)
	case *uint64:
		*f = ^uint64(0)
	default:
		t.Fatalf("got a field of type %T", field)
	}
	return binary.Size(field)
}
