package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/shim/vm"
)

// mutes makes the first n machines of the testbed silent, or, with words, talkative and then silent.
func (b *testbed) mutes(t *testing.T, n int, words string) (booted *int) {
	t.Helper()
	before := silence
	t.Cleanup(func() { silence = before })
	silence = 20 * time.Millisecond
	booted = new(int)
	real := b.machine
	bootVM = func(_ context.Context, c vm.Config) (vm.VM, error) {
		*booted++
		if err := os.WriteFile(c.Console, []byte("SeaBIOS\r\nBooting from ROM..\r\n"+words), 0o600); err != nil {
			t.Error(err)
		}
		if *booted <= n {
			return &fakeVM{mute: true, done: make(chan struct{})}, nil
		}
		real.config = c
		return real, nil
	}
	return booted
}

func TestSilentGuestIsStartedAgain(t *testing.T) {
	b := newTestbed(t)
	var log bytes.Buffer
	b.options.Log = &log
	booted := b.mutes(t, 1, "")
	s, err := Boot(t.Context(), b.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if *booted != 2 || !strings.Contains(log.String(), "starting it again") || !strings.Contains(log.String(), "RIP=ffffffff81000000") {
		t.Errorf("booted %d times, log %q; want 2 and why", *booted, log.String())
	}
}

func TestGuestThatStaysSilentIsGivenUp(t *testing.T) {
	b := newTestbed(t)
	booted := b.mutes(t, 2, "")
	if _, err := Boot(t.Context(), b.options); !errors.Is(err, errSilent) || *booted != 2 {
		t.Errorf("got %v after %d boots, want %v after 2", err, *booted, errSilent)
	}
	b.checkGoneDir(t)
}

// TestSlowAgentIsWaitedFor: a guest that has said something is not silent, however long its agent takes.
func TestSlowAgentIsWaitedFor(t *testing.T) {
	b := newTestbed(t)
	booted := b.mutes(t, 1, "cloister: starting\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 5*silence)
	defer cancel()
	if _, err := Boot(ctx, b.options); !errors.Is(err, context.DeadlineExceeded) || *booted != 1 {
		t.Errorf("got %v after %d boots, want the caller's deadline after 1", err, *booted)
	}
}

// TestSNPGuestIsNotTimed: a launch on the processor takes what its memory takes.
func TestSNPGuestIsNotTimed(t *testing.T) {
	b := newTestbed(t)
	booted := b.mutes(t, 1, "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*silence)
	defer cancel()
	s := &Sandbox{options: b.options}
	err := s.boot(ctx, vm.Config{TEE: vm.TEESNP, Console: filepath.Join(t.TempDir(), "console.log")})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errSilent) || *booted != 1 {
		t.Errorf("got %v after %d boots, want the caller's deadline after 1", err, *booted)
	}
}
