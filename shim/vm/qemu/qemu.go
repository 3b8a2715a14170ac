// Package qemu runs a utility VM under QEMU 7.2 or newer, with KVM where it works and with TCG elsewhere.
//
// QEMU gets no configuration but its command line, no default devices, and a seccomp filter that denies spawning. Its control socket is one end
// of a socket pair, so no other process can drive it. It dies with the process that started it.
//
// Each file it works on comes to it as an open descriptor, and the sockets of its ports are made for it, so it can run as a user who may open none of
// them, in control groups it was born into, and in network and IPC namespaces of its own, where there is nothing. What
// is left of its own to open are the devices of KVM and the firmware that is installed with it.
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
	config  vm.Config
	console chan struct{} // closed when all of it is in its file
	sizing  sync.Mutex    // held while it grows
	dimms   int           // memory devices asked for so far, to name the next

	done    chan struct{}
	err     error // valid after done
	mu      sync.Mutex
	stopped bool
}

var (
	_ vm.VM       = (*VM)(nil)
	_ vm.Growable = (*VM)(nil)
)

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
	if c.User != 0 && os.Getuid() != 0 {
		return nil, fmt.Errorf("user: only root can run %s as user %d", Program, c.User)
	}
	c.Transport = transport(c.Transport)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	l, err := prepare(c)
	if err != nil {
		return nil, err
	}
	p, err := spawn(child{
		args: arguments(c, l.fds), inherited: l.inherited, detached: c.Detached, network: c.Network, user: c.User, group: c.User, cgroups: c.Cgroups,
		lockMemory: c.TEE == vm.TEESNP,
	})
	l.close()
	if err != nil {
		<-l.copied
		removeSockets(c.Dir)
		return nil, errors.Join(err, l.monitor.Close())
	}
	m := &VM{dir: c.Dir, process: p, config: c, console: l.copied, done: make(chan struct{})}
	m.monitor, err = newQMP(ctx, l.monitor)
	if err != nil {
		killed := p.kill()
		<-p.done
		<-l.copied
		removeSockets(c.Dir)
		_ = l.monitor.Close()
		if ctx.Err() == nil && p.stderr.String() != "" {
			err = p.failure() // QEMU's own words say more than the end of its socket
		}
		return nil, errors.Join(err, killed)
	}
	go m.watch()
	return m, nil
}

// watch turns the end of the process into the end of the VM.
func (m *VM) watch() {
	<-m.process.done
	<-m.console
	<-m.monitor.done // after the last event
	_ = m.monitor.close()
	removeSockets(m.dir)
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

// removeSockets removes what this package makes in a VM's directory.
func removeSockets(dir string) {
	for port := range vm.Ports {
		_ = os.Remove(filepath.Join(dir, socketName(port)))
		_ = os.Remove(filepath.Join(dir, lockName(port)))
	}
	_ = os.Remove(filepath.Join(dir, cidName))
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
