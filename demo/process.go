package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp/verify"
)

// patience is how long a program may take to end in order after it was asked to.
const patience = time.Minute

// process is a program that the demo runs, with every line it wrote.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; valid after done

	mu      sync.Mutex
	written []string
	more    chan struct{} // holds one token when a line was added
}

// all shows every line of a program.
func all(string) bool { return true }

// start starts a program and shows its command line and those lines of its output that are worth showing. The end of the
// context interrupts it, as Ctrl-C would.
//
// With one pipe for both, its two output streams keep their order; with two, their lines never get into each other, however
// long they are.
func (d *demo) start(ctx context.Context, show func(line string) bool, onePipe bool, args ...string) (*process, error) {
	d.out.command(args)
	p := &process{done: make(chan struct{}), more: make(chan struct{}, 1)}
	take := func(line string) {
		if show(line) {
			d.out.theirs(line)
		}
		p.add(line)
	}
	stdout := &lines{each: take}
	stderr := stdout
	if !onePipe {
		stderr = &lines{each: take}
	}
	p.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
		if errors.Is(p.err, context.Canceled) && p.cmd.ProcessState.Success() {
			p.err = nil // interrupted, and it ended in order
		}
		stdout.flush()
		stderr.flush()
	}()
	return p, nil
}

func (p *process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = append(p.written, line)
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// output returns the lines written so far.
func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.written)
}

// await waits until the lines written so far are enough. It fails when the program ends before.
func (p *process) await(ctx context.Context, what string, enough func(lines []string) bool) error {
	for {
		if enough(p.output()) {
			return nil
		}
		select {
		case <-p.more:
		case <-p.done:
			if enough(p.output()) {
				return nil
			}
			if p.err != nil {
				return fmt.Errorf("wait for %s: %s ended: %w", what, p.cmd.Args[0], p.err)
			}
			return fmt.Errorf("wait for %s: %s ended", what, p.cmd.Args[0])
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// interrupt asks the program to end and waits until it has.
func (p *process) interrupt() error {
	if !p.running() {
		return p.err
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.done
	return p.err
}

// run runs a program to its end and returns its lines and exit code.
func (d *demo) run(ctx context.Context, show func(line string) bool, args ...string) ([]string, int, error) {
	p, err := d.start(ctx, show, true, args...)
	if err != nil {
		return nil, 0, err
	}
	<-p.done
	if ctx.Err() != nil {
		return p.output(), 0, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Exited() {
		return p.output(), exit.ExitCode(), nil
	}
	return p.output(), 0, p.err
}

// succeed runs a program that must end with 0.
func (d *demo) succeed(ctx context.Context, args ...string) ([]string, error) {
	out, code, err := d.run(ctx, all, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code got %d, want 0", args[0], code)
	}
	return out, err
}

// Exit codes of refusals.
const (
	exitRefused = 1                       // of the command line
	exitPolicy  = int(verify.ClassPolicy) // of attest verify: the evidence is genuine and not what was wanted
)

// refuse runs a program that must end with a code and name all the words: what is refused for another reason proves nothing.
func (d *demo) refuse(ctx context.Context, want int, words []string, show func(line string) bool, args ...string) error {
	out, code, err := d.run(ctx, show, args...)
	if err != nil {
		return err
	}
	if code != want {
		return fmt.Errorf("%s: exit code got %d, want %d: the attack was not refused", args[0], code, want)
	}
	return names(strings.Join(out, "\n"), words...)
}

// names checks that a text has all the words.
func names(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("the reason does not name %q", w)
		}
	}
	return nil
}
