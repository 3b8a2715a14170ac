package sandbox

import (
	"context"
	"fmt"
	"sync"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/storage"
)

// Container is one container of the pod.
type Container struct {
	ID, Key string

	pause   *pause // the built-in pause container has no process
	init    *container.Process
	group   Group
	cwd     string
	stdio   bool // what the policy allowed when it was created
	started bool

	mu    sync.Mutex
	execs map[string]*container.Process

	layers []storage.Address // devices this container uses
	// scratch is the disk of the writable layer, nil when that is in memory; scratchLeft: the policy knows that the layer was given up, the disk is still there.
	scratch     *storage.Address
	scratchLeft bool
	mounts      []Mount // scratch, overlay, binds: in the order they were made
	user        container.ProcessRequest
	privileged,
	overlayGone, scratchGone, deleted bool
	stopBroker func()
	stopWatch  func()        // returns once memory events have been looked at a last time
	exitLogged chan struct{} // closed once the end of the init is in the event log; nil before the start
}

// device is a layer's disk, mounted once however many containers use it.
type device struct {
	target string
	root   string
	mount  Mount
	users  int
}

// pause is the sandbox container without storages: it does nothing until it is killed.
type pause struct {
	once sync.Once
	done chan struct{}
	code int32
}

func (p *pause) kill(code int32) { p.once.Do(func() { p.code = code; close(p.done) }) }

// Running says whether the container's init has not ended.
func (c *Container) Running() bool {
	done := c.doneChan()
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (c *Container) doneChan() <-chan struct{} {
	if c.pause != nil {
		return c.pause.done
	}
	return c.init.Done()
}

// process finds the init (an empty exec id, or the container's own) or an exec.
func (c *Container) process(execID string) (*container.Process, error) {
	if c.pause != nil {
		return nil, nil
	}
	if execID == "" || execID == c.ID {
		return c.init, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[execID]
	if p == nil {
		return nil, notFound("process %.128q of container %.128q is not known", execID, c.ID)
	}
	return p, nil
}

// maxExecs bounds the exec processes, living and ended, that one container keeps.
const maxExecs = 256

// addExec keeps a process for its waiters; of the ended ones the agent keeps as many as there is room for.
func (c *Container) addExec(id string, p *container.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.execs[id] = p
}

// room makes room for one more exec by forgetting an ended one.
func (c *Container) room(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == c.ID || c.execs[id] != nil {
		return invalid("exec id %.128q is in use", id)
	}
	if len(c.execs) < maxExecs {
		return nil
	}
	for old, p := range c.execs {
		select {
		case <-p.Done():
			p.Release()
			delete(c.execs, old)
			return nil
		default:
		}
	}
	return wrongMoment("container %.128q has %d running exec processes", c.ID, maxExecs)
}

// release frees what the agent itself holds of a container.
func (c *Container) release() {
	c.unwatch()
	if c.stopBroker != nil {
		c.stopBroker()
		c.stopBroker = nil
	}
	if c.init != nil {
		c.init.Release()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.execs {
		p.Release()
		delete(c.execs, id)
	}
}

// unwatch ends the watch of memory events; the last look needs the control group, so it comes before the runtime's delete.
func (c *Container) unwatch() {
	if c.stopWatch != nil {
		c.stopWatch()
		c.stopWatch = nil
	}
}

// Wait returns the exit code of a process once it has ended.
func (s *Sandbox) Wait(ctx context.Context, id, execID string) (int32, error) {
	c, err := s.container(id)
	if err != nil {
		return 0, err
	}
	if c.pause != nil {
		select {
		case <-c.pause.done:
			return c.pause.code, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	p, err := c.process(execID)
	if err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// MaxRead is the most that one read returns, in bytes.
const MaxRead = 1 << 20

// Read returns output of a process; nothing is the end of the stream. Without the policy's leave to use stdio the end comes at
// once, and what the process writes goes to /dev/null, so that it never blocks (agent API contract 1.4).
func (s *Sandbox) Read(ctx context.Context, id, execID string, stderr bool, n uint32) ([]byte, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	if c.pause != nil {
		_, err := s.Wait(ctx, id, "")
		return nil, err
	}
	p, err := c.process(execID)
	if err != nil {
		return nil, err
	}
	if n == 0 || n > MaxRead {
		n = MaxRead
	}
	return p.Read(ctx, stderr, int(n))
}

// Write gives input to a process.
func (s *Sandbox) Write(id, execID string, data []byte) (int, error) {
	p, err := s.stdinOf(id, execID)
	if err != nil {
		return 0, err
	}
	n, err := p.Write(data)
	if err != nil {
		return n, wrongMoment("process takes no input: %v", err)
	}
	return n, nil
}

// CloseStdin ends the input of a process.
func (s *Sandbox) CloseStdin(id, execID string) error {
	p, err := s.stdinOf(id, execID)
	if err != nil {
		return err
	}
	p.CloseStdin()
	return nil
}

// Resize sets the size of a process's terminal.
func (s *Sandbox) Resize(id, execID string, rows, columns uint32) error {
	p, err := s.stdinOf(id, execID)
	if err != nil {
		return err
	}
	if rows > 65535 || columns > 65535 {
		return invalid("terminal size %dx%d: want at most 65535x65535", rows, columns)
	}
	if err := p.Resize(uint16(rows), uint16(columns)); err != nil {
		return wrongMoment("resize terminal: %v", err)
	}
	return nil
}

func (s *Sandbox) stdinOf(id, execID string) (*container.Process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	p, err := c.process(execID)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, wrongMoment("the built-in pause container has no input")
	case !c.stdio:
		s.cfg.Gate.RefuseUndecided("WriteStreamRequest", "stdio was not allowed")
		return nil, fmt.Errorf("%w", errStdio)
	}
	return p, nil
}
