package main

import (
	"context"
	"os"

	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/agent/cgroup"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/journal"
	"github.com/cloister-cc/cloister/agent/memory"
	"github.com/cloister-cc/cloister/agent/network"
	"github.com/cloister-cc/cloister/agent/rpc"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/agent/staging"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/verity/dm"
)

const crunPath = "/usr/bin/crun"

// agent is the agent's parts, as cmd/cloister-agent puts them together, with a clock between them.
type agent struct {
	config  *rpc.Config
	sandbox *sandbox.Sandbox
	disks   *storage.Manager // for waits alone; the sandbox has its own
	reaper  *boot.Reaper
	clock   *clock
	runtime *clockedRuntime
}

// modules are those the agent loads once it answers, and the report device's.
var modules = []string{"virtio_scsi", "sd_mod", "virtio_blk", "virtio_net", "dm_verity", "ext4", "overlay"}

func assemble(ctx context.Context, system *boot.System) (*agent, error) {
	if err := system.Modules.Load(ctx, modules...); err != nil {
		return nil, err
	}
	a := &agent{reaper: system.Reaper, clock: &clock{}}
	device, err := snp.Open(ctx, snp.OpenOptions{})
	if err != nil {
		return nil, err
	}
	log, ready := journal.New(), make(chan struct{})
	close(ready)
	metrics := rpc.NewMetrics()
	g := gate.New(gate.Options{
		HostData: func(ctx context.Context) ([32]byte, error) {
			r, err := snp.Self(ctx, device)
			if err != nil {
				return [32]byte{}, err
			}
			return r.HostData, nil
		},
		Enforcer: enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()},
		Observe: func(point enforcer.Point, message string, err error) {
			metrics.Decision(point, err)
			log.Logger("agent", "").Info("decision", zap.String("point", string(point)), zap.String("rpc", message))
			a.clock.mark("decide " + string(point))
		},
	})
	a.config = &rpc.Config{
		Version: "bench", Init: true, Gate: g, Journal: log, Log: log.Logger("agent", ""), Metrics: metrics, Ready: ready,
		Bound: func() { system.Console.Silence() },
	}
	if a.config.Network, err = network.New(); err != nil {
		return nil, err
	}
	if err := a.config.Network.SetupLoopback(ctx); err != nil {
		return nil, err
	}
	return a, a.makeSandbox(device)
}

func (a *agent) makeSandbox(device snp.Device) error {
	const dir = "/run/cloister"
	rt, err := container.NewRuntime(crunPath, dir+"/crun", container.NewReaper(a.reaper))
	if err != nil {
		return err
	}
	a.runtime = &clockedRuntime{Runtime: rt, clock: a.clock}
	if err := os.MkdirAll(dir+"/shared", 0o755); err != nil {
		return err
	}
	if err := staging.Mount(dir + "/shared"); err != nil {
		return err
	}
	if a.config.Staging, err = staging.New(dir + "/shared"); err != nil {
		return err
	}
	mapper, err := dm.Open()
	if err != nil {
		return err
	}
	mounts, err := storage.New(storage.Config{LoadModule: boot.LoadModule, Mapper: clockedMapper{mapper, a.clock}})
	if err != nil {
		return err
	}
	if a.disks, err = storage.New(storage.Config{LoadModule: boot.LoadModule}); err != nil {
		return err
	}
	a.sandbox = sandbox.New(sandbox.Config{
		Changed: new(memory.Trimmer).Touch,
		Gate:    a.config.Gate, Storage: clockedStorage{sandbox.KernelStorage(mounts), a.clock}, Runtime: a.runtime,
		Group:   func(path string) (sandbox.Group, error) { return cgroup.Open("/sys/fs/cgroup" + path) },
		Staging: a.config.Staging, Log: a.config.Log, Broker: attest.New(device, attest.Options{}), ReportDevice: snp.DefaultDevicePath,
	})
	a.config.Sandbox = a.sandbox
	return nil
}

// serveAPI serves the agent's own services on its first port.
func (a *agent) serveAPI(ctx context.Context) error {
	server, err := rpc.NewServer(a.config)
	if err != nil {
		return err
	}
	port, err := session.OpenPort(ctx, vm.PortName(0))
	if err != nil {
		return err
	}
	return server.Serve(ctx, session.Listen(port))
}
