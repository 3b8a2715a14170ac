package sevguest

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// The kernel's header, field by field: a shifted field would hand the kernel a wrong address.
func TestLayout(t *testing.T) {
	var (
		gr GuestRequest
		rr ReportReq
		rs ReportResp
		kr DerivedKeyReq
		ks DerivedKeyResp
		er ExtReportReq
	)
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"guest request size", unsafe.Sizeof(gr), 32},
		{"guest request msg_version", unsafe.Offsetof(gr.MsgVersion), 0},
		{"guest request req_data", unsafe.Offsetof(gr.ReqData), 8},
		{"guest request resp_data", unsafe.Offsetof(gr.RespData), 16},
		{"guest request exitinfo2", unsafe.Offsetof(gr.ExitInfo2), 24},
		{"report req size", unsafe.Sizeof(rr), 96},
		{"report req user_data", unsafe.Offsetof(rr.UserData), 0},
		{"report req vmpl", unsafe.Offsetof(rr.VMPL), 64},
		{"report resp size", unsafe.Sizeof(rs), 4000},
		{"report resp status", unsafe.Offsetof(rs.Status), 0},
		{"report resp size field", unsafe.Offsetof(rs.Size), 4},
		{"report resp report", unsafe.Offsetof(rs.Report), ReportOffset},
		{"derived key req size", unsafe.Sizeof(kr), 32},
		{"derived key req root_key_select", unsafe.Offsetof(kr.RootKeySelect), 0},
		{"derived key req guest_field_select", unsafe.Offsetof(kr.GuestFieldSelect), 8},
		{"derived key req vmpl", unsafe.Offsetof(kr.VMPL), 16},
		{"derived key req guest_svn", unsafe.Offsetof(kr.GuestSVN), 20},
		{"derived key req tcb_version", unsafe.Offsetof(kr.TCBVersion), 24},
		{"derived key resp size", unsafe.Sizeof(ks), 64},
		{"derived key resp status", unsafe.Offsetof(ks.Status), 0},
		{"derived key resp key", unsafe.Offsetof(ks.Key), KeyOffset},
		{"ext report req size", unsafe.Sizeof(er), 112},
		{"ext report req data", unsafe.Offsetof(er.Data), 0},
		{"ext report req certs_address", unsafe.Offsetof(er.CertsAddress), 96},
		{"ext report req certs_len", unsafe.Offsetof(er.CertsLen), 104},
		{"pointer size", unsafe.Sizeof(Pointer{}), 8},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, c.got, c.want)
		}
	}
}

// _IOWR(type, nr, size) as asm-generic/ioctl.h computes it.
func TestRequestNumbers(t *testing.T) {
	iowr := func(nr uintptr) uintptr {
		return 3<<30 | unsafe.Sizeof(GuestRequest{})<<16 | 'S'<<8 | nr
	}
	got := []uintptr{CmdGetReport, CmdGetDerivedKey, CmdGetExtReport}
	want := []uintptr{iowr(0), iowr(1), iowr(2)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ioctl numbers (-want +got):\n%s", d)
	}
}

func TestOpenRefusesOrdinaryFiles(t *testing.T) {
	if d, err := Open(t.TempDir() + "/missing"); err == nil {
		d.Close()
		t.Error("open of a missing path succeeded")
	}
	if d, err := Open("types_test.go"); err == nil {
		d.Close()
		t.Error("open of a regular file succeeded")
	}
}
