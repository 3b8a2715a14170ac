package snp

import "context"

// turn is the queue before a device: one holder at a time, and waiting ends with the caller's context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// alone runs f while nobody else holds the turn. The kernel cannot be interrupted in the middle of a request (it must keep message numbers in
// step), so when ctx ends first the caller is released while f runs to its end and only then gives the turn away.
func alone[T any](ctx context.Context, t turn, f func() (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-t }()
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}
