package snp

import (
	"errors"
	"syscall"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// requester is the part of sevguest.Device that is used here; the kernel's side of it is played in tests.
type requester interface {
	Report(data [64]byte, vmpl uint32) ([]byte, error)
	ExtReport(data [64]byte, vmpl uint32, certs []byte) (report []byte, need uint32, err error)
	DerivedKey(req sevguest.DerivedKeyReq) ([32]byte, error)
	Close() error
}

// ioctlDevice asks /dev/sev-guest.
type ioctlDevice struct {
	dev   requester
	path  string
	certs int // size of the host's certificates at the last request
}

func openIoctl(path string) (*ioctlDevice, error) {
	dev, err := sevguest.Open(path)
	if err != nil {
		return nil, err
	}
	return &ioctlDevice{dev: dev, path: path}, nil
}

func (d *ioctlDevice) String() string { return "ioctl " + d.path }

// extTries is how often the host may ask for more room before its certificates are left out.
const extTries = 3

// report follows the kernel's protocol for the certificates: an ask with too little room is answered with EIO, the hypervisor code "length" and
// the room that is needed. The size is remembered, so that a report normally costs one request. A host that wants more room than the kernel
// ever allows, or keeps changing its mind, gets its certificates left out: they are its own word, the report is not.
func (d *ioctlDevice) report(data [64]byte, vmpl uint32) (Evidence, error) {
	for range extTries {
		buf := make([]byte, d.certs)
		report, need, err := d.dev.ExtReport(data, vmpl, buf)
		if err == nil {
			return Evidence{Report: report, Certs: trimCerts(buf)}, nil
		}
		var e *sevguest.Error
		if !errors.As(err, &e) || !errors.Is(err, syscall.EIO) || e.VMM() != sevguest.VMMErrLength {
			return Evidence{}, err
		}
		if int(need) <= len(buf) || need > sevguest.MaxCertsLen || need%sevguest.PageSize != 0 {
			break
		}
		d.certs = int(need)
	}
	d.certs = 0
	report, err := d.dev.Report(data, vmpl)
	return Evidence{Report: report}, err
}
