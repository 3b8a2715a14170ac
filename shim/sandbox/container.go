package sandbox

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/boot"
)

// phase is where a container is in its life.
type phase string

const (
	phaseCreating phase = "being created"
	phaseCreated  phase = "created"
	phaseRunning  phase = "running"
	phasePaused   phase = "paused"
	phaseStopped  phase = "stopped"
	phaseRemoved  phase = "removed"
)

// container is one container of the pod.
type container struct {
	id    string
	pause bool // the agent's built-in pause
	// turn is taken by whoever changes the container.
	turn chan struct{}

	// Set while it is created, not changed afterwards.
	spec    *specs.Spec // as the guest got it
	roots   []string    // of its layers, from the base up
	layers  []boot.Layer
	scratch *scratch

	oomAt time.Time // of the last out-of-memory event; of listen alone

	// Guarded by Pod.mu.
	phase  phase
	order  int // of its creation
	init   *process
	execs  map[string]*process
	limits limits
}

// process is one process of a container.
type process struct {
	wire  boot.Process // its name for the agent
	stdin bool
	tty   bool

	once sync.Once
	done chan struct{}
	exit Exit // valid after done
}

func newProcess(wire boot.Process, stdin, tty bool) *process {
	return &process{wire: wire, stdin: stdin, tty: tty, done: make(chan struct{})}
}

// finish records the first end it is told.
func (p *process) finish(e Exit) {
	p.once.Do(func() { p.exit = e; close(p.done) })
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// begin admits something that changes the pod. The context ends when the pod is being stopped; done must be called.
func (p *Pod) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil, nil, fault(errdefs.ErrUnavailable, "the pod is being stopped")
	}
	p.ops.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(p.open, cancel)
	return ctx, func() { release(); cancel(); p.ops.Done() }, nil
}

// change admits something that changes one container, and waits for its turn. done must be called.
func (p *Pod) change(ctx context.Context, id string) (_ context.Context, _ *container, done func(), err error) {
	ctx, finish, err := p.begin(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := p.find(id)
	if err != nil {
		finish()
		return nil, nil, nil, err
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		finish()
		return nil, nil, nil, ctx.Err()
	}
	done = func() { <-c.turn; finish() }
	if p.phaseOf(c) == phaseRemoved { // while we waited
		done()
		return nil, nil, nil, errNoContainer(id)
	}
	return ctx, c, done, nil
}

func errNoContainer(id string) error {
	return fault(errdefs.ErrNotFound, "container %.128q: no such container in the pod", id)
}

func (p *Pod) find(id string) (*container, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[id]; c != nil {
		return c, nil
	}
	return nil, errNoContainer(id)
}

// process finds a process that was started, or the first one of a container that was created.
func (p *Pod) process(name Process) (*container, *process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[name.Container]
	if c == nil {
		return nil, nil, errNoContainer(name.Container)
	}
	found := c.init
	if name.Exec != "" {
		found = c.execs[name.Exec]
	}
	if found == nil {
		return nil, nil, fault(errdefs.ErrNotFound, "process %.128q of container %.128q: no such process", name.Exec, name.Container)
	}
	return c, found, nil
}

func (p *Pod) phaseOf(c *container) phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.phase
}

// require is an error unless the container is in one of the phases.
func (p *Pod) require(c *container, what string, phases ...phase) error {
	now := p.phaseOf(c)
	for _, ok := range phases {
		if now == ok {
			return nil
		}
	}
	return fault(errdefs.ErrFailedPrecondition, "%s container %.128q: it is %s", what, c.id, now)
}

// advance moves a container on, unless its first process has ended meanwhile.
func (p *Pod) advance(c *container, to phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.phase != phaseStopped && c.phase != phaseRemoved {
		c.phase = to
	}
}

// reserve makes a container known, so that nobody else takes its id. Its turn is the caller's.
func (p *Pod) reserve(id string) (*container, error) {
	c := &container{id: id, phase: phaseCreating, execs: map[string]*process{}, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.containers[id] != nil {
		return nil, fault(errdefs.ErrAlreadyExists, "container %.128q: exists already", id)
	}
	p.created++
	c.order = p.created
	p.containers[id] = c
	return c, nil
}

// drop forgets a container.
func (p *Pod) drop(c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.phase = phaseRemoved
	delete(p.containers, c.id)
	p.countLocked()
}

func (p *Pod) countLocked() {
	if m := p.config.Metrics; m != nil {
		m.Containers(len(p.containers))
	}
}

// await follows a process to its end.
func (p *Pod) await(c *container, proc *process) {
	p.loops.Go(func() {
		var status int
		err := p.stream(p.life, "wait for process", func(ctx context.Context) (err error) {
			status, err = p.client.Wait(ctx, proc.wire)
			return err
		})
		e := Exit{Status: uint32(status), At: time.Now(), Err: err}
		if err != nil || status < 0 || status > 255 { // no process ends so: the guest's word is passed on within bounds
			e.Status = 255
		}
		p.mu.Lock()
		if proc == c.init && c.phase != phaseRemoved {
			c.phase = phaseStopped
		}
		p.mu.Unlock()
		proc.finish(e)
	})
}
