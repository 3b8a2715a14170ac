package task

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

const (
	statusLost   = 255 // of a process whose machine ended
	statusKilled = 128 + uint32(unix.SIGKILL)
)

// process is one process as containerd knows it: created, running, paused, stopped.
type process struct {
	name    sandbox.Process
	stdio   stdio
	streams *streams
	spec    *specs.Process // of an exec

	// turn holds one token: who has it may start or delete the process.
	turn chan struct{}
	done chan struct{} // closed when the process has stopped, after its state says so
	gone chan struct{} // closed when it was deleted

	mu      sync.Mutex
	status  task.Status
	pid     uint32
	exit    sandbox.Exit
	killed  bool // SIGKILL was sent
	deleted bool
	size    *window // asked for before the start
	// inputDone says that CloseIO came before the streams were opened.
	inputDone bool
}

type window struct{ width, height uint32 }

func newProcess(name sandbox.Process, s stdio) *process {
	return &process{
		name: name, stdio: s, status: task.Status_CREATED,
		turn: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{}),
	}
}

func (p *process) log(ctx context.Context) *log.Entry {
	entry := log.G(ctx).WithField("container_id", p.name.Container)
	if p.name.Exec != "" {
		entry = entry.WithField("exec_id", p.name.Exec)
	}
	return entry
}

// take waits for the process's turn. The caller gives it back by receiving from turn.
func (p *process) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *process) give() { <-p.turn }

func (p *process) state() task.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// require is FailedPrecondition unless the process is in one of the states; a deleted one is NotFound.
func (p *process) require(what string, states ...task.Status) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deleted {
		return notFound(p.name)
	}
	for _, s := range states {
		if p.status == s {
			return nil
		}
	}
	return fail(errdefs.ErrFailedPrecondition, "%s %s: it is %s", what, describe(p.name), word(p.status))
}

// drop marks the process as deleted: who waits for one that never ran is told.
func (p *process) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.deleted {
		p.deleted = true
		close(p.gone)
	}
}

// advance changes the state and pushes the event that tells of it in one step, so that no later state can be told before.
func (p *process) advance(to task.Status, q *queue, e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == task.Status_STOPPED {
		return
	}
	p.status = to
	q.push(e)
}

// stop is the last change. It reports whether it was this call that made it.
func (p *process) stop(exit sandbox.Exit, q *queue, event func(*process) Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == task.Status_STOPPED {
		return false
	}
	if exit.At.IsZero() {
		exit.At = time.Now()
	}
	if exit.Err != nil && p.killed {
		exit.Status = statusKilled // it was to be killed, and it is
	}
	p.status, p.exit = task.Status_STOPPED, exit
	q.push(event(p))
	close(p.done)
	return true
}

func (p *process) exited() (status uint32, at *timestamppb.Timestamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit.At.IsZero() {
		return p.exit.Status, nil
	}
	return p.exit.Status, timestamppb.New(p.exit.At)
}

func word(s task.Status) string {
	switch s {
	case task.Status_CREATED:
		return "created"
	case task.Status_RUNNING:
		return "running"
	case task.Status_PAUSED:
		return "paused"
	case task.Status_STOPPED:
		return "stopped"
	}
	return "unknown"
}

// closeInput is CloseIO: at once, or as soon as the streams are opened.
func (p *process) closeInput() {
	p.mu.Lock()
	p.inputDone = true
	streams := p.streams
	p.mu.Unlock()
	if streams != nil {
		_ = streams.closeInput()
	}
}

func (p *process) setStreams(st *streams) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams = st
}

// openInput opens standard input, if there is one. After an early CloseIO it ends with its writers.
func (p *process) openInput(ctx context.Context) error {
	st := p.open()
	if p.stdio.stdin == "" || st == nil || st.source() != nil {
		return nil
	}
	if err := st.openInput(ctx, p.stdio.stdin); err != nil {
		return err
	}
	p.mu.Lock()
	early := p.inputDone
	p.mu.Unlock()
	if early {
		return st.closeInput()
	}
	return nil
}

// open are the process's streams, nil before they are open.
func (p *process) open() *streams {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams
}

// closeStreams closes what is open. Writes that hang in it return.
func (p *process) closeStreams() {
	if st := p.open(); st != nil {
		st.close()
	}
}
