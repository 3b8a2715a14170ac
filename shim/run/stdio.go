package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/agent/api"
)

const (
	// readSize is what shims of this API ask for; it is also one frame of the virtio-serial session.
	readSize = 32 << 10
	// maxLine is the longest line that is kept together when several containers share one output.
	maxLine = 16 << 10
)

// Process names one process in the sandbox: a container's first one when Exec is empty.
type Process struct {
	Container string
	Exec      string
}

// execID is the process's name on the wire: the first process of a container is called like the container.
func (p Process) execID() string {
	if p.Exec == "" {
		return p.Container
	}
	return p.Exec
}

type readCall func(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error)

// CopyOutput copies a process's two output streams until both have ended. An empty answer is the end of a stream; so is a
// stream that the policy keeps to itself.
func (c *Client) CopyOutput(ctx context.Context, p Process, stdout, stderr io.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return copyStream(ctx, c.ReadStdout, p, stdout) })
	group.Go(func() error { return copyStream(ctx, c.ReadStderr, p, stderr) })
	return group.Wait()
}

func copyStream(ctx context.Context, read readCall, p Process, to io.Writer) error {
	request := &api.ReadStreamRequest{ContainerId: p.Container, ExecId: p.execID(), Len: readSize}
	for {
		answer, err := read(ctx, request)
		if err != nil {
			return err
		}
		if len(answer.Data) == 0 {
			return nil
		}
		if _, err := to.Write(answer.Data); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
}

// CopyInput sends everything from in to a process and then ends its standard input. It returns early when the process no
// longer reads; the caller ends it otherwise by making in return.
func (c *Client) CopyInput(ctx context.Context, p Process, in io.Reader) error {
	buffer := make([]byte, readSize)
	for {
		n, err := in.Read(buffer)
		if n > 0 {
			if sendErr := c.writeAll(ctx, p, buffer[:n]); sendErr != nil {
				return sendErr
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read input: %w", err)
		}
		_, err = c.CloseStdin(ctx, &api.CloseStdinRequest{ContainerId: p.Container, ExecId: p.execID()})
		return err
	}
}

func (c *Client) writeAll(ctx context.Context, p Process, data []byte) error {
	for len(data) > 0 {
		answer, err := c.WriteStdin(ctx, &api.WriteStreamRequest{ContainerId: p.Container, ExecId: p.execID(), Data: data})
		if err != nil {
			return err
		}
		if answer.Len == 0 || int(answer.Len) > len(data) {
			return fmt.Errorf("write input: agent took %d of %d bytes", answer.Len, len(data))
		}
		data = data[answer.Len:]
	}
	return nil
}

// LineMux merges the output of several containers into one writer without mixing their lines.
type LineMux struct {
	mu  sync.Mutex
	out io.Writer
}

// NewLineMux writes to out, one whole line at a time.
func NewLineMux(out io.Writer) *LineMux { return &LineMux{out: out} }

// Writer returns a writer whose lines all start with prefix. Close writes what is left of an unfinished line.
func (m *LineMux) Writer(prefix string) io.WriteCloser { return &lineWriter{mux: m, prefix: prefix} }

type lineWriter struct {
	mux    *LineMux
	prefix string
	rest   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		switch {
		case end < 0 && len(w.rest) < maxLine:
			return len(p), nil
		case end < 0 || end > maxLine:
			end = maxLine
			if err := w.emit(w.rest[:end]); err != nil {
				return 0, err
			}
		default:
			if err := w.emit(w.rest[:end]); err != nil {
				return 0, err
			}
			end++
		}
		w.rest = append(w.rest[:0], w.rest[end:]...)
	}
}

func (w *lineWriter) Close() error {
	if len(w.rest) == 0 {
		return nil
	}
	err := w.emit(w.rest)
	w.rest = nil
	return err
}

func (w *lineWriter) emit(line []byte) error {
	whole := make([]byte, 0, len(w.prefix)+len(line)+1)
	whole = append(whole, w.prefix...)
	whole = append(whole, bytes.TrimSuffix(line, []byte("\r"))...)
	whole = append(whole, '\n')
	w.mux.mu.Lock()
	defer w.mux.mu.Unlock()
	_, err := w.mux.out.Write(whole)
	return err
}

// ProcessIO is where a process's standard streams go. A nil Stdin is an empty one.
type ProcessIO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}
