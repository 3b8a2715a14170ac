package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program is the emulator's name on PATH.
const Program = "qemu-system-x86_64"

// process is QEMU as a child of ours, in a process group of its own.
type process struct {
	pid    int
	done   chan struct{}
	err    error // valid after done
	stderr tail
}

// child is how QEMU is started.
type child struct {
	args       []string
	inherited  []*os.File // from descriptor 3 on
	detached   bool
	network    bool // QEMU opens sockets of the host's network itself
	user       int  // 0: ours
	group      int
	cgroups    []string // directories
	lockMemory bool
}

// spawn starts QEMU. Unless detached, the kernel kills it when we die, however we die: a VM that nobody can stop would hold its
// memory for ever. That signal is bound to the *thread* that forked, so that thread is kept until the child is gone.
func spawn(c child) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		cmd := p.command(c)
		cmd.SysProcAttr.Cloneflags = c.namespaces()
		err := startIn(cmd, c.cgroups)
		if errors.Is(err, unix.EPERM) { // whoever may not make namespaces has a QEMU that may do no more than they may
			cmd = p.command(c)
			err = startIn(cmd, c.cgroups)
		}
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", Program, err)
	}
	if err := limit(p.pid, c.lockMemory); err != nil && !errors.Is(err, unix.ESRCH) { // one that has ended tells why by its exit
		killed := p.kill()
		<-p.done
		return nil, errors.Join(fmt.Errorf("limit %s: %w", Program, err), killed)
	}
	return p, nil
}

// command is QEMU's, not yet started: one that failed to start cannot be started again.
func (p *process) command(c child) *exec.Cmd {
	cmd := exec.Command(Program, c.args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stderr = &p.stderr
	cmd.ExtraFiles = c.inherited
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !c.detached {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	if c.user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.user), Gid: uint32(c.group)}
	}
	return cmd
}

// namespaces are those that QEMU has for itself. Its taps, its vhost device and the sockets of its ports come to it as descriptors of ours, so it needs no
// network: a guest that takes QEMU over finds there neither the node's abstract sockets nor its addresses.
func (c *child) namespaces() uintptr {
	if c.network {
		return unix.CLONE_NEWIPC
	}
	return unix.CLONE_NEWIPC | unix.CLONE_NEWNET
}

// kill ends the whole group. A group that is gone already is what was wanted.
func (p *process) kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := unix.Kill(-p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s: %w", Program, err)
	}
	return nil
}

// failure describes an exit nobody asked for, with the last lines QEMU wrote.
func (p *process) failure() error {
	if p.err == nil {
		return nil
	}
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%s: %w: %s", Program, p.err, said)
	}
	return fmt.Errorf("%s: %w", Program, p.err)
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-tailSize):]...)
	t.b = bytes.Clone(t.b[max(0, len(t.b)-tailSize):])
	return len(p), nil
}

// String is the tail on one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.FieldsFunc(string(t.b), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
