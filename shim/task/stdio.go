package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/fifo"
)

// stdio is where containerd wants a process's streams: paths of FIFOs or URIs, empty for none.
type stdio struct {
	stdin, stdout, stderr string
	terminal              bool
}

// streams are a process's open ends on the host. FIFOs are kept open for reading and writing both, so that neither a client that goes nor a containerd that
// restarts ends them.
type streams struct {
	stdout, stderr *output // never nil; without a destination what comes is discarded

	mu      sync.Mutex
	stdin   io.ReadCloser // nil: none, or not yet
	input   io.Closer     // our own writing end of stdin: while it is open, stdin does not end
	outputs []io.Closer   // in the order of opening
	logger  *logger       // of a binary:// log driver
}

// output is one destination, and counts what it took.
type output struct {
	w     io.Writer
	taken atomic.Int64 // bytes
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.taken.Add(int64(n))
	return n, err
}

// openStreams opens the outputs that s names. For a FIFO it waits until the other side has it open, as long as ctx allows. Standard input is for openInput, when
// the process is started: a client may see the end of its own input as soon as somebody reads, and knows to tell us by CloseIO only after the create.
func openStreams(ctx context.Context, namespace, id string, s stdio) (_ *streams, err error) {
	st := &streams{stdout: &output{w: io.Discard}, stderr: &output{w: io.Discard}}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if err := st.openOutputs(ctx, namespace, id, s); err != nil {
		return nil, err
	}
	return st, nil
}

func (st *streams) openOutputs(ctx context.Context, namespace, id string, s stdio) error {
	u, err := url.Parse(s.stdout)
	if err != nil {
		return fmt.Errorf("stdout: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	switch u.Scheme {
	case "", "fifo":
		if st.stdout.w, err = st.openOutput(ctx, s.stdout); err != nil {
			return err
		}
		if s.stderr == s.stdout && s.stdout != "" {
			st.stderr.w = st.stdout.w
			return nil
		}
		st.stderr.w, err = st.openOutput(ctx, s.stderr)
		return err
	case "file":
		if err := os.MkdirAll(filepath.Dir(u.Path), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(u.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		st.outputs = append(st.outputs, f)
		st.stdout.w, st.stderr.w = f, f // each write is appended as a whole
		return nil
	case "binary", "binary-v2":
		st.logger, err = startLogger(ctx, u, namespace, id)
		if err != nil {
			return fmt.Errorf("start log driver %q: %w", u.Path, err)
		}
		st.stdout.w, st.stderr.w = st.logger.stdout, st.logger.stderr
		return nil
	}
	return fmt.Errorf("stdout: got scheme %q, want a FIFO's path, file, binary or binary-v2: %w", u.Scheme, errdefs.ErrInvalidArgument)
}

// openOutput opens one destination: a FIFO, or a file that is there. The writing end comes first: it waits for a reader, so nothing can be written and lost
// before somebody reads.
func (st *streams) openOutput(ctx context.Context, path string) (io.Writer, error) {
	if u, err := url.Parse(path); err == nil && u.Scheme == "fifo" {
		path = u.Path
	}
	if path == "" {
		return io.Discard, nil
	}
	is, err := fifo.IsFifo(path)
	if err != nil {
		return nil, fmt.Errorf("open output %q: %w", path, err)
	}
	if !is {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, err
		}
		st.outputs = append(st.outputs, f)
		return f, nil
	}
	w, err := fifo.OpenFifo(ctx, path, syscall.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open output %q: %w", path, err)
	}
	st.outputs = append(st.outputs, w)
	r, err := fifo.OpenFifo(ctx, path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open output %q: %w", path, err)
	}
	st.outputs = append(st.outputs, r)
	return w, nil
}

// openInput opens standard input and a writing end of our own, which closeInput closes.
func (st *streams) openInput(ctx context.Context, path string) error {
	// The reading end opens in the background, when the writing end does. It must not have the call's context: that ends while the library may not have seen
	// yet that it is open, and would close it.
	r, err := fifo.OpenFifo(context.WithoutCancel(ctx), path, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open stdin %q: %w", path, err)
	}
	w, err := fifo.OpenFifo(ctx, path, syscall.O_WRONLY, 0)
	if err != nil {
		_ = r.Close()
		return fmt.Errorf("open stdin %q: %w", path, err)
	}
	st.mu.Lock()
	st.stdin, st.input = r, w
	st.mu.Unlock()
	return nil
}

// closeInput lets standard input end once its other writers have closed it: what they wrote before arrives.
func (st *streams) closeInput() error {
	st.mu.Lock()
	w := st.input
	st.input = nil
	st.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Close()
}

func (st *streams) source() io.ReadCloser {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.stdin
}

// endInput makes a copy of standard input return at once: nobody reads it any more.
func (st *streams) endInput() {
	if in := st.source(); in != nil {
		_ = in.Close()
	}
	_ = st.closeInput()
}

// close closes all ends. What is being written fails. It may be called more than once.
func (st *streams) close() {
	st.endInput()
	st.closeOutputs()
}

// closeOutputs lets the readers see the end. A log driver gets its time to finish.
func (st *streams) closeOutputs() {
	st.mu.Lock()
	outputs, logger := st.outputs, st.logger
	st.outputs, st.logger = nil, nil
	st.mu.Unlock()
	for _, c := range outputs {
		_ = c.Close()
	}
	if logger != nil {
		logger.end()
	}
}

// copies is the copying of a process's streams.
type copies struct {
	streams *streams
	out     chan struct{} // closed when both outputs have ended
}

// copyStreams begins to copy. What it starts, and counts in work, ends when the process's output has ended, the pod is gone, the streams are closed or ctx ends;
// input ends with endInput also.
func copyStreams(ctx context.Context, work *sync.WaitGroup, pod Pod, p *process) *copies {
	st := p.open()
	c := &copies{streams: st, out: make(chan struct{})}
	var outputs sync.WaitGroup
	outputs.Go(func() { report(ctx, p, "stdout", pod.Stdout(ctx, p.name, st.stdout)) })
	if !p.stdio.terminal {
		outputs.Go(func() { report(ctx, p, "stderr", pod.Stderr(ctx, p.name, st.stderr)) })
	}
	if in := st.source(); in != nil {
		work.Go(func() {
			report(ctx, p, "stdin", pod.Stdin(ctx, p.name, in))
			st.endInput()
		})
	}
	work.Go(func() {
		outputs.Wait()
		st.closeOutputs()
		close(c.out)
	})
	return c
}

// drain waits for the end of output, at most for limit. A reader that takes nothing for stall holds nobody up any longer.
func (c *copies) drain(ctx context.Context, stall, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for taken := c.taken(); ; {
		slow := time.NewTimer(stall)
		select {
		case <-c.out:
			slow.Stop()
			return
		case <-ctx.Done():
			slow.Stop()
			return
		case <-slow.C:
		}
		now := c.taken()
		if now == taken {
			return
		}
		taken = now
	}
}

func (c *copies) taken() int64 {
	return c.streams.stdout.taken.Load() + c.streams.stderr.taken.Load()
}

// report logs why a stream ended early, unless its process or its reader has gone.
func report(ctx context.Context, p *process, stream string, err error) {
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, os.ErrClosed), errors.Is(err, fifo.ErrReadClosed), errors.Is(err, fifo.ErrWriteClosed):
	case p.state() == task.Status_STOPPED:
	default:
		p.log(ctx).WithError(err).WithField("stream", stream).Warn("copy stream")
	}
}
