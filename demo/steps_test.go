package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// told makes a step that notes that it was taken and returns err.
func told(taken *[]string, name, after string, always bool, err error) step {
	return step{name: name, after: after, always: always, do: func(ctx context.Context) error {
		*taken = append(*taken, name)
		return errors.Join(err, ctx.Err())
	}}
}

func TestPlayTakesStepsWhoseGroundIsThere(t *testing.T) {
	var taken []string
	boom := errors.New("boom")
	results := play(t.Context(), newOutput(io.Discard), []step{
		told(&taken, "a", "", false, nil),
		told(&taken, "b", "a", false, boom),
		told(&taken, "on-failed", "b", false, nil),
		told(&taken, "on-not-reached", "on-failed", false, nil),
		told(&taken, "independent", "a", false, nil),
		told(&taken, "clean-up", "", true, nil),
	})
	if want := []string{"a", "b", "independent", "clean-up"}; !slices.Equal(taken, want) {
		t.Errorf("got %q taken, want %q", taken, want)
	}
	var outcomes []outcome
	for _, r := range results {
		outcomes = append(outcomes, r.outcome)
	}
	if want := []outcome{done, failed, notReached, notReached, done, done}; !slices.Equal(outcomes, want) {
		t.Errorf("got %q, want %q", outcomes, want)
	}
	if got := count(results); got != 3 {
		t.Errorf("got %d steps done, want 3", got)
	}
}

func TestPlayCleansUpAfterInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var taken []string
	results := play(ctx, newOutput(io.Discard), []step{
		{name: "interrupted", do: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }},
		told(&taken, "next", "", false, nil),
		told(&taken, "clean-up", "", true, nil), // fails when its context has ended
	})
	if !slices.Equal(taken, []string{"clean-up"}) {
		t.Errorf("got %q taken, want the clean-up alone", taken)
	}
	if results[0].outcome != failed || results[1].outcome != notReached || results[2].outcome != done {
		t.Errorf("got %+v", results)
	}
}

func TestPlayEndsStepsThatHang(t *testing.T) {
	var b bytes.Buffer
	results := play(t.Context(), newOutput(&b), []step{
		{name: "hangs", limit: time.Millisecond, do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{name: "next", do: func(context.Context) error { return nil }},
	})
	if results[0].outcome != failed || results[1].outcome != done || !strings.Contains(b.String(), "took longer than 1ms") {
		t.Errorf("got %+v:\n%s", results, b.String())
	}
}

// TestStepsAreConnected: a misspelt name would make a step unreachable, and it would only show as "not reached".
func TestStepsAreConnected(t *testing.T) {
	seen := map[string]bool{"": true}
	steps := (&demo{}).steps()
	for _, s := range steps {
		if seen[s.name] {
			t.Errorf("%q: there are two", s.name)
		}
		if !seen[s.after] {
			t.Errorf("%q comes after %q, which is not before it", s.name, s.after)
		}
		if len(s.name) > 42 {
			t.Errorf("%q does not fit into the table", s.name)
		}
		seen[s.name] = true
	}
	if last := steps[len(steps)-1]; !last.always {
		t.Errorf("the last step is %q, want the one that cleans up", last.name)
	}
}

func TestSummaryEndsWithOneLine(t *testing.T) {
	var b bytes.Buffer
	newOutput(&b).summary([]result{{"a", done, time.Second}, {"b", failed, 2 * time.Second}, {"c", notReached, 0}})
	text := b.String()
	if !strings.HasSuffix(text, "\ndemo: 1 of 3 steps did what they should\n") {
		t.Errorf("got end %q", text)
	}
	if strings.Contains(text, "\x1b") {
		t.Error("got colour without a terminal")
	}
	if !strings.Contains(text, "3.00 s") {
		t.Errorf("got no total:\n%s", text)
	}
}
