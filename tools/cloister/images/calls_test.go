package images

import (
	"context"
	"errors"
	"fmt"
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

// Who gives up does not take the others along, and waiting ends with the waiter's own context.
func TestCallsContexts(t *testing.T) {
	var c calls[int]
	first, giveUp := cancelable(t)
	started := make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		_, err := c.do(first, "k", func() (int, error) {
			close(started)
			<-first.Done()
			return 0, first.Err()
		})
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the first got %v", err)
		}
		return nil
	})
	<-started
	if _, err := c.do(canceled(t), "k", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended waiter got %v", err)
	}
	g.Go(func() error {
		v, err := c.do(t.Context(), "k", func() (int, error) { return 3, nil })
		if v != 3 || err != nil {
			return fmt.Errorf("the second got %d, %v", v, err)
		}
		return nil
	})
	giveUp()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
