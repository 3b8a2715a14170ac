package snp

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// fakeKernel plays driver and host: certificates of a size that may change from one request to the next.
type fakeKernel struct {
	needs []uint32 // per extended request; the last one stays
	fail  error
	certs []byte
	calls []string
	vmpls []uint32
	keys  []sevguest.DerivedKeyReq
	block chan struct{}
	begun chan struct{}
	wrong func(report []byte) // what the answer has wrong
	shut  bool
}

// guestOver is a guest whose only interface is the ioctl device of k.
func guestOver(k *fakeKernel) *Guest {
	d := &ioctlDevice{dev: k, path: "/dev/sev-guest"}
	return &Guest{turn: newTurn(), reports: d, ioctl: d, tsmErr: errors.New("no such directory")}
}

func (k *fakeKernel) Close() error { k.shut = true; return nil }

func (k *fakeKernel) DerivedKey(req sevguest.DerivedKeyReq) ([32]byte, error) {
	k.calls, k.keys = append(k.calls, "key"), append(k.keys, req)
	return [32]byte{7}, k.fail
}

func (k *fakeKernel) Report(data [64]byte, vmpl uint32) ([]byte, error) {
	k.calls, k.vmpls = append(k.calls, "report"), append(k.vmpls, vmpl)
	return k.answer(data, vmpl), k.fail
}

func (k *fakeKernel) answer(data [64]byte, vmpl uint32) []byte {
	b := testReport(data)
	b[0x30] = byte(vmpl)
	if k.wrong != nil {
		k.wrong(b)
	}
	return b
}

func (k *fakeKernel) ExtReport(data [64]byte, vmpl uint32, certs []byte) ([]byte, uint32, error) {
	k.calls, k.vmpls = append(k.calls, "ext"), append(k.vmpls, vmpl)
	if k.block != nil {
		k.begun <- struct{}{}
		<-k.block
	}
	if k.fail != nil {
		return nil, 0, k.fail
	}
	need := k.needs[0]
	if len(k.needs) > 1 {
		k.needs = k.needs[1:]
	}
	if uint32(len(certs)) < need {
		return nil, need, &sevguest.Error{ExitInfo2: sevguest.ExitInfo2VMM(sevguest.VMMErrLength), Err: syscall.EIO}
	}
	copy(certs, k.certs)
	return k.answer(data, vmpl), uint32(len(certs)), nil
}

func testReport(data [64]byte) []byte {
	b := make([]byte, ReportSize)
	b[0] = 3
	copy(b[0x50:], data[:])
	return b
}

func TestIoctlCertificateProtocol(t *testing.T) {
	table := MarshalCerts([]Cert{{GUIDVCEK, []byte("vcek")}, {GUIDASK, bytes.Repeat([]byte("a"), 5000)}})
	garbage := bytes.Repeat([]byte{0xA5}, 0x1000)
	for _, c := range []struct {
		name  string
		needs []uint32
		certs []byte
		calls string
		want  []byte
	}{
		{"no certificates", []uint32{0}, nil, "ext ext", nil},
		{"certificates", []uint32{0x2000}, table, "ext ext ext", table},
		{"host grows them once", []uint32{0x1000, 0x2000}, table, "ext ext ext ext", table},
		{"host grows them each time", []uint32{0x1000, 0x2000, 0x3000, 0x4000}, table, "ext ext ext report ext ext", table},
		{"more than the kernel allows", []uint32{0x5000}, table, "ext report ext report", nil},
		{"not whole pages", []uint32{0x1001}, table, "ext report ext report", nil},
		{"table that does not parse is kept", []uint32{0x1000}, garbage, "ext ext ext", garbage},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &fakeKernel{needs: c.needs, certs: c.certs}
			d := guestOver(k)
			var ev Evidence
			for n := range 2 { // the second time the size is known
				nonce := [64]byte{byte(n + 1)}
				var err error
				if ev, err = d.Report(t.Context(), nonce); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(ev.Report, testReport(nonce)) {
					t.Error("the report is not over the nonce")
				}
			}
			if got := strings.Join(k.calls, " "); got != c.calls {
				t.Errorf("requests: got %q, want %q", got, c.calls)
			}
			if !bytes.Equal(ev.Certs, c.want) {
				t.Errorf("certificates: got %d bytes, want %d", len(ev.Certs), len(c.want))
			}
		})
	}
}

func TestIoctlErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		fail  error
		want  error
		calls int
	}{
		{"key wiped", &sevguest.Error{Err: syscall.ENOTTY}, ErrKeyLost, 1},
		{"host busy for a minute", &sevguest.Error{Err: syscall.ETIMEDOUT, ExitInfo2: sevguest.ExitInfo2VMM(sevguest.VMMErrBusy)}, ErrBusy, 1},
		{"input error", &sevguest.Error{Err: syscall.EIO, ExitInfo2: sevguest.FirmwareUnset}, syscall.EIO, 1},
		{"firmware status", &sevguest.Error{Status: sevguest.StatusInvalid}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &fakeKernel{fail: c.fail}
			d := guestOver(k)
			ev, err := d.Report(t.Context(), [64]byte{})
			if err == nil || ev.Report != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v and no report", err, c.want)
			}
			if len(k.calls) != c.calls { // a failed request is never repeated: it could cost the key
				t.Errorf("requests: got %d, want %d", len(k.calls), c.calls)
			}
		})
	}
}

// TestRequestsAreAlone: the second request waits for the first even when the first's caller has gone.
func TestRequestsAreAlone(t *testing.T) {
	defer goleak.VerifyNone(t)
	k := &fakeKernel{needs: []uint32{0}, block: make(chan struct{}), begun: make(chan struct{}, 2)}
	d := guestOver(k)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := d.Report(ctx, [64]byte{1}); gone <- err }()
	<-k.begun
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("first caller: got %v, want %v", err, context.Canceled)
	}
	late, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := d.Report(late, [64]byte{2}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second caller: got %v, want %v: the device is in use", err, context.DeadlineExceeded)
	}
	close(k.block)
	if _, err := d.Report(t.Context(), [64]byte{3}); err != nil {
		t.Fatalf("third caller: %v", err)
	}
	if len(k.calls) != 2 {
		t.Errorf("requests: got %d, want 2: one that gave up waiting must not be sent", len(k.calls))
	}
}
