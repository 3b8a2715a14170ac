package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/fit"
	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/share"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

// idForm is what the agent takes for an id.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Start boots the pod's VM and makes the pod in it, without containers. When it fails or ctx ends half-way, what was made is undone before it returns.
func Start(ctx context.Context, c Config) (*Pod, error) { return start(ctx, c, realHost()) }

func start(ctx context.Context, c Config, h host) (_ *Pod, err error) {
	if !idForm.MatchString(c.ID) {
		return nil, fault(errdefs.ErrInvalidArgument, "sandbox id: got %.128q, want letters, digits, _ . -", c.ID)
	}
	if c.Spec == nil {
		return nil, fault(errdefs.ErrInvalidArgument, "sandbox %q: got no specification", c.ID)
	}
	p := newPod(c, h)
	defer func() {
		if err == nil {
			return
		}
		p.shut()
		p.end(errStopped)
		p.loops.Wait()
		if undone := p.takeDown(ctx); undone != nil {
			log.G(ctx).WithError(undone).Error("start pod: not all was undone; the rest is left to a cleanup of its directory")
			_ = p.lock.Close()
		}
	}()
	if err := p.start(ctx); err != nil {
		return nil, lineError{fmt.Errorf("start pod %q: %w", c.ID, err)}
	}
	return p, nil
}

// start runs the steps. Each pushes its undo before it makes anything.
func (p *Pod) start(ctx context.Context) error {
	policy, err := carried(p.config.Spec.Annotations, &p.config.Node)
	if err != nil {
		return err
	}
	if p.policy, err = fit.Read(policy.Policy); err != nil {
		return fault(errdefs.ErrInvalidArgument, "the pod's policy (%s): %v", policy.From, err)
	}
	size, err := podSize(&p.config)
	if err != nil {
		return err
	}
	if err := p.claimDir(ctx); err != nil {
		return err
	}
	links, err := p.joinNetwork(ctx, size)
	if err != nil {
		return err
	}
	if err := p.joinCgroup(); err != nil {
		return err
	}
	if err := p.boot(ctx, policy, size, links); err != nil {
		return err
	}
	return p.makePod(ctx, policy, links)
}

// takeDown undoes all that was made on the host. The state directory goes last, and stays while anything that its state names does: a cleanup finds it there.
func (p *Pod) takeDown(ctx context.Context) error {
	if err := p.made.run(ctx); err != nil || p.lock == nil {
		return err
	}
	if err := os.RemoveAll(p.config.Dir); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	err := p.lock.Close()
	p.lock = nil
	return err
}

// podSize is the VM that the pod's limits need.
func podSize(c *Config) (vm.Size, error) {
	l, err := podLimits(c.Spec)
	if err != nil {
		return vm.Size{}, err
	}
	return sizeFor(l, &c.Node)
}

// claimDir makes the state directory ours and writes down who we are.
func (p *Pod) claimDir(ctx context.Context) error {
	dir := p.config.Dir
	lock, err := claim(dir)
	if err != nil {
		return err
	}
	p.lock = lock
	if err := cleanDir(ctx, dir, p.host.clean); err != nil { // of a shim that was killed
		return fmt.Errorf("clean up after an earlier pod: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("claim state directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("claim state directory: %w", err)
		}
	}
	p.state = State{Version: stateVersion, ID: p.config.ID, Namespace: p.config.Namespace, Shim: processID(os.Getpid())}
	return p.state.write(dir)
}

// joinNetwork joins the pod's interfaces to taps. A pod without a network namespace has none.
func (p *Pod) joinNetwork(ctx context.Context, size vm.Size) (joined, error) {
	netns := p.config.Netns
	if netns == "" {
		return nil, nil
	}
	p.state.Netns = netns
	if err := p.state.write(p.config.Dir); err != nil {
		return nil, err
	}
	links, err := p.host.join(ctx, netns, 1)
	if err != nil {
		return nil, fmt.Errorf("join network: %w", err)
	}
	p.made.push("leave network", func(context.Context) error { return links.Close() })
	for _, n := range links.Notes() {
		p.note(ctx, spec.Note{Field: "network", What: "changed", Why: n})
	}
	return links, nil
}

// joinCgroup makes the pod's control group, which QEMU is born into.
func (p *Pod) joinCgroup() error {
	if p.config.Spec.Linux == nil || p.config.Spec.Linux.CgroupsPath == "" {
		return nil
	}
	path := p.config.Spec.Linux.CgroupsPath
	dirs, err := p.host.cgroupDirs(path)
	if err != nil || len(dirs) == 0 {
		return err
	}
	if err := vacant(dirs); err != nil { // before they are written down: what is in those is killed in the end
		return err
	}
	p.state.Cgroups = dirs
	if err := p.state.write(p.config.Dir); err != nil {
		return err
	}
	p.made.push("remove control group", func(ctx context.Context) error { return removeCgroups(ctx, dirs) })
	return p.host.makeCgroup(path)
}

// boot starts the VM and waits for the agent's first answer.
func (p *Pod) boot(ctx context.Context, policy spec.Carried, size vm.Size, links joined) error {
	c, err := p.vmConfig(ctx, policy, size, links)
	if err != nil {
		return err
	}
	timeout := p.bootTimeout()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	launcher := boot.Launcher{Log: progress{ctx}, Client: p.config.Client, Start: p.launch}
	started := time.Now()
	machine, client, err := launcher.Boot(limited, c)
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			err = fault(context.DeadlineExceeded, "no answer of the agent within %v (boot_timeout)", timeout)
		}
		logConsole(ctx, c.Console)
		return fmt.Errorf("boot: %w", err)
	}
	p.machine, p.client, p.size = machine, client, size
	p.made.push("stop VM", func(ctx context.Context) error {
		_ = client.Close() // its reader has seen the end of the VM, or does now
		return machine.Stop(ctx)
	})
	p.layers = boot.NewLayers(machine)
	if m := p.config.Metrics; m != nil {
		m.Boot(time.Since(started))
		m.VM(pidOf(machine), size.VCPUs, size.MemoryMiB)
	}
	log.G(ctx).WithField("vcpus", size.VCPUs).WithField("memory_mib", size.MemoryMiB).WithField("tee", c.TEE).
		WithField("policy_from", policy.From).WithField("took", time.Since(started)).Info("the pod's VM has booted")
	return nil
}

func (p *Pod) bootTimeout() time.Duration {
	if d := time.Duration(p.config.Node.BootTimeout); d > 0 {
		return d
	}
	return time.Duration(node.Default().BootTimeout)
}

// launch starts the machine and writes its process down before anybody waits for it.
func (p *Pod) launch(ctx context.Context, c vm.Config) (vm.VM, error) {
	machine, err := p.host.launch(ctx, c)
	if err != nil {
		return nil, err
	}
	p.state.VM = processID(pidOf(machine))
	if err := p.state.write(p.config.Dir); err != nil {
		return nil, errors.Join(err, machine.Stop(context.WithoutCancel(ctx)))
	}
	return machine, nil
}

// vmConfig writes the disks that belong to the boot and says what to boot.
func (p *Pod) vmConfig(ctx context.Context, policy spec.Carried, size vm.Size, links joined) (vm.Config, error) {
	n := &p.config.Node
	guest, err := boot.OpenGuest(n.Guest)
	if err != nil {
		return vm.Config{}, err
	}
	c := vm.Config{
		ID: p.config.ID, Dir: p.config.Dir, Kernel: guest.Kernel, Initrd: guest.Initrd, Cmdline: guest.Cmdline,
		VCPUs: size.VCPUs, MemoryMiB: size.MemoryMiB, TEE: n.TEE, HostData: policy.HostData, Firmware: n.Firmware,
		Console: filepath.Join(p.config.Dir, ConsoleFile), Accel: n.Accel, User: n.VMMUser, Cgroups: p.state.Cgroups,
	}
	if n.Kernel != "" {
		c.Kernel = n.Kernel
	}
	if growable(n) {
		most, err := maxSize(size, n)
		if err != nil {
			return vm.Config{}, err
		}
		c.MaxVCPUs, c.MaxMemoryMiB = most.VCPUs, most.MemoryMiB
	}
	if links != nil {
		for _, l := range links.Links() {
			c.Taps = append(c.Taps, vm.Tap{MAC: l.MAC, MTU: l.MTU, File: l.Tap})
		}
	}
	if policy.Carrier == boot.CarrierInitdata {
		c.InitdataDisk = filepath.Join(p.config.Dir, "initdata.img")
		if err := boot.WriteInitdata(c.InitdataDisk, policy.Initdata); err != nil {
			return vm.Config{}, err
		}
	}
	tee := boot.TEE{Guest: guest, Emulator: n.Emulator}
	return c, p.host.prepareTEE(ctx, &tee, &c)
}

// makePod tells the guest what it is for: policy, network, sandbox. From here on the VM is watched.
func (p *Pod) makePod(ctx context.Context, policy spec.Carried, links joined) error {
	p.guest = p.config.ID
	if !spec.IsSandbox(p.config.Spec) {
		p.guest = boot.NewID() // the pod of one container, which keeps its own id
	}
	p.watch()
	if policy.Carrier == boot.CarrierSetPolicy {
		if err := p.setPolicy(ctx, policy.Policy); err != nil {
			return err
		}
	}
	if links != nil {
		if err := p.configureNetwork(ctx, links); err != nil {
			return err
		}
	}
	if err := p.createSandbox(ctx); err != nil {
		return err
	}
	logged := context.WithoutCancel(ctx)
	p.share = share.New(copier{p}, p.guest, share.OnFailure(func(id, destination string, err error) {
		if p.alive() {
			log.G(logged).WithError(err).WithField("container_id", id).WithField("destination", destination).Warn("refresh of a copied file failed")
		}
	}))
	p.made.push("stop refreshing files", func(context.Context) error { return p.share.Close() })
	p.listen(ctx)
	return nil
}

// note keeps and logs what of the pod is not as containerd asked.
func (p *Pod) note(ctx context.Context, notes ...spec.Note) {
	logNotes(ctx, p.config.ID, notes)
	p.notes = append(p.notes, notes...)
}

func logNotes(ctx context.Context, id string, notes []spec.Note) {
	for _, n := range notes {
		log.G(ctx).WithField("container_id", id).WithField("field", n.Field).Infof("%s: %s", n.What, n.Why)
	}
}
