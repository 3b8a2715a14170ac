package task

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

const (
	// stopTimeout bounds the stop of a pod when the shim was asked to end.
	stopTimeout = 15 * time.Second
	// flushTimeout bounds the delivery of the last events.
	flushTimeout = 5 * time.Second
)

// Service is one shim: a pod, its containers, and containerd's calls about them.
type Service struct {
	config Config
	events *queue

	// life is the context of what outlives a call; it ends with Close.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	killTimeout time.Duration

	mu         sync.Mutex
	pod        Pod
	containers map[string]*container
	api        *apiPod // the pod that the sandbox API made; nil without it
	booting    bool
	exiting    bool
}

// container is one container with the processes in it.
type container struct {
	id     string
	bundle string
	init   *process
	record Record

	// ready is closed when Create has ended; before that, cancel ends Create.
	ready  chan struct{}
	cancel context.CancelCauseFunc
	failed bool

	mu       sync.Mutex
	execs    map[string]*process
	removing bool // its removal from the guest failed once
}

// New makes a service without a pod.
func New(ctx context.Context, c Config) *Service {
	s := &Service{config: c, events: newQueue(c.Send), containers: map[string]*container{}, killTimeout: killTimeout}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// Close stops the pod, tells containerd the last exits, and waits until nothing runs any more. Each step is bounded.
func (s *Service) Close(ctx context.Context) error {
	err := s.stopPod(ctx)
	flush, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for _, c := range s.all() {
		s.awaitExits(flush, c)
	}
	err = errors.Join(err, s.events.flush(flush))
	s.end()
	for _, c := range s.all() {
		c.close()
	}
	s.work.Wait()
	s.events.close()
	return err
}

func (s *Service) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	return all
}

// awaitExits waits until each process of a container that runs has been told as ended.
func (s *Service) awaitExits(ctx context.Context, c *container) {
	for _, p := range c.processes() {
		if p.require("", running...) != nil {
			continue
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return
		}
	}
}

// stopPod takes the pod away, if there is one. A second call finds none.
func (s *Service) stopPod(ctx context.Context) error {
	s.mu.Lock()
	pod := s.pod
	for _, c := range s.containers {
		c.killAll()
	}
	s.mu.Unlock()
	if pod == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return pod.Stop(ctx)
}

// machine is the pod, which must have been started.
func (s *Service) machine() (Pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pod == nil {
		return nil, fail(errdefs.ErrFailedPrecondition, "pod %.128q: is not started", s.config.Sandbox)
	}
	return s.pod, nil
}

// alive is the pod, which must live.
func (s *Service) alive() (Pod, error) {
	pod, err := s.machine()
	if err != nil {
		return nil, err
	}
	select {
	case <-pod.Done():
		return nil, fail(errdefs.ErrUnavailable, "pod %.128q: has ended: %v", s.config.Sandbox, pod.Err())
	default:
		return pod, nil
	}
}

// pid is what containerd is told of every process: that of the machine, 0 before there is one.
func (s *Service) pid() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pod == nil {
		return 0
	}
	return uint32(s.pod.PID())
}

// boot starts the pod. Only one is ever started.
func (s *Service) boot(ctx context.Context, c sandbox.Config) (Pod, error) {
	s.mu.Lock()
	if s.booting || s.pod != nil || s.exiting {
		s.mu.Unlock()
		return nil, fail(errdefs.ErrAlreadyExists, "pod %.128q: was started already", s.config.Sandbox)
	}
	s.booting = true
	s.mu.Unlock()
	pod, err := s.config.Boot(ctx, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.booting = false
	if err != nil {
		return nil, err
	}
	s.pod = pod
	s.work.Go(func() { s.watchOOM(pod) })
	return pod, nil
}

func (s *Service) watchOOM(pod Pod) {
	for {
		select {
		case id, ok := <-pod.OOM():
			if !ok {
				return
			}
			s.events.push(&events.TaskOOM{ContainerID: id})
		case <-pod.Done():
			return
		case <-s.life.Done():
			return
		}
	}
}

// find is a container that Create has made.
func (s *Service) find(id string) (*container, error) {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil || !c.created() {
		return nil, notFound(sandbox.Process{Container: id})
	}
	return c, nil
}

// process is a process of a container that Create has made: its first one without an exec id.
func (s *Service) process(id, exec string) (*container, *process, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	if exec == "" {
		return c, c.init, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[exec]
	if p == nil {
		return nil, nil, notFound(sandbox.Process{Container: id, Exec: exec})
	}
	return c, p, nil
}

func (c *container) created() bool {
	select {
	case <-c.ready:
		return !c.failed
	default:
		return false
	}
}

// processes are all of a container's processes, the first one last.
func (c *container) processes() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*process, 0, len(c.execs)+1)
	for _, p := range c.execs {
		all = append(all, p)
	}
	return append(all, c.init)
}

// killAll notes that the processes end because somebody wants it.
func (c *container) killAll() {
	for _, p := range c.processes() {
		p.mu.Lock()
		p.killed = true
		p.mu.Unlock()
	}
}

func (c *container) close() {
	for _, p := range c.processes() {
		p.closeStreams()
	}
}

// exitAfter ends the shim once the call that ctx belongs to is answered: ttrpc ends the context when the answer is on its way. A caller whose connection ends
// before it has its answer takes that for a failure.
func (s *Service) exitAfter(ctx context.Context) {
	if ctx.Done() == nil {
		s.config.Exit()
		return
	}
	context.AfterFunc(ctx, s.config.Exit)
}

// wire makes an error what goes over ttrpc.
func wire(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToGRPC(err)
}

func logOf(ctx context.Context, id string) *log.Entry {
	return log.G(ctx).WithField("container_id", id)
}
