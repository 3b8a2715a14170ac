package emulator

import (
	"context"
	"encoding/binary"
	"syscall"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// Sizes of the structures behind the ioctl argument; package sevguest pins them.
const (
	argSize        = 32
	reportReqSize  = 96
	keyReqSize     = 32
	extReqSize     = 112
	reportRespSize = 4000
	keyRespSize    = 64
)

// ioctlServer answers the device's ioctls as the kernel's sev-guest driver does.
type ioctlServer struct{ proc *Processor }

// call is an ioctl while it is served: the copies of the caller's argument and request, which are written back.
type call struct {
	arg, req []byte
	resp     []byte
	certs    []byte
}

func (c *call) exitInfo2(v uint64) { binary.NativeEndian.PutUint64(c.arg[24:], v) }

// end writes everything back. The pieces lie one after the other, in the order of the iovecs.
func (c *call) end(errno syscall.Errno) []byte {
	data := append(c.arg, c.req...)
	data = append(data, c.resp...)
	return result(errno, append(data, c.certs...))
}

// ioctl serves one message. The kernel first calls without data, then with the argument, then with the request it points to, and for certificates
// once more with room for them: each round's answer names the pieces the next one needs. Nothing is remembered between rounds, so a
// caller that changes its memory in between only changes its own request.
func (d *ioctlServer) ioctl(ctx context.Context, body []byte) []byte {
	msg, err := parseIoctl(body)
	if err != nil {
		return result(syscall.EINVAL, nil)
	}
	reqSize, respSize := sizes(msg.cmd)
	if reqSize == 0 {
		return result(syscall.ENOTTY, nil)
	}
	argIO := iovec{msg.arg, argSize}
	if len(msg.data) < argSize {
		return retry([]iovec{argIO}, nil)
	}
	arg := msg.data[:argSize]
	reqIO := iovec{binary.NativeEndian.Uint64(arg[8:]), reqSize}
	respIO := iovec{binary.NativeEndian.Uint64(arg[16:]), respSize}
	if arg[0] == 0 || reqIO.base == 0 || respIO.base == 0 {
		return result(syscall.EINVAL, nil)
	}
	in, out := []iovec{argIO, reqIO}, []iovec{argIO, reqIO, respIO}
	if uint64(len(msg.data)) < argSize+reqSize {
		return retry(in, out)
	}
	c := &call{arg: append([]byte(nil), arg...), req: append([]byte(nil), msg.data[argSize:argSize+reqSize]...)}
	c.exitInfo2(sevguest.FirmwareUnset)
	room := uint64(msg.outSize) - min(uint64(msg.outSize), argSize+reqSize+respSize)
	switch msg.cmd {
	case sevguest.CmdGetDerivedKey:
		return d.derivedKey(ctx, c)
	case sevguest.CmdGetExtReport:
		base, size := binary.NativeEndian.Uint64(c.req[96:]), binary.NativeEndian.Uint32(c.req[104:])
		if base == 0 || size == 0 {
			size = 0
		} else if size > sevguest.MaxCertsLen || size%sevguest.PageSize != 0 {
			return c.end(syscall.EINVAL)
		} else if room < uint64(size) {
			return retry(in, append(out, iovec{base, uint64(size)}))
		}
		return d.report(ctx, c, &size)
	}
	return d.report(ctx, c, nil)
}

func sizes(cmd uint32) (req, resp uint64) {
	switch cmd {
	case sevguest.CmdGetReport:
		return reportReqSize, reportRespSize
	case sevguest.CmdGetDerivedKey:
		return keyReqSize, keyRespSize
	case sevguest.CmdGetExtReport:
		return extReqSize, reportRespSize
	}
	return 0, 0
}

// report serves both report requests; room is nil for the one without certificates.
func (d *ioctlServer) report(ctx context.Context, c *call, room *uint32) []byte {
	a := d.proc.report(ctx, [64]byte(c.req), binary.NativeEndian.Uint32(c.req[64:]), room)
	if a.errno != 0 {
		if a.need > 0 {
			binary.NativeEndian.PutUint32(c.req[104:], a.need)
		}
		return c.fail(a)
	}
	if room != nil {
		c.certs = make([]byte, *room)
		copy(c.certs, a.certs)
	}
	c.exitInfo2(0)
	c.resp = make([]byte, reportRespSize)
	binary.NativeEndian.PutUint32(c.resp, a.status)
	if a.status == 0 {
		binary.NativeEndian.PutUint32(c.resp[4:], uint32(len(a.report)))
		copy(c.resp[sevguest.ReportOffset:], a.report)
	}
	return c.end(0)
}

// fail ends a request that got no answer. Where the hypervisor gave no reason the field keeps what the kernel presets.
func (c *call) fail(a answer) []byte {
	if a.vmm != 0 {
		c.exitInfo2(sevguest.ExitInfo2VMM(a.vmm))
	}
	return c.end(a.errno)
}

func (d *ioctlServer) derivedKey(ctx context.Context, c *call) []byte {
	ne := binary.NativeEndian
	a := d.proc.derivedKey(ctx, sevguest.DerivedKeyReq{
		RootKeySelect:    ne.Uint32(c.req[0:]),
		GuestFieldSelect: ne.Uint64(c.req[8:]),
		VMPL:             ne.Uint32(c.req[16:]),
		GuestSVN:         ne.Uint32(c.req[20:]),
		TCBVersion:       ne.Uint64(c.req[24:]),
	})
	if a.errno != 0 {
		return c.fail(a)
	}
	c.exitInfo2(0)
	c.resp = make([]byte, keyRespSize)
	ne.PutUint32(c.resp, a.status)
	copy(c.resp[sevguest.KeyOffset:], a.key[:])
	return c.end(0)
}
