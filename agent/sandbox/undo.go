package sandbox

import (
	"context"
	"errors"
)

// undo is a list of what to take back, last first.
type undo struct {
	steps []func(context.Context) error
}

func (u *undo) push(f func(context.Context) error) { u.steps = append(u.steps, f) }

// pushPolicy takes back a committed decision.
func (u *undo) pushPolicy(f func()) {
	u.push(func(context.Context) error { f(); return nil })
}

// run takes everything back. It goes on after a failure, and returns all of them.
func (u *undo) run(ctx context.Context) error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i](ctx))
	}
	u.steps = nil
	return errors.Join(errs...)
}
