package images

import (
	"context"
	"errors"
	"sync"
)

// calls does the work of each key once, however many ask for it, and keeps what succeeded. (The singleflight package ends
// everybody's work when the first caller's context ends.)
type calls[T any] struct {
	mu   sync.Mutex
	byID map[string]*call[T]
}

type call[T any] struct {
	done chan struct{}
	val  T
	err  error
}

func (c *calls[T]) do(ctx context.Context, key string, work func() (T, error)) (T, error) {
	for {
		running, mine := c.join(key)
		if mine {
			running.val, running.err = work()
			if running.err != nil {
				c.drop(key)
			}
			close(running.done)
			return running.val, running.err
		}
		select {
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		case <-running.done:
		}
		// The one who did the work gave up; that is not our answer.
		if errors.Is(running.err, context.Canceled) || errors.Is(running.err, context.DeadlineExceeded) {
			if ctx.Err() == nil {
				continue
			}
		}
		return running.val, running.err
	}
}

func (c *calls[T]) join(key string) (running *call[T], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.byID[key]; ok {
		return r, false
	}
	r := &call[T]{done: make(chan struct{})}
	if c.byID == nil {
		c.byID = map[string]*call[T]{}
	}
	c.byID[key] = r
	return r, true
}

func (c *calls[T]) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byID, key)
}
