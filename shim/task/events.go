package task

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/log"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cloister-cc/cloister/shim/spec"
)

// Event is one of containerd's event messages.
type Event = proto.Message

// NoteTopic is the topic of what was changed in a container's specification to fit it to the pod's policy.
const NoteTopic = "/cloister/note"

const (
	retryMin = 50 * time.Millisecond
	retryMax = 5 * time.Second
)

// topicOf names an event's topic in containerd.
func topicOf(e Event) string {
	switch e.(type) {
	case *events.TaskCreate:
		return "/tasks/create"
	case *events.TaskStart:
		return "/tasks/start"
	case *events.TaskOOM:
		return "/tasks/oom"
	case *events.TaskExit:
		return "/tasks/exit"
	case *events.TaskDelete:
		return "/tasks/delete"
	case *events.TaskExecAdded:
		return "/tasks/exec-added"
	case *events.TaskExecStarted:
		return "/tasks/exec-started"
	case *events.TaskPaused:
		return "/tasks/paused"
	case *events.TaskResumed:
		return "/tasks/resumed"
	default:
		return NoteTopic
	}
}

// noteEvent is a note as an event: a google.protobuf.Struct.
func noteEvent(container string, n spec.Note) Event {
	text := func(s string) *structpb.Value { return structpb.NewStringValue(s) }
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"container_id": text(container), "field": text(n.Field), "what": text(n.What), "why": text(n.Why),
	}}
}

// queue hands events to containerd one after the other, in the order of push. An event stays at its head until it was taken: containerd may be gone for a
// while, a restart loses nothing.
type queue struct {
	send func(ctx context.Context, topic string, event Event) error

	mu      sync.Mutex
	waiting []Event
	busy    bool          // the head is being sent
	wake    chan struct{} // holds one token when something was pushed
	idle    chan struct{} // closed when nothing waits; replaced by push

	stop context.CancelFunc
	done chan struct{}
}

func newQueue(send func(context.Context, string, Event) error) *queue {
	ctx, stop := context.WithCancel(context.Background())
	q := &queue{send: send, wake: make(chan struct{}, 1), idle: make(chan struct{}), stop: stop, done: make(chan struct{})}
	close(q.idle)
	go q.run(ctx)
	return q
}

// push never blocks. What the guest can cause without end waits once: the out-of-memory event of a container, and the same note. Exits and all else are as many
// as the calls and processes that they tell of.
func (q *queue) push(e Event) {
	q.mu.Lock()
	if repeats(e) && slices.ContainsFunc(q.waiting, func(w Event) bool { return proto.Equal(w, e) }) {
		q.mu.Unlock()
		return
	}
	if len(q.waiting) == 0 && !q.busy {
		q.idle = make(chan struct{})
	}
	q.waiting = append(q.waiting, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// repeats tells whether an event says nothing more when it is told twice.
func repeats(e Event) bool {
	switch e.(type) {
	case *events.TaskOOM, *structpb.Struct:
		return true
	}
	return false
}

func (q *queue) run(ctx context.Context) {
	defer close(q.done)
	for {
		e, more := q.head()
		if !more {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !q.deliver(ctx, e) {
			return
		}
		q.taken()
	}
}

func (q *queue) head() (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, false
	}
	e := q.waiting[0]
	q.waiting[0] = nil
	q.waiting, q.busy = q.waiting[1:], true
	return e, true
}

func (q *queue) taken() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	if len(q.waiting) == 0 {
		q.waiting = nil
		close(q.idle)
	}
}

// deliver sends one event until it is taken; false means that the queue was stopped first.
func (q *queue) deliver(ctx context.Context, e Event) bool {
	topic := topicOf(e)
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		err := q.send(ctx, topic, e)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		log.G(ctx).WithError(err).WithField("topic", topic).Warn("send event to containerd, will be tried again")
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return false
		}
	}
}

// flush waits until nothing waits, or ctx ends.
func (q *queue) flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends the queue. What was not sent is lost: flush first.
func (q *queue) close() {
	q.stop()
	<-q.done
}
