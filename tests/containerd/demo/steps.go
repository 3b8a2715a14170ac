package main

import (
	"context"
	"fmt"
	"time"
)

// step is one thing the demo shows. It is done when do returns nil: for an attack, when it was refused as it should be.
type step struct {
	name string
	// after names the step without which this one makes no sense.
	after string
	// always is set for the step that cleans up.
	always bool
	limit  time.Duration
	do     func(context.Context) error
}

const (
	// stepLimit is for steps that need a VM.
	stepLimit = 3 * time.Minute
	// buildLimit is for steps that compile and download.
	buildLimit = 30 * time.Minute
)

// outcome is what became of a step.
type outcome string

const (
	done       outcome = "ok"
	failed     outcome = "FAILED"
	notReached outcome = "not reached"
)

type result struct {
	name    string
	outcome outcome
	took    time.Duration
}

// play takes the steps in their order.
func play(ctx context.Context, out *output, steps []step) []result {
	var results []result
	outcomes := map[string]outcome{}
	for i, s := range steps {
		r := result{name: s.name, outcome: notReached}
		if s.always || ctx.Err() == nil && (s.after == "" || outcomes[s.after] == done) {
			out.heading(i+1, len(steps), s.name)
			started := time.Now()
			err := take(ctx, s)
			r.took, r.outcome = time.Since(started), done
			if err != nil {
				r.outcome = failed
			}
			out.outcome(r, err)
		}
		outcomes[s.name] = r.outcome
		results = append(results, r)
	}
	return results
}

func take(ctx context.Context, s step) error {
	if s.always {
		ctx = context.WithoutCancel(ctx)
	}
	limit := s.limit
	if limit == 0 {
		limit = stepLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
	defer cancel()
	err := s.do(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// count is the number of steps that did what they should.
func count(results []result) int {
	n := 0
	for _, r := range results {
		if r.outcome == done {
			n++
		}
	}
	return n
}
