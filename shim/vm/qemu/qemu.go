// Package qemu runs a utility VM under QEMU 7.2 or newer, with KVM where it works and with TCG elsewhere.
//
// QEMU gets no configuration but its command line, no default devices, and a seccomp filter that denies spawning. Its control socket is one end
// of a socket pair, so no other process can drive it. It dies with the process that started it.
package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// ErrGuestReset says that the guest reset itself: its kernel panicked, or the agent ended in a way it must not.
var ErrGuestReset = errors.New("the guest reset itself")

// VM is one running QEMU.
type VM struct {
	dir     string
	process *process
	monitor *qmp
	disks   disks

	done    chan struct{}
	err     error // valid after done
	mu      sync.Mutex
	stopped bool
}

var _ vm.VM = (*VM)(nil)

// Start boots c and returns once QEMU answers on its control socket; the guest is still booting then.
func Start(ctx context.Context, c vm.Config) (*VM, error) {
	m, err := start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start vm %q: %w", c.ID, err)
	}
	return m, nil
}

func start(ctx context.Context, c vm.Config) (*VM, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.TEE == vm.TEESNP {
		c.Accel = "kvm"
	}
	if c.Accel == "" {
		c.Accel = "tcg"
		if kvmWorks(ctx, c.Kernel) {
			c.Accel = "kvm"
		}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	// Made by us: QEMU would make it readable by all.
	console, err := os.OpenFile(c.Console, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if err := console.Close(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	p, err := spawn(Args(c), c.Dir, []*os.File{theirs}, c.Detached)
	_ = theirs.Close()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	m := &VM{dir: c.Dir, process: p, done: make(chan struct{})}
	m.monitor, err = newQMP(ctx, ours)
	if err != nil {
		killed := p.kill()
		<-p.done
		m.removeSockets()
		_ = ours.Close()
		if ctx.Err() == nil && p.stderr.String() != "" {
			err = p.failure() // QEMU's own words say more than the end of its socket
		}
		return nil, errors.Join(err, killed)
	}
	go m.watch()
	return m, nil
}

// socketPair returns two connected ends; the second is for the child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp")
	conn, err := net.FileConn(ours)
	_ = ours.Close() // FileConn works on a duplicate
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// watch turns the end of the process into the end of the VM.
func (m *VM) watch() {
	<-m.process.done
	<-m.monitor.done // after the last event
	_ = m.monitor.close()
	m.removeSockets()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopped {
		m.err = m.process.failure()
		if reason := m.monitor.shutdownReason(); m.err == nil && (reason == "guest-reset" || reason == "guest-panic") {
			m.err = ErrGuestReset
		}
	}
	close(m.done)
}

func (m *VM) removeSockets() {
	for port := range vm.Ports {
		_ = os.Remove(filepath.Join(m.dir, socketName(port)))
		_ = os.Remove(filepath.Join(m.dir, lockName(port)))
	}
}

// Dial opens a session on a port.
func (m *VM) Dial(ctx context.Context, port int) (net.Conn, error) {
	return DialPort(ctx, m.dir, port)
}

// Where says where each processor of the guest is, in QEMU's own words: the lines with RIP of its register dump. It is for
// the report of a guest that says nothing; an SNP guest's registers are not the host's to read.
func (m *VM) Where(ctx context.Context) (string, error) {
	answer, err := m.monitor.ask(ctx, "human-monitor-command", map[string]string{"command-line": "info registers -a"})
	if err != nil {
		return "", err
	}
	var dump string
	if err := json.Unmarshal(answer, &dump); err != nil {
		return "", fmt.Errorf("register dump: %w", err)
	}
	var found []string
	for line := range strings.Lines(dump) {
		if strings.HasPrefix(line, "RIP=") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) == 0 {
		return "", errors.New("register dump: no processor in it")
	}
	return strings.Join(found, "; "), nil
}

// Pid is QEMU's process, for tests and for accounting.
func (m *VM) Pid() int { return m.process.pid }

// Done is closed when QEMU is gone.
func (m *VM) Done() <-chan struct{} { return m.done }

// Err says why the VM ended; before that it is nil.
func (m *VM) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Stop kills QEMU: there is nothing in a VM that outlives it. It returns when the process is gone, or with ctx.
func (m *VM) Stop(ctx context.Context) error {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	if err := m.process.kill(); err != nil {
		return err
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop vm: %w", ctx.Err())
	}
}
