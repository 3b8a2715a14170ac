package attest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Bounds of a nonce: a short one can repeat, and a long one is no nonce.
const (
	minNonce = 16
	maxNonce = 64
)

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
	Digest   [32]byte // what HOST_DATA holds
}

// Options are what a broker tells and its limits; the zero value means the defaults.
type Options struct {
	// Policy is asked for each bundle. Nil, or a nil result, leaves the policy out, and then there is no identity evidence. What it returns must not change, and
	// the same policy should be the same pointer.
	Policy func() *Policy
	// UVMEndorsement is the COSE document about the guest image, or nil; asked for each answer that carries it.
	UVMEndorsement func() []byte
	// Events is the log whose head identity evidence binds; without one there is no identity evidence.
	Events EventLog
	// Version and Features are for CoCo's /info.
	Version string
	// Rate and Burst bound the questions of one container to the device (10 a second, 40 at once). Questions that are answered without the device do
	// not count.
	Rate  float64
	Burst int
	// Requests and RequestBurst bound the requests of one container, whatever becomes of them (1,000 a second, 4,000 at once).
	Requests     float64
	RequestBurst int
	// Connects and ConnectBurst bound how fast one container makes connections: the kernel is asked about each (50 a second, 2,000 at once). Those above are
	// closed.
	Connects     float64
	ConnectBurst int
	// Connections bounds how many connections of one container are served by each of its two ways; more wait, or are closed on TCP (32).
	Connections int
	// Deadline bounds a request, the wait for the device included (30 s).
	Deadline time.Duration
	// Reuse is how long an answer of the device stands for the same question of the same container (1 s; negative: not at all).
	Reuse time.Duration
}

func (o Options) withDefaults() Options {
	if o.Policy == nil {
		o.Policy = func() *Policy { return nil }
	}
	if o.UVMEndorsement == nil {
		o.UVMEndorsement = func() []byte { return nil }
	}
	setDefault(&o.Rate, 10)
	setDefault(&o.Burst, 40)
	setDefault(&o.Requests, 1000)
	setDefault(&o.RequestBurst, 4000)
	setDefault(&o.Connects, 50)
	setDefault(&o.ConnectBurst, 2000)
	setDefault(&o.Connections, 32)
	setDefault(&o.Deadline, 30*time.Second)
	setDefault(&o.Reuse, time.Second)
	return o
}

func setDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// Broker answers the containers of one sandbox.
type Broker struct {
	device Reporter
	opt    Options
	turn   chan struct{} // held while the device is asked
	now    func() time.Time
	kernel kernel
	pieces pieces

	mu        sync.Mutex
	subjects  map[string]*subject // by container key
	strangers map[uint64]*bucket  // over TCP, by control group; bounded by maxRated
	tcp       *tcpServer
}

// New makes a broker over a report device.
func New(device Reporter, opt Options) *Broker {
	return &Broker{
		device:    device,
		opt:       opt.withDefaults(),
		turn:      make(chan struct{}, 1),
		now:       time.Now,
		kernel:    realKernel{cgroupRoot},
		subjects:  make(map[string]*subject),
		strangers: make(map[uint64]*bucket),
	}
}

// Close stops every listener.
func (b *Broker) Close() {
	b.mu.Lock()
	var all []*subject
	for _, s := range b.subjects {
		all = append(all, s)
	}
	tcp := b.tcp
	b.mu.Unlock()
	if tcp != nil {
		tcp.stop()
	}
	for _, s := range all {
		s.stop()
	}
}

// HostBundle is evidence for the host over its nonce, as one document: a bundle in the host's own domain of REPORT_DATA. The host gets evidence of
// the guest, and never what a workload would get over the same bytes.
func (b *Broker) HostBundle(ctx context.Context, nonce []byte) ([]byte, error) {
	if err := checkNonce(nonce); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.opt.Deadline)
	defer cancel()
	ev, err := b.ask(ctx, snp.HostReportData(nonce))
	if err != nil {
		return nil, err
	}
	return b.bundle(ev, nil).bytes(), nil
}

func checkNonce(nonce []byte) error {
	if len(nonce) < minNonce || len(nonce) > maxNonce {
		return fmt.Errorf("nonce: got %d bytes, want %d to %d", len(nonce), minNonce, maxNonce)
	}
	return nil
}

// ask puts one question to the device, after all earlier ones.
func (b *Broker) ask(ctx context.Context, data [64]byte) (ev snp.Evidence, err error) {
	// This runs on goroutines that belong to nobody, where a panic would be the end of PID 1.
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
