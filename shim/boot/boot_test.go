package boot

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/vm"
)

// fakeVM is a machine whose agent is the fake one.
type fakeVM struct {
	connect func() net.Conn // nil: its agent never answers
	stop    sync.Once
	done    chan struct{}
	err     error
}

func newFakeVM(connect func() net.Conn) *fakeVM {
	return &fakeVM{connect: connect, done: make(chan struct{})}
}

func (m *fakeVM) Plug(context.Context, vm.Disk) (vm.Address, error) { panic("not called") }
func (m *fakeVM) Unplug(context.Context, vm.Address) error          { panic("not called") }
func (m *fakeVM) Where(context.Context) (string, error)             { return "RIP=ffffffff81000000", nil }
func (m *fakeVM) Done() <-chan struct{}                             { return m.done }
func (m *fakeVM) Err() error                                        { return m.err }

func (m *fakeVM) Dial(ctx context.Context, _ int) (net.Conn, error) {
	if m.connect == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return m.connect(), nil
}

func (m *fakeVM) Stop(context.Context) error {
	m.stop.Do(func() { close(m.done) })
	return nil
}

func (m *fakeVM) stopped() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// silentLauncher boots machines of which the first n never answer, though they may have said something on the console.
func silentLauncher(t *testing.T, n int, words string) (*Launcher, *[]*fakeVM) {
	t.Helper()
	serve := (&fakeAgent{status: api.HealthCheckResponse_SERVING}).serve(t)
	var booted []*fakeVM
	start := func(_ context.Context, c vm.Config) (vm.VM, error) {
		if err := os.WriteFile(c.Console, []byte("SeaBIOS\r\nBooting from ROM..\r\n"+words), 0o600); err != nil {
			t.Error(err)
		}
		m := newFakeVM(serve)
		if len(booted) < n {
			m.connect = nil
		}
		booted = append(booted, m)
		return m, nil
	}
	return &Launcher{Start: start, Silence: 20 * time.Millisecond}, &booted
}

func consoleConfig(t *testing.T) vm.Config {
	return vm.Config{TEE: vm.TEENone, Console: filepath.Join(t.TempDir(), "console.log")}
}

func TestSilentGuestIsStartedAgain(t *testing.T) {
	l, booted := silentLauncher(t, 1, "")
	var log bytes.Buffer
	l.Log = &log
	machine, client, err := l.Boot(testContext(t), consoleConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if len(*booted) != 2 || machine != (*booted)[1] || !(*booted)[0].stopped() || (*booted)[1].stopped() {
		t.Errorf("booted %d times: want 2, the first stopped", len(*booted))
	}
	if !strings.Contains(log.String(), "starting it again") || !strings.Contains(log.String(), "RIP=ffffffff81000000") {
		t.Errorf("log %q; want why", log.String())
	}
}

func TestGuestThatStaysSilentIsGivenUp(t *testing.T) {
	l, booted := silentLauncher(t, 2, "")
	_, _, err := l.Boot(testContext(t), consoleConfig(t))
	if !errors.Is(err, ErrSilent) || len(*booted) != 2 || !(*booted)[1].stopped() {
		t.Errorf("got %v after %d boots, want %v after 2, both stopped", err, len(*booted), ErrSilent)
	}
}

// TestSlowAgentIsWaitedFor: a guest that has said something is not silent, however long its agent takes.
func TestSlowAgentIsWaitedFor(t *testing.T) {
	l, booted := silentLauncher(t, 1, "cloister: starting\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 5*l.Silence)
	defer cancel()
	if _, _, err := l.Boot(ctx, consoleConfig(t)); !errors.Is(err, context.DeadlineExceeded) || len(*booted) != 1 {
		t.Errorf("got %v after %d boots, want the caller's deadline after 1", err, len(*booted))
	}
}

// TestSNPGuestIsNotTimed: a launch on the processor takes what its memory takes.
func TestSNPGuestIsNotTimed(t *testing.T) {
	l, booted := silentLauncher(t, 1, "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*l.Silence)
	defer cancel()
	c := consoleConfig(t)
	c.TEE = vm.TEESNP
	if _, _, err := l.Boot(ctx, c); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrSilent) || len(*booted) != 1 {
		t.Errorf("got %v after %d boots, want the caller's deadline after 1", err, len(*booted))
	}
}

func TestVMThatEndsEndsTheBoot(t *testing.T) {
	l, booted := silentLauncher(t, 1, "")
	l.Silence = time.Minute
	start := l.Start
	l.Start = func(ctx context.Context, c vm.Config) (vm.VM, error) {
		m, err := start(ctx, c)
		(*booted)[0].err = errors.New("guest panic")
		_ = m.Stop(ctx)
		return m, err
	}
	if _, _, err := l.Boot(testContext(t), consoleConfig(t)); !errors.Is(err, ErrVMEnded) || !errors.Is(err, (*booted)[0].err) {
		t.Errorf("got %v, want the VM's own reason", err)
	}
}
