package sevguest

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Device is an open /dev/sev-guest. Its methods block in the kernel, for up to a minute when the host is busy, and must not run
// concurrently: the kernel numbers the messages of one key.
type Device struct {
	fd   int
	path string
}

// Open opens the device. It stays outside the runtime's poller: the driver has no poll operation.
func Open(path string) (*Device, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		unix.Close(fd)
		return nil, fmt.Errorf("open %q: got mode %#o, want a character device: %w", path, st.Mode, errors.Join(err, unix.ENODEV))
	}
	return &Device{fd: fd, path: path}, nil
}

// Close closes the device.
func (d *Device) Close() error { return unix.Close(d.fd) }

// Error is a request that the kernel, the host or the firmware did not serve.
type Error struct {
	Op        string
	Path      string
	ExitInfo2 uint64
	Status    uint32 // the firmware's, when the call itself succeeded
	Err       error  // errno
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s %q: got firmware status %#x, want 0", e.Op, e.Path, e.Status)
	}
	return fmt.Sprintf("%s %q: exitinfo2 %#x: %v", e.Op, e.Path, e.ExitInfo2, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// VMM is the hypervisor's error code, 0 when it reported none.
func (e *Error) VMM() uint32 { return uint32(e.ExitInfo2 >> 32) }

func (d *Device) request(op string, cmd uintptr, req, resp Pointer) error {
	exit, err := ioctl(d.fd, cmd, req, resp)
	if err != nil {
		return &Error{Op: op, Path: d.path, ExitInfo2: exit, Err: err}
	}
	return nil
}

// Report asks for a report over data at a privilege level.
func (d *Device) Report(data [64]byte, vmpl uint32) ([]byte, error) {
	req := &ReportReq{UserData: data, VMPL: vmpl}
	resp := &ReportResp{}
	if err := d.request("get report", CmdGetReport, pointerTo(req), pointerTo(resp)); err != nil {
		return nil, err
	}
	return d.report("get report", resp)
}

// ExtReport asks for a report together with the host's certificates, for which certs is the buffer: empty, or whole pages and at most
// MaxCertsLen. When the buffer is too small the error's VMM code is VMMErrLength and need is the size the host wants.
func (d *Device) ExtReport(data [64]byte, vmpl uint32, certs []byte) (report []byte, need uint32, err error) {
	req := &ExtReportReq{Data: ReportReq{UserData: data, VMPL: vmpl}, CertsLen: uint32(len(certs))}
	if len(certs) > 0 {
		req.CertsAddress = pointerToSlice(certs)
	}
	resp := &ReportResp{}
	if err := d.request("get extended report", CmdGetExtReport, pointerTo(req), pointerTo(resp)); err != nil {
		return nil, req.CertsLen, err
	}
	report, err = d.report("get extended report", resp)
	return report, req.CertsLen, err
}

func (d *Device) report(op string, resp *ReportResp) ([]byte, error) {
	if resp.Status != 0 {
		return nil, &Error{Op: op, Path: d.path, Status: resp.Status}
	}
	if resp.Size != ReportSize {
		return nil, fmt.Errorf("%s %q: got a report of %d bytes, want %d", op, d.path, resp.Size, ReportSize)
	}
	return append([]byte(nil), resp.Report[:ReportSize]...), nil
}

// DerivedKey asks for a key derived from the chip's or the guest's root and the selected fields.
func (d *Device) DerivedKey(req DerivedKeyReq) ([32]byte, error) {
	resp := &DerivedKeyResp{}
	if err := d.request("get derived key", CmdGetDerivedKey, pointerTo(&req), pointerTo(resp)); err != nil {
		return [32]byte{}, err
	}
	if resp.Status != 0 {
		return [32]byte{}, &Error{Op: "get derived key", Path: d.path, Status: resp.Status}
	}
	return resp.Key, nil
}
