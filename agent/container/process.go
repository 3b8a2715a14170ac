package container

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Process is one init or exec process that the runtime has set up.
type Process struct {
	Args []string // what it was started with; a signal's decision needs it

	pid    int
	pidfd  *os.File // keeps the process's identity: a pid may be reused, a pidfd is not
	io     *stdio
	done   chan struct{}
	status int32
}

func newProcess(pid int, exit Exit, io *stdio, args []string) *Process {
	p := &Process{Args: args, pid: pid, io: io, done: make(chan struct{})}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	go func() {
		status, err := exit.Wait(context.Background())
		p.status = exitCode(status, err)
		io.exited()
		close(p.done)
	}()
	return p
}

// exitCode is the shell's convention: the exit code, or 128 and the signal's number.
func exitCode(s unix.WaitStatus, err error) int32 {
	switch {
	case err != nil:
		return 255
	case s.Signaled():
		return 128 + int32(s.Signal())
	}
	return int32(s.ExitStatus())
}

// Pid is the process's id in the guest.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns the exit code once the process has ended: 128 and the signal's number when a signal ended it.
func (p *Process) Wait(ctx context.Context) (int32, error) {
	select {
	case <-p.done:
		return p.status, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Signal sends a signal to the process, and to no other that may have got its number since.
func (p *Process) Signal(sig unix.Signal) error {
	if p.pidfd == nil {
		return unix.ESRCH
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return unix.ESRCH
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return unix.ESRCH
	}
	if sendErr != nil && !errors.Is(sendErr, unix.ESRCH) {
		return fmt.Errorf("send signal %d: %w", sig, sendErr)
	}
	return sendErr
}

// Read returns up to max bytes of output; nothing and no error is the end of the stream.
func (p *Process) Read(ctx context.Context, stderr bool, max int) ([]byte, error) {
	return p.io.read(ctx, stderr, max)
}

// Write gives bytes to the process's input.
func (p *Process) Write(data []byte) (int, error) { return p.io.write(data) }

// CloseStdin ends the process's input.
func (p *Process) CloseStdin() { p.io.closeStdin() }

// Resize sets the terminal's size.
func (p *Process) Resize(rows, columns uint16) error { return p.io.resize(rows, columns) }

// Release frees what the process holds in the agent; it must have ended or never have run.
func (p *Process) Release() {
	p.io.abort()
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

// NewProcess describes a process of a runtime that is not crun, without streams; tests of what lies above use it.
func NewProcess(pid int, exit Exit, args []string) *Process {
	return newProcess(pid, exit, &stdio{}, args)
}
