package emulator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// fakeCUSE plays the kernel's side of /dev/cuse: requests out of one channel, replies into another, and a caller's memory that ioctls copy from
// and to, piece by piece, as fuse_do_ioctl does.
type fakeCUSE struct {
	t        *testing.T
	requests chan []byte
	replies  chan []byte
	closed   chan struct{}
	unique   uint64
	memory   map[uint64][]byte // caller's memory by address
	rounds   int
}

func newFakeCUSE(t *testing.T) *fakeCUSE {
	return &fakeCUSE{t: t, requests: make(chan []byte), replies: make(chan []byte, 1), closed: make(chan struct{}), memory: map[uint64][]byte{}}
}

func (k *fakeCUSE) Read(b []byte) (int, error) {
	select {
	case m := <-k.requests:
		return copy(b, m), nil
	case <-k.closed:
		return 0, os.ErrClosed
	}
}

func (k *fakeCUSE) Write(b []byte) (int, error) {
	k.replies <- append([]byte(nil), b...)
	return len(b), nil
}

func (k *fakeCUSE) Close() error { close(k.closed); return nil }

func (k *fakeCUSE) message(opcode uint32, body []byte) []byte {
	k.unique++
	ne := binary.NativeEndian
	m := make([]byte, inHeaderSize, inHeaderSize+len(body))
	ne.PutUint32(m, uint32(inHeaderSize+len(body)))
	ne.PutUint32(m[4:], opcode)
	ne.PutUint64(m[8:], k.unique)
	return append(m, body...)
}

// send delivers a request and returns the error and payload of its reply.
func (k *fakeCUSE) send(opcode uint32, body []byte) (syscall.Errno, []byte) {
	k.t.Helper()
	m := k.message(opcode, body)
	go func() { k.requests <- m }()
	r := <-k.replies
	ne := binary.NativeEndian
	if int(ne.Uint32(r)) != len(r) || ne.Uint64(r[8:]) != k.unique {
		k.t.Fatalf("reply header %x does not answer request %d", r[:outHeaderSize], k.unique)
	}
	return syscall.Errno(-int32(ne.Uint32(r[4:]))), r[outHeaderSize:]
}

func (k *fakeCUSE) init() (syscall.Errno, []byte) {
	body := make([]byte, cuseInitSize)
	binary.NativeEndian.PutUint32(body, 7)
	binary.NativeEndian.PutUint32(body[4:], 38)
	return k.send(opCuseInit, body)
}

// ioctl does what the kernel does with a caller's ioctl: it calls the server until no retry is asked for, copying the pieces in and out.
func (k *fakeCUSE) ioctl(cmd uint32, arg uint64) syscall.Errno {
	k.t.Helper()
	ne := binary.NativeEndian
	var in, out []iovec
	for k.rounds = 1; k.rounds < 6; k.rounds++ {
		var data []byte
		for _, v := range in {
			piece, ok := k.memory[v.base]
			if !ok || uint64(len(piece)) < v.size {
				return syscall.EFAULT
			}
			data = append(data, piece[:v.size]...)
		}
		body := make([]byte, ioctlInSize)
		ne.PutUint64(body, 1)
		ne.PutUint32(body[8:], cuseUnrestrictedIoctl<<1)
		ne.PutUint32(body[12:], cmd)
		ne.PutUint64(body[16:], arg)
		ne.PutUint32(body[24:], uint32(len(data)))
		ne.PutUint32(body[28:], uint32(total(out)))
		errno, r := k.send(opIoctl, append(body, data...))
		if errno != 0 {
			return errno
		}
		if ne.Uint32(r[4:])&ioctlRetry == 0 {
			return k.copyOut(out, r)
		}
		vecs := r[16:]
		n := ne.Uint32(r[8:])
		in, out = nil, nil
		for i := uint32(0); i < n+ne.Uint32(r[12:]); i++ {
			v := iovec{ne.Uint64(vecs[i*16:]), ne.Uint64(vecs[i*16+8:])}
			if i < n {
				in = append(in, v)
			} else {
				out = append(out, v)
			}
		}
	}
	k.t.Fatal("the server retries for ever")
	return 0
}

func total(vs []iovec) (n uint64) {
	for _, v := range vs {
		n += v.size
	}
	return n
}

func (k *fakeCUSE) copyOut(out []iovec, r []byte) syscall.Errno {
	k.t.Helper()
	data := r[16:]
	if uint64(len(data)) > max(total(out), 4096) {
		k.t.Fatalf("got %d bytes back, want at most %d", len(data), total(out))
	}
	for _, v := range out {
		n := min(uint64(len(data)), v.size)
		if n > 0 && uint64(len(k.memory[v.base])) < n {
			return syscall.EFAULT
		}
		copy(k.memory[v.base], data[:n])
		data = data[n:]
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(r)))
}

// Addresses of a caller's memory.
const (
	atArg   = 0x1000
	atReq   = 0x2000
	atResp  = 0x3000
	atCerts = 0x10000
)

// caller lays out an ioctl's memory.
func (k *fakeCUSE) caller(req []byte, resp int) {
	arg := make([]byte, argSize)
	arg[0] = 1
	binary.NativeEndian.PutUint64(arg[8:], atReq)
	binary.NativeEndian.PutUint64(arg[16:], atResp)
	k.memory[atArg], k.memory[atReq], k.memory[atResp] = arg, req, make([]byte, resp)
}

func (k *fakeCUSE) exitInfo2() uint64 { return binary.NativeEndian.Uint64(k.memory[atArg][24:]) }

func extRequest(nonce byte, certs uint64, room uint32) []byte {
	req := make([]byte, extReqSize)
	req[0] = nonce
	binary.NativeEndian.PutUint64(req[96:], certs)
	binary.NativeEndian.PutUint32(req[104:], room)
	return req
}

// serveFake registers a device with the fake kernel.
func serveFake(t *testing.T, edit func(*TEEParams)) *fakeCUSE {
	t.Helper()
	p := testParams(t, DefaultIdentity())
	if edit != nil {
		edit(&p)
	}
	proc, err := NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	k := newFakeCUSE(t)
	type started struct {
		d   *Device
		err error
	}
	up := make(chan started)
	go func() { d, err := ServeCUSE(proc, k, "sev-guest"); up <- started{d, err} }()
	errno, out := k.init()
	s := <-up
	if s.err != nil || errno != 0 {
		t.Fatal(s.err, errno)
	}
	ne := binary.NativeEndian
	if ne.Uint32(out) != 7 || ne.Uint32(out[12:])&cuseUnrestrictedIoctl == 0 || string(out[72:]) != "DEVNAME=sev-guest\x00" {
		t.Errorf("CUSE_INIT: got %x", out)
	}
	t.Cleanup(func() {
		if err := s.d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := s.d.Err(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return k
}

func TestCUSEReport(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("report", func(t *testing.T) {
		k := serveFake(t, nil)
		if errno, _ := k.send(opOpen, make([]byte, 8)); errno != 0 {
			t.Errorf("open: %v", errno)
		}
		req := make([]byte, reportReqSize)
		req[5] = 0x77
		k.caller(req, reportRespSize)
		if errno := k.ioctl(sevguest.CmdGetReport, atArg); errno != 0 || k.exitInfo2() != 0 {
			t.Fatalf("got %v exitinfo2 %#x, want success", errno, k.exitInfo2())
		}
		r, err := snp.ParseReport(k.memory[atResp][sevguest.ReportOffset:][:snp.ReportSize])
		if err != nil || r.ReportData[5] != 0x77 {
			t.Errorf("got %v, want a report over the nonce", err)
		}
		if errno, _ := k.send(opRelease, make([]byte, 24)); errno != 0 {
			t.Errorf("release: %v", errno)
		}
	})
}

func TestCUSEExtendedReport(t *testing.T) {
	huge := func(p *TEEParams) { p.Faults = []Fault{{Kind: FaultCertsHuge}} }
	none := func(p *TEEParams) { p.Faults = []Fault{{Kind: FaultCertsNone}} }
	for _, c := range []struct {
		name  string
		edit  func(*TEEParams)
		addr  uint64
		room  uint32
		errno syscall.Errno
		exit  uint64
		need  uint32
	}{
		{"no address", nil, 0, 0x2000, syscall.EIO, 1 << 32, 0x2000},
		{"no room", nil, atCerts, 0, syscall.EIO, 1 << 32, 0x2000},
		{"one page short", nil, atCerts, 0x1000, syscall.EIO, 1 << 32, 0x2000},
		{"as much as needed", nil, atCerts, 0x2000, 0, 0, 0x2000},
		{"more than needed", nil, atCerts, 0x4000, 0, 0, 0x4000},
		{"more than allowed", nil, atCerts, 0x5000, syscall.EINVAL, sevguest.FirmwareUnset, 0x5000},
		{"not whole pages", nil, atCerts, 0x1800, syscall.EINVAL, sevguest.FirmwareUnset, 0x1800},
		{"host without certificates", none, 0, 0, 0, 0, 0},
		{"host without certificates, room", none, atCerts, 0x1000, 0, 0, 0x1000},
		{"host with too many", huge, atCerts, 0x4000, syscall.EIO, 1 << 32, 0x5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := serveFake(t, c.edit)
			k.caller(extRequest(9, c.addr, c.room), reportRespSize)
			k.memory[atCerts] = make([]byte, 0x5000)
			errno := k.ioctl(sevguest.CmdGetExtReport, atArg)
			if errno != c.errno || k.exitInfo2() != c.exit {
				t.Errorf("got %v exitinfo2 %#x, want %v %#x", errno, k.exitInfo2(), c.errno, c.exit)
			}
			if got := binary.NativeEndian.Uint32(k.memory[atReq][104:]); got != c.need {
				t.Errorf("certs_len: got %#x, want %#x", got, c.need)
			}
			if errno != 0 {
				return
			}
			if _, err := snp.ParseReport(k.memory[atResp][sevguest.ReportOffset:][:snp.ReportSize]); err != nil {
				t.Error(err)
			}
			certs, err := snp.ParseCerts(k.memory[atCerts])
			if want := map[bool]int{true: 3, false: 0}[c.edit == nil]; err != nil || len(certs) != want {
				t.Errorf("certificates: got %d %v, want %d", len(certs), err, want)
			}
		})
	}
}

func TestCUSERefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		cmd  uint32
		edit func(k *fakeCUSE)
		want syscall.Errno
	}{
		{"message version 0", sevguest.CmdGetReport, func(k *fakeCUSE) { k.memory[atArg][0] = 0 }, syscall.EINVAL},
		{"no request", sevguest.CmdGetReport, func(k *fakeCUSE) { clear(k.memory[atArg][8:16]) }, syscall.EINVAL},
		{"no response", sevguest.CmdGetReport, func(k *fakeCUSE) { clear(k.memory[atArg][16:24]) }, syscall.EINVAL},
		{"unknown request", sevguest.CmdGetExtReport + 1, func(*fakeCUSE) {}, syscall.ENOTTY},
		{"request at a bad address", sevguest.CmdGetReport, func(k *fakeCUSE) { delete(k.memory, atReq) }, syscall.EFAULT},
		{"argument at a bad address", sevguest.CmdGetReport, func(k *fakeCUSE) { delete(k.memory, atArg) }, syscall.EFAULT},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := serveFake(t, nil)
			k.caller(make([]byte, reportReqSize), reportRespSize)
			c.edit(k)
			if errno := k.ioctl(c.cmd, atArg); errno != c.want {
				t.Errorf("got %v, want %v", errno, c.want)
			}
		})
	}
	t.Run("read, write and poll", func(t *testing.T) {
		k := serveFake(t, nil)
		for op, want := range map[uint32]syscall.Errno{opRead: syscall.EINVAL, opWrite: syscall.EINVAL, opPoll: syscall.ENOSYS, 99: syscall.ENOSYS} {
			if errno, _ := k.send(op, make([]byte, 64)); errno != want {
				t.Errorf("opcode %d: got %v, want %v", op, errno, want)
			}
		}
	})
	t.Run("level 4", func(t *testing.T) {
		k := serveFake(t, nil)
		req := make([]byte, reportReqSize)
		req[64] = 4
		k.caller(req, reportRespSize)
		if errno := k.ioctl(sevguest.CmdGetReport, atArg); errno != 0 {
			t.Fatal(errno)
		}
		if status := binary.NativeEndian.Uint32(k.memory[atResp]); status != sevguest.StatusInvalid {
			t.Errorf("firmware status: got %#x, want %#x", status, sevguest.StatusInvalid)
		}
	})
}

func TestCUSEFaults(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		errno []syscall.Errno // of requests one after the other
	}{
		{Fault{Kind: FaultWiped, After: 1, Count: 1}, []syscall.Errno{0, syscall.ENOTTY, syscall.ENOTTY}}, // until the restart, whatever the count
		{Fault{Kind: FaultBusy, Count: 1, Times: 31}, []syscall.Errno{syscall.ETIMEDOUT, 0}},
		{Fault{Kind: FaultBusy, Times: 2, WaitMS: 1}, []syscall.Errno{0, 0}},
		{Fault{Kind: FaultTampered, After: 1}, []syscall.Errno{0, 0}},
	} {
		t.Run(fmt.Sprint(c.fault), func(t *testing.T) {
			k := serveFake(t, func(p *TEEParams) { p.Faults = []Fault{c.fault} })
			for i, want := range c.errno {
				k.caller(make([]byte, reportReqSize), reportRespSize)
				if errno := k.ioctl(sevguest.CmdGetReport, atArg); errno != want {
					t.Errorf("request %d: got %v, want %v", i, errno, want)
				}
			}
		})
	}
}

func TestCUSEDerivedKey(t *testing.T) {
	k := serveFake(t, func(p *TEEParams) { p.GuestSVN = 5 })
	type request struct {
		root   uint32
		fields uint64
		vmpl   uint32
		svn    uint32
		tcb    uint64
	}
	derive := func(r request) (string, uint32) {
		t.Helper()
		ne := binary.NativeEndian
		req := make([]byte, keyReqSize)
		ne.PutUint32(req, r.root)
		ne.PutUint64(req[8:], r.fields)
		ne.PutUint32(req[16:], r.vmpl)
		ne.PutUint32(req[20:], r.svn)
		ne.PutUint64(req[24:], r.tcb)
		k.caller(req, keyRespSize)
		if errno := k.ioctl(sevguest.CmdGetDerivedKey, atArg); errno != 0 {
			t.Fatal(errno)
		}
		return string(k.memory[atResp][sevguest.KeyOffset:]), ne.Uint32(k.memory[atResp])
	}
	seen := map[string]request{}
	for _, r := range []request{
		{},
		{root: 1},
		{vmpl: 1},
		{fields: uint64(snp.KeyPolicy)},
		{fields: uint64(snp.KeyMeasurement)},
		{fields: uint64(snp.KeyGuestSVN), svn: 5},
		{fields: uint64(snp.KeyGuestSVN), svn: 4},
		{fields: uint64(snp.KeyTCB)},
		{fields: uint64(snp.KeyTCB), tcb: 10},
	} {
		key, status := derive(r)
		if status != 0 {
			t.Errorf("%+v: got status %#x, want 0", r, status)
		}
		if other, dup := seen[key]; dup {
			t.Errorf("%+v and %+v have one key", r, other)
		}
		seen[key] = r
		if again, _ := derive(r); again != key {
			t.Errorf("%+v: the second key differs", r)
		}
	}
	for _, r := range []request{{root: 2}, {vmpl: 4}, {svn: 6}, {tcb: 11}, {fields: 64}, {tcb: 1 << 16}} {
		if key, status := derive(r); status != sevguest.StatusInvalid || key != string(make([]byte, 32)) {
			t.Errorf("%+v: got status %#x, want %#x and no key", r, status, sevguest.StatusInvalid)
		}
	}
}

func TestServeCUSERefusesOtherProtocols(t *testing.T) {
	proc, err := NewProcessor(testParams(t, DefaultIdentity()))
	if err != nil {
		t.Fatal(err)
	}
	k := newFakeCUSE(t)
	for _, m := range [][]byte{
		k.message(opOpen, make([]byte, 16)),     // not CUSE_INIT
		k.message(opCuseInit, make([]byte, 8)),  // short
		k.message(opCuseInit, make([]byte, 16)), // protocol 0
		{1, 2, 3},
	} {
		if d, err := ServeCUSE(proc, readWriter{m}, "x"); err == nil {
			d.Close()
			t.Errorf("%x: accepted", m)
		}
	}
}

// readWriter gives one message and swallows replies.
type readWriter struct{ m []byte }

func (r readWriter) Read(b []byte) (int, error)  { return copy(b, r.m), nil }
func (r readWriter) Write(b []byte) (int, error) { return 0, errors.New("not expected") }
func (r readWriter) Close() error                { return nil }

func FuzzCUSEMessage(f *testing.F) {
	proc, err := NewProcessor(testParams(f, DefaultIdentity()))
	if err != nil {
		f.Fatal(err)
	}
	k := &fakeCUSE{}
	call := func(cmd uint32, data []byte) []byte {
		body := make([]byte, ioctlInSize)
		binary.NativeEndian.PutUint32(body[12:], cmd)
		binary.NativeEndian.PutUint32(body[24:], uint32(len(data)))
		binary.NativeEndian.PutUint32(body[28:], 1<<20)
		return k.message(opIoctl, append(body, data...))
	}
	arg := make([]byte, argSize)
	arg[0], arg[8], arg[16] = 1, 1, 1
	f.Add(call(sevguest.CmdGetReport, nil))
	f.Add(call(sevguest.CmdGetReport, append(arg, make([]byte, reportReqSize)...)))
	f.Add(call(sevguest.CmdGetExtReport, append(arg, extRequest(1, 1, 0x2000)...)))
	f.Add(call(sevguest.CmdGetDerivedKey, append(arg, make([]byte, keyReqSize)...)))
	f.Add(k.message(opOpen, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		server := &ioctlServer{proc: proc}
		out := server.handle(context.Background(), m)
		if out != nil && (len(out) < outHeaderSize || int(binary.NativeEndian.Uint32(out)) != len(out)) {
			t.Fatalf("malformed reply %x", out)
		}
	})
}

var _ io.ReadWriteCloser = (*fakeCUSE)(nil)
