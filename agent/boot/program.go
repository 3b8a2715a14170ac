package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSaid is how much of a program's words an error repeats.
const maxSaid = 256

// Run runs a program of the image to its end, with no environment and no input. When ctx ends first the program is killed, and waited for.
func (r *Reaper) Run(ctx context.Context, path string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run %q: %w", path, err)
	}
	said := &limited{left: maxSaid}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{}, said, said
	child, err := r.Start(cmd)
	if err != nil {
		return fmt.Errorf("run %q: %w", path, err)
	}
	var ended error
	select {
	case <-child.Done():
	case <-ctx.Done():
		ended = ctx.Err()
		if err := child.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("run %q: %w", path, errors.Join(ended, err))
		}
	}
	status, err := child.Wait(context.WithoutCancel(ctx))
	switch {
	case ended != nil:
		return fmt.Errorf("run %q: %w", path, ended)
	case err != nil:
		return fmt.Errorf("run %q: %w", path, err)
	case !status.Exited() || status.ExitStatus() != 0:
		return fmt.Errorf("run %q: got wait status %#x, want 0: %q", path, uint32(status), strings.TrimSpace(said.text.String()))
	}
	return nil
}

// limited keeps the beginning of what is written.
type limited struct {
	text strings.Builder
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(l.left, len(p))
	l.left -= n
	_, _ = l.text.Write(p[:n])
	return len(p), nil
}
