package cases

import (
	"fmt"

	"github.com/cloister-cc/cloister/enforcer"
)

// walk is one sequence of requests being made. It remembers what its own legal steps would have led to; whether the policy
// allowed them it does not know.
type walk struct {
	s       *source
	p       *policy
	limit   int
	out     []Command
	sandbox string

	disks    []disk
	writable []string
	scratch  []string
	overlays []string
	shares   []string
	ids      []string
	running  []*running
}

type disk struct{ target, hash string }

// running is a container whose create was asked for.
type running struct {
	container  *container
	id         string
	privileged bool
}

// step makes the requests of one event: perhaps refused attempts first, then the legal one.
type step func()

func (w *walk) run() []Command {
	s := w.s
	w.sandbox = s.id()
	var plans [][]step
	for range 1 + s.IntN(3) {
		plans = append(plans, w.admission(pick(s, w.p.containers...)))
	}
	for at := 0; len(w.out) < w.limit; {
		if len(plans) == 0 || s.chance(22) {
			w.noise()
			if len(plans) == 0 && s.chance(15) {
				break
			}
			continue
		}
		at = min(at, len(plans)-1)
		if s.chance(15) {
			at = s.IntN(len(plans))
		}
		plans[at][0]()
		if plans[at] = plans[at][1:]; len(plans[at]) == 0 {
			plans = without(plans, at)
		}
	}
	return w.out[:min(len(w.out), w.limit)]
}

func (w *walk) emit(in enforcer.Input) { w.out = append(w.out, Command{in.Point(), in}) }

// try emits in changed in one thing, in some cases, and then in as it is.
func (w *walk) try(in enforcer.Input, percent int) {
	for range 3 {
		if !w.s.chance(percent) {
			break
		}
		w.emit(w.mutate(in))
	}
	w.emit(in)
}

// admission are the steps from the first disk to the end of a container.
func (w *walk) admission(c *container) []step {
	s := w.s
	id := s.id()
	targets := make([]string, len(c.layers))
	var steps []step
	for i := range c.layers {
		steps = append(steps, func() { targets[i] = w.mountLayer(c.layers[i]) })
	}
	if s.chance(50) {
		steps = append(steps, func() { w.mountScratch(id) })
	}
	steps = append(steps, func() { w.mountOverlay(id, targets) })
	share := fmt.Sprintf("%s/%s/mounts/m%d", plan9Root, id, s.IntN(4))
	if hasShare(c) || s.chance(10) {
		steps = append(steps, func() {
			w.shares = append(w.shares, share)
			w.try(enforcer.Plan9MountInput{RootPrefix: plan9Root, MountPathPrefix: plan9Paths, Target: share}, 40)
		})
	}
	r := &running{container: c, id: id}
	steps = append(steps, func() {
		in := w.create(c, id, share)
		r.privileged = in.Privileged
		w.running = append(w.running, r)
		w.try(in, 62)
	})
	for range s.IntN(3) {
		steps = append(steps, func() { w.try(w.exec(r), 55) })
	}
	for range s.IntN(3) {
		steps = append(steps, func() { w.try(w.signal(r), 45) })
	}
	if s.chance(30) {
		steps = append(steps, func() { w.emit(enforcer.ShutdownContainerInput{ContainerID: id}) })
	}
	if s.chance(30) {
		steps = append(steps, func() { w.emit(enforcer.UnmountOverlayInput{UnmountTarget: rootfs(id)}) })
		steps = append(steps, func() { w.emit(enforcer.UnmountDeviceInput{UnmountTarget: targets[0]}) })
	}
	return steps
}

// mountLayer mounts a layer at a new place, or finds it where it is.
func (w *walk) mountLayer(hash string) string {
	if w.s.chance(30) {
		for _, d := range w.disks {
			if d.hash == hash {
				return d.target
			}
		}
	}
	d := disk{fmt.Sprintf("/run/mounts/scsi/m%d", len(w.disks)), hash}
	w.try(enforcer.MountDeviceInput{Target: d.target, DeviceHash: hash, MountPathRegex: layerPaths}, 25)
	w.disks = append(w.disks, d)
	return d.target
}

func (w *walk) mountScratch(id string) {
	target := plan9Root + "/" + id
	if w.s.chance(60) {
		w.try(enforcer.RWMountDeviceInput{
			Target: target, Encrypted: true, EnsureFilesystem: true, Filesystem: pick(w.s, "ext4", "xfs"), MountPathRegex: scratchPaths,
		}, 40)
		w.writable = append(w.writable, target)
	}
	w.try(enforcer.ScratchMountInput{Target: target + "/scratch/" + id, Encrypted: true}, 30)
	w.scratch = append(w.scratch, target+"/scratch/"+id)
}

func (w *walk) mountOverlay(id string, targets []string) {
	in := enforcer.MountOverlayInput{ContainerID: id, Target: rootfs(id)}
	for i := range targets {
		in.LayerPaths = append(in.LayerPaths, targets[len(targets)-1-i])
	}
	w.try(in, 30)
	w.ids = append(w.ids, id)
	w.overlays = append(w.overlays, in.Target)
}

func rootfs(id string) string { return plan9Root + "/" + id + "/rootfs" }

// signal is one the container's definition allows, if it allows any.
func (w *walk) signal(r *running) enforcer.SignalContainerProcessInput {
	s, c := w.s, r.container
	in := enforcer.SignalContainerProcessInput{ContainerID: r.id, Signal: pick(s, 9, 15), IsInitProcess: true, ArgList: c.command}
	if len(c.signals) > 0 {
		in.Signal = pick(s, c.signals...)
	}
	if len(c.execs) > 0 && s.chance(40) {
		e := pick(s, c.execs...)
		in.IsInitProcess, in.ArgList = false, e.command
		if len(e.signals) > 0 {
			in.Signal = pick(s, e.signals...)
		}
	}
	return in
}

// external is a request for one of the policy's external processes.
func (w *walk) external() enforcer.ExecExternalInput {
	s := w.s
	if len(w.p.external) == 0 {
		return enforcer.ExecExternalInput{ArgList: pick(s, execCommands...), EnvList: []string{}, WorkingDir: "/"}
	}
	e := pick(s, w.p.external...)
	return enforcer.ExecExternalInput{ArgList: e.command, EnvList: w.env(e.env), WorkingDir: e.workingDir}
}
