package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloister-cc/cloister/shim/vm"
)

// ErrSilent says that a guest's kernel stopped before the first program in it said anything.
var ErrSilent = errors.New("the guest's kernel did not come as far as the agent")

// silence is how long a guest may take to its first words. Under emulation on a busy machine that is some twenty seconds.
const silence = 60 * time.Second

// firstWords begin each line that a program of the guest image writes to the console.
var firstWords = []byte("cloister: ")

// watchSilence returns a context that ends, with ErrSilent as its cause, when nothing was said in time. The console is read once,
// at the deadline. stop must be called.
func watchSilence(ctx context.Context, machine vm.VM, console string, silence time.Duration) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	timer := time.NewTimer(silence)
	go func() {
		defer close(done)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			if !spoke(console) {
				cancel(fmt.Errorf("%w within %v%s", ErrSilent, silence, where(ctx, machine)))
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// spoke tells whether a program of the guest has written to the console. One that cannot be read counts as silent.
func spoke(console string) bool {
	f, err := os.Open(console)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return err == nil && bytes.Contains(head, firstWords)
}

// where is what the machine can tell of its processors, for people who look for the reason.
func where(ctx context.Context, machine vm.VM) string {
	teller, ok := machine.(interface {
		Where(context.Context) (string, error)
	})
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at, err := teller.Where(ctx)
	if err != nil {
		return ""
	}
	return " (" + at + ")"
}
