package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/containerd/console"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// drainTime is how long output is still read after a process has ended (agent API contract 1.4).
const drainTime = 500 * time.Millisecond

func drainUntil() time.Time { return time.Now().Add(drainTime) }

// ErrNoStdin is a write to a process that has no standard input, or whose input was closed.
var ErrNoStdin = errors.New("standard input is closed")

// stdio is a process's standard streams: three pipes, one terminal, or /dev/null when the policy does not allow stdio.
type stdio struct {
	out, err *stream // nil: end of stream at once

	mu    sync.Mutex
	stdin io.WriteCloser
	tty   *os.File // the terminal's master: stdin and the source of out

	child  []*os.File // the process's ends, closed after the runtime has started it
	socket *runc.Socket
}

// newStdio prepares streams. The runtime hands the child's ends to the process.
func newStdio(allowed, terminal bool) (*stdio, error) {
	switch {
	case !allowed:
		return newNullStdio()
	case terminal:
		socket, err := runc.NewTempConsoleSocket()
		if err != nil {
			return nil, fmt.Errorf("make console socket: %w", err)
		}
		return &stdio{socket: socket}, nil
	}
	return newPipeStdio()
}

func newNullStdio() (*stdio, error) {
	s := &stdio{}
	for range 3 {
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			s.abort()
			return nil, err
		}
		s.child = append(s.child, f)
	}
	return s, nil
}

func newPipeStdio() (*stdio, error) {
	var ends []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range ends {
				f.Close()
			}
			return nil, fmt.Errorf("make stdio pipe: %w", err)
		}
		ends = append(ends, r, w)
	}
	return &stdio{
		child: []*os.File{ends[0], ends[3], ends[5]},
		stdin: ends[1],
		out:   newStream(ends[2]),
		err:   newStream(ends[4]),
	}, nil
}

// Set, Stdin, Stdout, Stderr, CloseAfterStart and Close make stdio a runc.IO.

// Set hands the process's ends to the runtime's command.
func (s *stdio) Set(cmd *exec.Cmd) {
	if len(s.child) == 3 {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.child[0], s.child[1], s.child[2]
	}
}

// Stdin is the agent's end of the process's input.
func (s *stdio) Stdin() io.WriteCloser { return s.stdin }

// Stdout is not offered as a reader: output is read through read, which loses nothing.
func (s *stdio) Stdout() io.ReadCloser { return nil }

// Stderr is not offered as a reader, like Stdout.
func (s *stdio) Stderr() io.ReadCloser { return nil }

// CloseAfterStart closes the process's ends in the agent, so that end of file is seen when the process is gone.
func (s *stdio) CloseAfterStart() error {
	for _, f := range s.child {
		f.Close()
	}
	s.child = nil
	return nil
}

// Close is the runtime's clean-up after a failure.
func (s *stdio) Close() error { s.abort(); return nil }

// attach takes the terminal's master from the runtime, when there is one.
func (s *stdio) attach(rows, columns uint) error {
	if s.socket == nil {
		return nil
	}
	defer s.closeSocket()
	tty, err := s.socket.ReceiveMaster()
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	if rows != 0 || columns != 0 {
		if err := tty.Resize(console.WinSize{Height: uint16(rows), Width: uint16(columns)}); err != nil {
			tty.Close()
			return fmt.Errorf("resize terminal: %w", err)
		}
	}
	return s.take(tty)
}

// take makes a terminal's master the process's streams. The descriptor is one that can be waited for: what a process wrote last lies in the terminal after its
// end, and a close, which is what ends a read of any other, would throw it away.
func (s *stdio) take(tty console.Console) error {
	defer tty.Close()
	fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("receive terminal: %w", err)
	}
	f := os.NewFile(uintptr(fd), "terminal")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tty, s.stdin, s.out = f, f, newStream(f)
	return nil
}

func (s *stdio) closeSocket() {
	if s.socket != nil {
		s.socket.Close()
		s.socket = nil
	}
}

// abort releases everything of a process that never started.
func (s *stdio) abort() {
	s.CloseAfterStart()
	s.closeSocket()
	s.closeStdin()
	for _, st := range []*stream{s.out, s.err} {
		if st != nil {
			st.discard()
		}
	}
}

func (s *stdio) closeStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin != nil && s.tty == nil {
		s.stdin.Close()
	}
	s.stdin = nil
}

// exited is called once the process has ended.
func (s *stdio) exited() {
	s.closeStdin()
	for _, st := range []*stream{s.out, s.err} {
		if st != nil {
			st.finish()
		}
	}
}

func (s *stdio) write(data []byte) (int, error) {
	s.mu.Lock()
	in := s.stdin
	s.mu.Unlock()
	if in == nil {
		return 0, ErrNoStdin
	}
	return in.Write(data)
}

func (s *stdio) resize(rows, columns uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty == nil {
		return errors.New("the process has no terminal")
	}
	conn, err := s.tty.SyscallConn() // Fd would make it wait for ever
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
	return errors.Join(err, failed)
}

func (s *stdio) read(ctx context.Context, stderr bool, max int) ([]byte, error) {
	st := s.out
	if stderr {
		st = s.err
	}
	if st == nil {
		return nil, nil
	}
	return st.read(ctx, max)
}
