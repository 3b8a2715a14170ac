package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func reaper(t *testing.T) *Reaper {
	t.Helper()
	r, err := NewReaper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestReaperDeliversStatusAndOutput(t *testing.T) {
	r, ctx := reaper(t), testContext(t)
	for _, tc := range []struct {
		name, script string
		check        func(unix.WaitStatus) bool
	}{
		{"exit-0", "echo out", func(s unix.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 0 }},
		{"exit-7", "echo out; exit 7", func(s unix.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 7 }},
		{"killed", "echo out; kill -9 $$", func(s unix.WaitStatus) bool { return s.Signaled() && s.Signal() == unix.SIGKILL }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := shell(tc.script)
			var out bytes.Buffer
			cmd.Stdout = &out // not a file: exec copies in a goroutine that Wait must join
			c, err := r.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // may be asked more than once
				status, err := c.Wait(ctx)
				if err != nil || !tc.check(status) {
					t.Errorf("got %#x, %v", status, err)
				}
			}
			if out.String() != "out\n" {
				t.Errorf("got output %q", out.String())
			}
			if err := c.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("signal after the exit: got %v, want ErrProcessDone", err)
			}
		})
	}
}

// Children that end at once, while orphans die beside them: no status may be lost or mixed up.
func TestReaperLosesNoExit(t *testing.T) {
	r, ctx := reaper(t), testContext(t)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			code := i % 50
			c, err := r.Start(shell(fmt.Sprintf("(exit 99) & exit %d", code)))
			if err != nil {
				t.Error(err)
				return
			}
			if status, err := c.Wait(ctx); err != nil || status.ExitStatus() != code {
				t.Errorf("child %d: got %d, %v, want %d", i, status.ExitStatus(), err, code)
			}
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.children) != 0 {
		t.Errorf("%d children are still registered", len(r.children))
	}
	if len(r.order) != len(r.unclaimed) {
		t.Errorf("%d unclaimed in order, %d in all", len(r.order), len(r.unclaimed))
	}
}

// orphan returns the pid of a process that has just become ours, as a container's init does.
func orphan(t *testing.T, r *Reaper, script string) int {
	t.Helper()
	cmd := shell("(" + script + ") >/dev/null 2>&1 & echo $!")
	var out bytes.Buffer
	cmd.Stdout = &out
	c, err := r.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestAdoptLivingOrphan(t *testing.T) {
	r, ctx := reaper(t), testContext(t)
	pid := orphan(t, r, "exec sleep 1000")
	c, err := r.Adopt(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Adopt(pid); err == nil {
		t.Error("adopted twice")
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := c.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, err := c.Wait(ctx); err != nil || status.Signal() != unix.SIGTERM {
		t.Errorf("got %#x, %v, want SIGTERM", status, err)
	}
}

// deadOrphan returns the pid of a process that became ours and then ended. It ends only once its parent is gone: a shell that still lives takes
// the status of its own children, and it would never be ours.
func deadOrphan(t *testing.T, r *Reaper, script string) int {
	t.Helper()
	hold, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	cmd := shell("exec 3<&0; (read x <&3; " + script + ") >/dev/null 2>&1 & echo $!")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = hold, &out
	c, err := r.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// An init may be dead before anybody had its pid.
func TestAdoptDeadOrphan(t *testing.T) {
	r, ctx := reaper(t), testContext(t)
	pid := deadOrphan(t, r, "exit 5")
	for { // until its exit has been taken; Adopt works before that too
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		r.reap()
		r.mu.Lock()
		_, taken := r.unclaimed[pid]
		r.mu.Unlock()
		if taken {
			break
		}
	}
	c, err := r.Adopt(pid)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := c.Wait(ctx); err != nil || status.ExitStatus() != 5 {
		t.Errorf("got %#x, %v, want exit 5", status, err)
	}
	if _, err := r.Adopt(pid); err == nil {
		t.Error("a status was given out twice")
	}
}

func TestAdoptStranger(t *testing.T) {
	r := reaper(t)
	for _, pid := range []int{-1, 0, 1, os.Getpid(), 1 << 30} {
		if _, err := r.Adopt(pid); err == nil {
			t.Errorf("adopted %d", pid)
		}
	}
}

func TestUnclaimedExitsAreBounded(t *testing.T) {
	r := &Reaper{children: map[int]*Child{}, unclaimed: map[int]unix.WaitStatus{}}
	for pid := range 3 * maxUnclaimed {
		r.deliver(pid+2, 0)
		r.deliver(pid+2, 1) // the number came round again
	}
	if len(r.unclaimed) != maxUnclaimed || len(r.order) != maxUnclaimed {
		t.Errorf("kept %d and %d, want %d", len(r.unclaimed), len(r.order), maxUnclaimed)
	}
	r.forget(3 * maxUnclaimed)
	if len(r.unclaimed) != len(r.order) {
		t.Errorf("kept %d and %d", len(r.unclaimed), len(r.order))
	}
}

func TestStartFailureLeavesNothing(t *testing.T) {
	r := reaper(t)
	if _, err := r.Start(exec.Command("/does/not/exist")); err == nil {
		t.Fatal("started")
	}
	if len(r.children) != 0 {
		t.Error("registered a process that never was")
	}
}
