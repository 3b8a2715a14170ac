package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
)

// Result is how a pod ended.
type Result struct {
	// Exit holds the status of each container that was started and ended by itself, by name.
	Exit map[string]int
	// OOM names the containers in which the kernel killed something for memory.
	OOM []string
}

// RunPod boots a sandbox, runs the containers in it until all have ended or the context does, and takes everything down.
// Output goes to stdout and stderr, each line behind its container's name.
//
// A run that the caller ends returns the context's error alone, unless taking down failed.
func RunPod(ctx context.Context, o Options, containers []*Container, stdout, stderr io.Writer) (Result, error) {
	s, err := Start(ctx, o)
	if err != nil {
		return Result{}, err
	}
	result, err := s.runContainers(ctx, containers, stdout, stderr)
	started := time.Now()
	stopErr := s.Stop(context.WithoutCancel(ctx))
	if stopErr == nil && o.Stage != nil {
		o.Stage(Stage{Name: "teardown", Took: time.Since(started)})
	}
	if ctx.Err() == nil {
		return result, errors.Join(err, stopErr)
	}
	if stopErr != nil {
		return result, stopErr
	}
	return result, ctx.Err()
}

// runContainers creates and starts all containers in their order and waits for them.
func (s *Sandbox) runContainers(ctx context.Context, containers []*Container, stdout, stderr io.Writer) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{sandbox: s, cancel: cancel, result: Result{Exit: map[string]int{}}}
	w.start(ctx)
	out, errOut := NewLineMux(stdout), NewLineMux(stderr)
	width := nameWidth(containers)
	err := func() error {
		for _, c := range containers {
			prefix := fmt.Sprintf("%-*s | ", width, c.Name)
			if err := s.launch(ctx, c); err != nil {
				return err
			}
			w.follow(ctx, c, out.Writer(prefix), errOut.Writer(prefix))
		}
		return w.containersDone(ctx)
	}()
	cause := context.Cause(ctx)
	cancel(nil)
	w.wait()
	if errors.Is(cause, boot.ErrVMEnded) {
		err = cause
	}
	return w.result, err
}

func (s *Sandbox) launch(ctx context.Context, c *Container) error {
	return s.options.stage("start "+c.Name, func() error {
		if err := s.CreateContainer(ctx, c); err != nil {
			return err
		}
		fmt.Fprintf(s.options.Log, "starting %s (container %.12s)\n", c.Name, c.ID)
		return s.StartContainer(ctx, c)
	})
}

func nameWidth(containers []*Container) int {
	width := 0
	for _, c := range containers {
		width = max(width, len(c.Name))
	}
	return width
}

// watch follows what happens in a sandbox while its containers run.
type watch struct {
	sandbox *Sandbox
	cancel  context.CancelCauseFunc

	background sync.WaitGroup // until the context ends
	followers  sync.WaitGroup // until the containers end

	mu     sync.Mutex
	result Result
	errs   []error
}

func (w *watch) start(ctx context.Context) {
	w.background.Go(func() { w.oomEvents(ctx) })
	w.background.Go(func() {
		select {
		case <-w.sandbox.vm.Done():
			w.cancel(errors.Join(boot.ErrVMEnded, w.sandbox.vm.Err()))
		case <-ctx.Done():
		}
	})
}

func (w *watch) wait() {
	w.followers.Wait()
	w.background.Wait()
}

// containersDone returns when all followers have returned.
func (w *watch) containersDone(ctx context.Context) error {
	done := make(chan struct{})
	go func() { defer close(done); w.followers.Wait() }()
	<-done // followers end with the context
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(w.errs...)
}

// follow copies a container's output and waits for it.
func (w *watch) follow(ctx context.Context, c *Container, stdout, stderr io.WriteCloser) {
	w.followers.Go(func() {
		outputErr := w.sandbox.client.CopyOutput(ctx, Process{Container: c.ID}, stdout, stderr)
		outputErr = errors.Join(outputErr, stdout.Close(), stderr.Close())
		status, err := w.sandbox.Wait(ctx, c)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err = errors.Join(outputErr, err); err != nil {
			w.errs = append(w.errs, fmt.Errorf("follow container %q: %w", c.Name, err))
			return
		}
		w.result.Exit[c.Name] = status
		fmt.Fprintf(w.sandbox.options.Log, "%s ended with status %d\n", c.Name, status)
	})
}

// oomEvents keeps one call open, as the API wants it, until the context or the connection ends.
func (w *watch) oomEvents(ctx context.Context) {
	for {
		event, err := w.sandbox.client.GetOOMEvent(ctx, &api.GetOOMEventRequest{})
		if err != nil {
			return
		}
		name := w.sandbox.containerName(event.ContainerId)
		fmt.Fprintf(w.sandbox.options.Log, "%s ran out of memory\n", name)
		w.mu.Lock()
		if !slices.Contains(w.result.OOM, name) {
			w.result.OOM = append(w.result.OOM, name)
		}
		w.mu.Unlock()
	}
}

func (s *Sandbox) containerName(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		if c.ID == id {
			return c.Name
		}
	}
	return fmt.Sprintf("container %.128q", id)
}

// Stop takes everything down in the reverse order of its making: containers, sandbox, VM, state directory. It goes on after
// an error, because a VM that is left running is worse than an unfinished farewell to it.
func (s *Sandbox) Stop(ctx context.Context) error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.farewell(ctx))
		s.client.Close()
	}
	if s.vm != nil {
		if err := s.vm.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop VM: %w", err))
		}
	}
	errs = append(errs, s.removeStateDir(), s.lock.Close())
	return errors.Join(errs...)
}

// farewellTimeout bounds what an agent that no longer answers can hold up; the VM is stopped in any case.
const farewellTimeout = 30 * time.Second

// farewell removes the containers and the sandbox from a guest that still answers.
func (s *Sandbox) farewell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	s.mu.Lock()
	containers := slices.Clone(s.containers)
	opened := s.opened
	s.mu.Unlock()
	select {
	case <-s.vm.Done():
		return nil
	case <-s.client.Done():
		return nil
	default:
	}
	var errs []error
	s.terminate(ctx, containers)
	for _, c := range slices.Backward(containers) {
		errs = append(errs, s.RemoveContainer(ctx, c))
	}
	if opened {
		if _, err := s.client.DestroySandbox(ctx, &api.DestroySandboxRequest{}); err != nil {
			errs = append(errs, fmt.Errorf("destroy sandbox: %w", err))
		}
	}
	return errors.Join(errs...)
}

// terminate asks all running containers to end and gives them a moment. A refusal is no error: whether the policy allows the
// signal or not, RemoveContainer ends them.
func (s *Sandbox) terminate(ctx context.Context, containers []*Container) {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range containers {
		if !c.started {
			continue
		}
		wg.Go(func() {
			err := s.Kill(ctx, c, uint32(unix.SIGTERM))
			if err == nil {
				s.Wait(ctx, c)
			}
		})
	}
	wg.Wait()
}

func (s *Sandbox) removeStateDir() error {
	if s.options.Keep {
		return nil
	}
	return removeAll(s.options.StateDir)
}

// Summary lists exit codes in the order of names, for a person.
func (r Result) Summary() string {
	var parts []string
	for name, status := range r.Exit {
		parts = append(parts, fmt.Sprintf("%s %d", name, status))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
