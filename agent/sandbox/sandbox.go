package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

// stepLimit bounds one state-changing request from its first step to its last. A hung device or runtime must not hold the
// queue for ever. A read that the kernel cannot interrupt, of a disk that never answers, still can: that is denial of service, which a host has anyway.
const stepLimit = 2 * time.Minute

// Config holds what a sandbox is made of.
type Config struct {
	Gate    *gate.Gate
	Storage Storage
	Runtime Runtime
	Group   func(path string) (Group, error)
	Broker  Broker  // nil without a report device
	Staging Staging // nil: copied files are refused
	Log     *zap.Logger
	Prefix  string // of all paths, for tests; empty in the guest
	// Changed is called before and after each state-changing request; it may be nil.
	Changed func()
	// ReportDevice is the node that policies without grants give to unprivileged containers; empty when there is none.
	ReportDevice string
	// Context are the files of the security context beside the policy; nil when there are none. It is asked for each container that has one.
	Context func() []ContextFile
}

// Sandbox is the pod. There is one in a guest.
type Sandbox struct {
	cfg   Config
	queue chan struct{} // holds the token of the one request that may change state

	mu         sync.Mutex // guards the maps for readers outside the queue
	poison     string     // why no change is possible any more
	pod        *pod
	destroyed  bool
	containers map[string]*Container // by key
	ids        map[string]string     // key -> id
	devices    map[storage.Address]*device
	layers     uint64 // counter of layer names, never reused
	execs      uint64 // counter of exec names

	oom oomQueue
}

// New makes an empty sandbox.
func New(cfg Config) *Sandbox {
	s := &Sandbox{
		cfg: cfg, queue: make(chan struct{}, 1), containers: map[string]*Container{}, ids: map[string]string{},
		devices: map[storage.Address]*device{},
	}
	s.oom.init()
	return s
}

// change runs one state-changing request, alone, to its end: the caller's context is only used to wait for the turn, for a
// client that vanished must not leave half a request behind (docs/architecture.md).
func (s *Sandbox) change(ctx context.Context, f func(ctx context.Context) error) (err error) {
	select {
	case s.queue <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.cfg.Changed != nil {
		s.cfg.Changed()
		defer s.cfg.Changed()
	}
	defer func() { <-s.queue }()
	defer func() {
		if p := recover(); p != nil {
			s.setPoison(poisonPanic, "a request failed in the agent itself")
			s.cfg.Log.Error("panic in a state-changing request", zap.Any("panic", p), zap.Stack("stack"))
			err = internal("the request failed in the agent; the sandbox takes no further changes")
		}
	}()
	if why := s.poisoned(); why != "" {
		return wrongMoment("the sandbox takes no further changes: %s", why)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	return f(ctx)
}

// changeContainer is change for one container, which is looked up when its turn has come: while a request waits, the id can be given up and
// become another container's.
func (s *Sandbox) changeContainer(ctx context.Context, id string, f func(ctx context.Context, c *Container) error) error {
	if err := CheckID("container", id); err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context) error {
		c, err := s.container(id)
		if err != nil {
			return err
		}
		return f(ctx, c)
	})
}

func (s *Sandbox) poisoned() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison
}

// setPoison ends all changes. rule is the event log's word, why is for the host and may name what the host named.
func (s *Sandbox) setPoison(rule, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison == "" {
		s.poison = why
	}
	s.event(eventlog.Entry{Kind: eventlog.KindPoisoned, Rule: rule})
}

// rollBack runs the undo list after a failure. A step that cannot be taken back poisons the sandbox: policy and kernel would
// disagree from then on.
func (s *Sandbox) rollBack(ctx context.Context, u *undo, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	if err := u.run(ctx); err != nil {
		s.setPoison(poisonUndo, "a failed request could not be undone")
		s.cfg.Log.Error("undo failed", zap.Error(err))
	}
	return cause
}

// unmounted judges an unmount's error: unknown state poisons.
func (s *Sandbox) unmounted(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrStateUnknown) {
		s.setPoison(poisonUnmount, what+" may or may not be unmounted")
	}
	s.cfg.Log.Error("unmount failed", zap.String("target", what), zap.Error(err))
	return fmt.Errorf("unmount %s: %w", what, err)
}

// container finds a container by the host's id.
func (s *Sandbox) container(id string) (*Container, error) {
	if err := CheckID("container", id); err != nil {
		return nil, err
	}
	key := Key(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[key]
	if c == nil || s.ids[key] != id {
		return nil, invalid("container %.128q is not known", id)
	}
	return c, nil
}

// Counts says what the sandbox holds, for leak checks.
type Counts struct {
	Containers, Devices, Mounts int
}

// Held counts containers, layer devices and container mounts.
func (s *Sandbox) Held() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counts{Containers: len(s.containers), Devices: len(s.devices)}
	for _, ct := range s.containers {
		c.Mounts += len(ct.mounts)
	}
	return c
}
