package sandbox

import (
	"context"
	"sync"
)

// oomQueue keeps the ids of containers in which the kernel killed a process for memory, until somebody asks.
type oomQueue struct {
	mu    sync.Mutex
	ids   []string
	event chan struct{}
}

// maxOOMEvents bounds the queue: a workload can cause events without end, and nobody need be reading.
const maxOOMEvents = 1024

func (q *oomQueue) init() { q.event = make(chan struct{}) }

func (q *oomQueue) push(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ids) < maxOOMEvents {
		q.ids = append(q.ids, id)
	}
	close(q.event)
	q.event = make(chan struct{})
}

// OOMEvent waits for the next out-of-memory kill and returns the container's id.
func (s *Sandbox) OOMEvent(ctx context.Context) (string, error) {
	q := &s.oom
	for {
		q.mu.Lock()
		if len(q.ids) > 0 && ctx.Err() == nil {
			id := q.ids[0]
			q.ids = q.ids[1:]
			q.mu.Unlock()
			return id, nil
		}
		event := q.event
		q.mu.Unlock()
		select {
		case <-event:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
