package boot

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRunProgram(t *testing.T) {
	r, ctx := reaper(t), testContext(t)
	t.Setenv("INHERITED", "yes")
	if err := r.Run(ctx, "/bin/sh", "-c", "test -z \"$INHERITED\""); err != nil {
		t.Errorf("got %v, want success without the agent's environment", err)
	}
	err := r.Run(ctx, "/bin/sh", "-c", "echo no room left >&2; yes | head -c 100000; exit 3")
	if err == nil || !strings.HasPrefix(err.Error(), `run "/bin/sh": got wait status 0x300, want 0: "no room left\ny\ny`) {
		t.Errorf("got %v, want the status and what was said", err)
	}
	if err != nil && len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes, want what was said cut", len(err.Error()))
	}
	if err := r.Run(ctx, "/does/not/exist"); err == nil {
		t.Error("a program that is not there: got no error")
	}
}

func TestRunProgramKilledWithItsContext(t *testing.T) {
	r := reaper(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Run(ctx, "/bin/sleep", "600"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.children) != 0 {
		t.Errorf("got %d children left, want none", len(r.children))
	}
	if err := r.Run(ctx, "/bin/true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a context that has ended: got %v", err)
	}
}
