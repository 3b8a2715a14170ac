package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// undoTimeout bounds the undoing of one step, so that a step that hangs does not keep the others from being undone.
const undoTimeout = 30 * time.Second

// undo is what was made, and how each thing is taken away again.
type undo struct {
	steps []undoStep
}

type undoStep struct {
	what string
	take func(context.Context) error
}

func (u *undo) push(what string, take func(context.Context) error) {
	u.steps = append(u.steps, undoStep{what, take})
}

// run undoes all steps in reverse. It ignores that ctx may have ended: what was made must go. Steps that failed stay, so that another run tries them again.
func (u *undo) run(ctx context.Context) error {
	var errs []error
	var left []undoStep
	for len(u.steps) > 0 {
		last := u.steps[len(u.steps)-1]
		u.steps = u.steps[:len(u.steps)-1]
		if err := last.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", last.what, err))
			left = append([]undoStep{last}, left...)
		}
	}
	u.steps = left
	return errors.Join(errs...)
}

func (s undoStep) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return s.take(ctx)
}
