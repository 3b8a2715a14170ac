package attest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/cloister-cc/cloister/snp"
)

// Bounds of a nonce: a short one can repeat, and a long one is no nonce.
const (
	minNonce = 16
	maxNonce = 64
)

// maxBundlePolicy bounds what of policy and initdata a bundle carries; what is larger the relying party must have itself.
const maxBundlePolicy = 4 << 20

// ErrDeadline says that the device did not answer in time.
var ErrDeadline = errors.New("the report device did not answer in time")

// Reporter is the report device; snp.Device is one.
type Reporter interface {
	Report(ctx context.Context, data [64]byte) (snp.Evidence, error)
}

// Policy is what HOST_DATA binds, for bundles: public, and needed to make sense of the report.
type Policy struct {
	Text     []byte
	Carrier  string // snp.CarrierPolicy or snp.CarrierInitdata
	Initdata []byte
}

// Options are the broker's limits; the zero value means the defaults.
type Options struct {
	// Policy is asked for each bundle. Nil, or a nil result, leaves the policy out.
	Policy func() *Policy
	// UVMEndorsement is the COSE document about the guest image, if there is one.
	UVMEndorsement []byte
	// Rate and Burst bound the requests of one container (10 a second, 40 at once).
	Rate  float64
	Burst int
	// Connections bounds how many connections of one container are served; more wait (16).
	Connections int
	// Deadline bounds a request, the wait for the device included (30 s).
	Deadline time.Duration
}

func (o Options) withDefaults() Options {
	if o.Policy == nil {
		o.Policy = func() *Policy { return nil }
	}
	if o.Rate == 0 {
		o.Rate = 10
	}
	if o.Burst == 0 {
		o.Burst = 40
	}
	if o.Connections == 0 {
		o.Connections = 16
	}
	if o.Deadline == 0 {
		o.Deadline = 30 * time.Second
	}
	return o
}

// Broker answers the containers of one sandbox.
type Broker struct {
	device Reporter
	opt    Options
	turn   chan struct{} // held while the device is asked
	flight singleflight.Group
	now    func() time.Time

	mu        sync.Mutex
	listeners map[string]*listener
}

// New makes a broker over a report device.
func New(device Reporter, opt Options) *Broker {
	return &Broker{
		device:    device,
		opt:       opt.withDefaults(),
		turn:      make(chan struct{}, 1),
		now:       time.Now,
		listeners: make(map[string]*listener),
	}
}

// Close stops every listener.
func (b *Broker) Close() {
	b.mu.Lock()
	var all []*listener
	for _, l := range b.listeners {
		all = append(all, l)
	}
	b.mu.Unlock()
	for _, l := range all {
		l.stop()
	}
}

// Bundle returns the evidence over a nonce as one document: REPORT_DATA is SHA-256(nonce) and 32 zero bytes.
func (b *Broker) Bundle(ctx context.Context, nonce []byte) ([]byte, error) {
	if len(nonce) < minNonce || len(nonce) > maxNonce {
		return nil, fmt.Errorf("nonce: got %d bytes, want %d to %d", len(nonce), minNonce, maxNonce)
	}
	return b.bundle(ctx, hashed(nonce))
}

// HostBundle is Bundle for the host, in its own domain of REPORT_DATA: the host gets evidence of the guest, and never what a workload would get
// over the same bytes.
func (b *Broker) HostBundle(ctx context.Context, nonce []byte) ([]byte, error) {
	if len(nonce) < minNonce || len(nonce) > maxNonce {
		return nil, fmt.Errorf("nonce: got %d bytes, want %d to %d", len(nonce), minNonce, maxNonce)
	}
	return b.bundle(ctx, snp.HostReportData(nonce))
}

func (b *Broker) bundle(ctx context.Context, data [64]byte) ([]byte, error) {
	ev, err := b.report(ctx, data)
	if err != nil {
		return nil, err
	}
	bundle := snp.NewBundle(ev)
	if p := b.opt.Policy(); p != nil {
		bundle.Carrier = p.Carrier
		if len(p.Text)+len(p.Initdata) <= maxBundlePolicy {
			bundle.Policy, bundle.Initdata = p.Text, p.Initdata
		}
	}
	return bundle.Marshal()
}

// hashed is REPORT_DATA of the Azure shapes and of bundles.
func hashed(data []byte) [64]byte { return snp.HashedReportData(data) }

// report asks the device, once for all callers that want the same REPORT_DATA at the same time: the answer says the same
// to each of them. The call does not end with the caller that began it, because the others wait for it too, and because
// a request to the firmware cannot be taken back.
func (b *Broker) report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	result := b.flight.DoChan(hex.EncodeToString(data[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.opt.Deadline)
		defer cancel()
		return b.ask(ctx, data)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return snp.Evidence{}, r.Err
		}
		return r.Val.(snp.Evidence), nil
	case <-ctx.Done():
		return snp.Evidence{}, context.Cause(ctx)
	}
}

// ask puts one question to the device, after all earlier ones.
func (b *Broker) ask(ctx context.Context, data [64]byte) (ev snp.Evidence, err error) {
	// singleflight runs this on a goroutine of its own, where a panic would be the end of PID 1.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the report device panicked: %v", p)
		}
	}()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return snp.Evidence{}, ErrDeadline
	}
	ev, err = b.device.Report(ctx, data)
	if err != nil && ctx.Err() != nil {
		return snp.Evidence{}, ErrDeadline
	}
	if err == nil && len(ev.Report) != snp.ReportSize {
		return snp.Evidence{}, fmt.Errorf("the report device gave %d bytes, want %d", len(ev.Report), snp.ReportSize)
	}
	return ev, err
}
