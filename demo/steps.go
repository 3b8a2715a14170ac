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
	// always is set for the step that cleans up: it is taken whatever happened, also after an interrupt.
	always bool
	do     func(context.Context) error
}

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
			r.took = time.Since(started)
			r.outcome = done
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
	err := s.do(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", err)
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
