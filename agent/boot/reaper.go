package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// maxUnclaimed bounds the exits kept for an Adopt that is still to come.
const maxUnclaimed = 1024

// Reaper is the one place where children are waited for. PID 1 inherits every orphan, and a general wait takes the status of any
// child; so nobody else may wait, and no exec.Cmd may be started or waited for but through here.
type Reaper struct {
	// mu is held from before a child is forked until it is registered, and from before a status is taken until it is delivered. So no
	// exit is lost, and while it is held a registered pid cannot be somebody else's.
	mu        sync.Mutex
	children  map[int]*Child
	unclaimed map[int]unix.WaitStatus // exits of children nobody had registered
	order     []int                   // of unclaimed, oldest first
	stop      chan struct{}
	stopped   chan struct{}
}

// Child is a process that is waited for by the reaper.
type Child struct {
	Pid    int
	reaper *Reaper
	cmd    *exec.Cmd // nil when adopted
	done   chan struct{}
	status unix.WaitStatus // valid after done
	once   sync.Once
}

// NewReaper starts reaping. A process that is not PID 1 becomes the reaper of its descendants' orphans.
func NewReaper() (*Reaper, error) {
	if os.Getpid() != 1 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("start reaper: %w", os.NewSyscallError("prctl", err))
		}
	}
	r := &Reaper{
		children: map[int]*Child{}, unclaimed: map[int]unix.WaitStatus{},
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	exits := make(chan os.Signal, 1) // signals merge; one is enough, since each makes us take all there is
	signal.Notify(exits, unix.SIGCHLD)
	go r.run(exits)
	return r, nil
}

// Close ends reaping; children stay as they are.
func (r *Reaper) Close() {
	close(r.stop)
	<-r.stopped
}

func (r *Reaper) run(exits chan os.Signal) {
	defer close(r.stopped)
	defer signal.Stop(exits)
	for {
		select {
		case <-exits:
			r.reap()
		case <-r.stop:
			return
		}
	}
}

// reap takes every status there is.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid <= 0:
			return
		default:
			r.deliver(pid, status)
		}
	}
}

func (r *Reaper) deliver(pid int, status unix.WaitStatus) {
	if c := r.children[pid]; c != nil {
		delete(r.children, pid)
		c.status = status
		close(c.done)
		return
	}
	if _, again := r.unclaimed[pid]; !again {
		r.order = append(r.order, pid)
	}
	r.unclaimed[pid] = status
	if len(r.order) > maxUnclaimed {
		delete(r.unclaimed, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *Reaper) forget(pid int) {
	if _, ok := r.unclaimed[pid]; !ok {
		return
	}
	delete(r.unclaimed, pid)
	for i, p := range r.order {
		if p == pid {
			r.order = append(r.order[:i], r.order[i+1:]...)
			return
		}
	}
}

// Start starts cmd as a child. Its Wait must not be called; the child's is there instead.
func (r *Reaper) Start(cmd *exec.Cmd) (*Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &Child{Pid: cmd.Process.Pid, reaper: r, cmd: cmd, done: make(chan struct{})}
	r.forget(c.Pid) // an older process of that number
	r.children[c.Pid] = c
	return c, nil
}

// Adopt takes over a process that became our child when its parent ended, as a container's init does after `crun create`. It may have exited
// already: its status was kept.
func (r *Reaper) Adopt(pid int) (*Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid <= 1 {
		return nil, fmt.Errorf("adopt process %d: want a child's pid", pid)
	}
	if r.children[pid] != nil {
		return nil, fmt.Errorf("adopt process %d: it is registered already", pid)
	}
	c := &Child{Pid: pid, reaper: r, done: make(chan struct{})}
	// A child that is there, dead or alive, is the one that is meant: a kept status under its number is an older process's.
	err := ignoringEINTR(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	})
	if err == nil {
		r.forget(pid)
		r.children[pid] = c
		return c, nil
	}
	status, kept := r.unclaimed[pid]
	if !kept {
		return nil, fmt.Errorf("adopt process %d: %w", pid, os.NewSyscallError("waitid", err))
	}
	r.forget(pid)
	c.status = status
	close(c.done)
	return c, nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Done is closed when the child has exited.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait returns the child's status once it has exited and everything it wrote to cmd's writers has been copied. It may be called more than once.
func (c *Child) Wait(ctx context.Context) (unix.WaitStatus, error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for process %d: %w", c.Pid, ctx.Err())
	}
	if c.cmd != nil {
		// The status is taken, so this Wait finds no child; what it does besides is to wait for the copies and to close the pipes.
		// The release gives back the descriptor of the process, which would stay until the next garbage collection.
		c.once.Do(func() {
			_ = c.cmd.Wait()
			_ = c.cmd.Process.Release()
		})
	}
	return c.status, nil
}

// Signal sends a signal. A child that has exited is os.ErrProcessDone; its number is never signalled again.
func (c *Child) Signal(sig unix.Signal) error {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	select {
	case <-c.done:
		return os.ErrProcessDone
	default:
	}
	err := unix.Kill(c.Pid, sig)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}
