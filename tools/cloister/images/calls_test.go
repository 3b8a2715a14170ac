package images

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestCallsOnce(t *testing.T) {
	var c calls[int]
	var n atomic.Int32
	var g errgroup.Group
	for range 32 {
		g.Go(func() error {
			if v, err := c.do(t.Context(), "k", func() (int, error) { return int(n.Add(1)), nil }); v != 1 || err != nil {
				return fmt.Errorf("got %d, %v", v, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	// A failure is not kept.
	if _, err := c.do(t.Context(), "e", func() (int, error) { return 0, errors.New("x") }); err == nil {
		t.Error("got no error")
	}
	if v, err := c.do(t.Context(), "e", func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

// Waiting ends with the waiter's own context.
func TestCallsWaiterGivesUp(t *testing.T) {
	var c calls[int]
	if _, mine := c.join("k"); !mine {
		t.Fatal("the first is not the one who works")
	}
	if _, err := c.do(canceled(t), "k", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended waiter got %v", err)
	}
}

// heard is a context that tells when it is asked whether it ended.
type heard struct {
	context.Context
	once  *sync.Once
	asked chan struct{}
}

func (h heard) Err() error {
	h.once.Do(func() { close(h.asked) })
	return h.Context.Err()
}

// Who works and gives up does not take the others along: one of them works then.
func TestCallsWorkerGivesUp(t *testing.T) {
	var c calls[int]
	gone, _ := c.join("k")
	gone.err = context.Canceled
	close(gone.done) // before the key is free again, so that the second surely sees it
	ctx := heard{t.Context(), new(sync.Once), make(chan struct{})}
	type result struct {
		v   int
		err error
	}
	got := make(chan result, 1)
	go func() {
		v, err := c.do(ctx, "k", func() (int, error) { return 3, nil })
		got <- result{v, err}
	}()
	select {
	case <-ctx.asked:
		c.drop("k")
	case r := <-got:
		t.Fatalf("the second got %d, %v from the one who gave up", r.v, r.err)
	}
	if r := <-got; r.v != 3 || r.err != nil {
		t.Errorf("the second got %d, %v", r.v, r.err)
	}
}
