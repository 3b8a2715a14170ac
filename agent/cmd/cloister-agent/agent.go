package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/containerd/ttrpc"
	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/journal"
	"github.com/cloister-cc/cloister/agent/memory"
	"github.com/cloister-cc/cloister/agent/network"
	"github.com/cloister-cc/cloister/agent/rpc"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/agent/staging"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/snp"
)

// settings are what an agent is assembled from, as PID 1 or as a process.
type settings struct {
	pid1     bool
	insecure bool
	strict   bool
	prefix   string
	crun     string
	reaper   container.Reaper
	// program runs a program of the image to its end; nil as a process.
	program func(ctx context.Context, path string, args ...string) error
	// modules loads what complete needs; nil as a process.
	modules func(ctx context.Context, names ...string) error
	// bound is called once a policy is bound, with its word on logging.
	bound func(logging bool)
}

// agent is the assembled daemon.
type agent struct {
	set     settings
	server  *ttrpc.Server
	rpc     *rpc.Config
	asked   chan struct{} // closed with the first answer
	ready   chan struct{} // closed when the agent is whole
	gate    *gate.Gate
	journal *journal.Journal
	log     *zap.Logger
	device  snp.Device // nil without a TEE
	trimmer memory.Trimmer

	broker      *attest.Broker               // nil without a device
	self        atomic.Pointer[snp.Evidence] // the guest's own report, with what the host gave for it
	bundled     atomic.Pointer[attest.Policy]
	endorsement []byte // of the image, by the initdata document
}

// assemble makes an agent that can answer. Until complete has run it answers only what needs nothing else.
func assemble(set settings) (*agent, error) {
	a := &agent{set: set, journal: journal.New(), asked: make(chan struct{}), ready: make(chan struct{})}
	mode := ""
	if set.insecure {
		mode = "none: --insecure-no-tee"
	}
	a.log = a.journal.Logger("agent", mode)
	metrics := rpc.NewMetrics()
	log := a.log.Named("gate")
	a.gate = gate.New(gate.Options{
		HostData: a.hostData(), Events: newEvents(set),
		Enforcer: enforcer.Options{Strict: set.strict, DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()},
		Observe: func(point enforcer.Point, message string, err error) {
			metrics.Decision(point, err)
			decision := "allow"
			if err != nil {
				decision = "deny"
			}
			log.Info("decision", zap.String("point", string(point)), zap.String("rpc", message), zap.String("decision", decision))
		},
	})
	a.rpc = &rpc.Config{
		Version: version, Init: set.pid1, Gate: a.gate, Journal: a.journal, Log: a.log.Named("rpc"),
		Metrics: metrics, Ready: a.ready, Asked: sync.OnceFunc(func() { close(a.asked) }), Bound: a.bound,
	}
	var err error
	a.server, err = rpc.NewServer(a.rpc)
	return a, err
}

// lateModules are loaded after the agent has begun to answer.
var lateModules = []string{"virtio_scsi", "sd_mod", "virtio_blk", "virtio_net", "dm_verity", "ext4", "overlay"}

// complete puts the rest in place: modules, the report device, the sandbox. An error is fatal for the agent.
func (a *agent) complete(ctx context.Context) error {
	if a.set.modules != nil {
		if err := a.set.modules(ctx, lateModules...); err != nil {
			return fmt.Errorf("load modules: %w", err)
		}
		if !snp.Present() {
			// Outside an SNP guest the driver refuses to load; what that means is decided by whether there is a device.
			_ = a.set.modules(ctx, "sev-guest")
		}
	}
	var err error
	if a.device, err = openDevice(ctx, a.set.insecure); err != nil {
		return err
	}
	if a.device != nil {
		a.log.Info("report device", zap.String("device", fmt.Sprint(a.device)))
	}
	if err := a.makeSandbox(ctx); err != nil {
		return err
	}
	if a.set.pid1 {
		if err := a.bindInitdata(ctx); err != nil {
			return &initdataError{err}
		}
	}
	close(a.ready)
	return nil
}

func (a *agent) makeSandbox(ctx context.Context) error {
	runDir := filepath.Join(a.set.prefix, "/run/cloister")
	rt, err := container.NewRuntime(a.set.crun, filepath.Join(runDir, "crun"), a.set.reaper)
	if err != nil {
		return err
	}
	stage, err := newStaging(filepath.Join(runDir, "shared"), a.set.pid1)
	if err != nil {
		return err
	}
	if a.rpc.Network, err = network.New(); err != nil {
		return err
	}
	if a.set.pid1 {
		if err := a.rpc.Network.SetupLoopback(ctx); err != nil {
			return err
		}
	}
	mounts, err := newStorage(a.set.program)
	if err != nil {
		return err
	}
	cfg := sandbox.Config{
		Gate: a.gate, Storage: mounts, Runtime: rt, Group: openGroup, Staging: stage,
		Log: a.log.Named("sandbox"), Prefix: a.set.prefix, Changed: a.trimmer.Touch,
	}
	a.makeBroker(&cfg)
	a.rpc.Staging = stage
	a.rpc.Sandbox = sandbox.New(cfg)
	return nil
}

// bound follows the policy's word on logging: only then does the console, which is the host's, see the journal.
func (a *agent) bound() {
	p := a.gate.Policy()
	a.log.Info("policy bound", zap.String("sha256", fmt.Sprintf("%x", p.Digest)), zap.Bool("runtime_logging", p.Logging))
	a.openEvidenceListener(context.Background(), p)
	if a.set.bound != nil {
		a.set.bound(p.Logging)
	}
	a.trimmer.Touch()
}

// openDevice finds the report device. Without one the agent still answers, and refuses every policy; with one it refuses to
// run insecurely.
func openDevice(ctx context.Context, insecure bool) (snp.Device, error) {
	if insecure {
		if snp.Present() {
			return nil, errors.New("--insecure-no-tee is refused: this machine has an SNP report device")
		}
		return nil, nil
	}
	d, err := snp.Open(ctx, snp.OpenOptions{})
	if errors.Is(err, snp.ErrNoDevice) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDevice, err)
	}
	return d, nil
}

// errDevice is a report device that is there and cannot be used: fatal, because going on without it would be running without a TEE.
var errDevice = errors.New("the report device cannot be used")

func newStaging(dir string, mount bool) (*staging.Area, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	if mount {
		if err := staging.Mount(dir); err != nil {
			return nil, err
		}
	}
	return staging.New(dir)
}
