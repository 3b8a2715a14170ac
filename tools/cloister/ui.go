package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	podrun "github.com/cloister-cc/cloister/shim/run"
)

// ui speaks to a person on standard error: what is being done, how long it took, what was refused and what to do about it.
// Colour is for terminals only.
type ui struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

func newUI(w io.Writer) *ui {
	f, ok := w.(*os.File)
	return &ui{out: w, colour: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

const (
	faint  = "\x1b[2m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (u *ui) line(colour, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.colour && colour != "" {
		text = colour + text + plain
	}
	fmt.Fprintln(u.out, text)
}

func (u *ui) note(format string, args ...any) { u.line("", "cloister: "+fmt.Sprintf(format, args...)) }

func (u *ui) warn(format string, args ...any) {
	u.line(yellow, "cloister: "+fmt.Sprintf(format, args...))
}

// Write takes progress lines of packages that know no terminal.
func (u *ui) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		u.note("%s", bytes.TrimSuffix(line, []byte("\n")))
	}
	return len(p), nil
}

// stage reports a finished stage.
func (u *ui) stage(s podrun.Stage) {
	u.line(faint, fmt.Sprintf("cloister: %-24s %6.2f s", s.Name, s.Took.Seconds()))
}

func (u *ui) timed(name string, do func() error) error {
	start := time.Now()
	err := do()
	if err == nil {
		u.stage(podrun.Stage{Name: name, Took: time.Since(start)})
	}
	return err
}

// explain makes a refusal an error that a person can act on. A run that the user ended is no error.
func explain(ctx context.Context, err error) error {
	refusal, ok := podrun.AsRefusal(err)
	if !ok {
		if interrupted(ctx, err) {
			return nil
		}
		return err
	}
	return &refusedError{refusal: refusal, err: err}
}

// refusedError prints the agent's sentence and the step that comes next, each on its line.
type refusedError struct {
	refusal podrun.Refusal
	err     error
}

func (e *refusedError) Error() string {
	return "refused inside the VM: " + e.refusal.Sentence + "\n  what to do: " + e.refusal.Next
}

func (e *refusedError) Unwrap() error { return e.err }
