package sandbox

import (
	"context"
	"fmt"
	"io"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
)

// readSize is the most that one call reads, in bytes. What a process has written by then is what comes.
const readSize = 256 << 10

// Stdout copies a process's output to w until the process and all that inherited it have closed it. A stream that the policy keeps to itself ends at once.
func (p *Pod) Stdout(ctx context.Context, name Process, w io.Writer) error {
	return p.copyOut(ctx, name, w, "read output", func(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
		return p.client.ReadStdout(ctx, r)
	})
}

// Stderr is Stdout for the other stream. A process with a terminal has none.
func (p *Pod) Stderr(ctx context.Context, name Process, w io.Writer) error {
	return p.copyOut(ctx, name, w, "read error output", func(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
		return p.client.ReadStderr(ctx, r)
	})
}

func (p *Pod) copyOut(ctx context.Context, name Process, w io.Writer, what string,
	read func(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error),
) error {
	_, proc, err := p.process(name)
	if err != nil {
		return err
	}
	request := &api.ReadStreamRequest{ContainerId: proc.wire.Container, ExecId: proc.wire.ExecID(), Len: readSize}
	for {
		var data []byte
		err := p.stream(ctx, what, func(ctx context.Context) error {
			answer, err := read(ctx, request)
			data = answer.GetData()
			return err
		})
		if err != nil || len(data) == 0 {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
}

// stream is call without a limit of time: it waits for what processes do.
func (p *Pod) stream(ctx context.Context, what string, f func(context.Context) error) error {
	err := p.ask(ctx, f)
	switch {
	case err == nil:
		return nil
	case !p.alive():
		return p.ended(what)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return p.answer(what, err)
}

// Stdin copies r to a process's input, and ends that at the end of r. It returns early when the process takes no more. A read from r is not interrupted: the
// caller ends it.
func (p *Pod) Stdin(ctx context.Context, name Process, r io.Reader) error {
	_, proc, err := p.process(name)
	if err != nil {
		return err
	}
	wire := boot.Process{Container: proc.wire.Container, Exec: proc.wire.Exec}
	return p.stream(ctx, "write input", func(ctx context.Context) error { return p.client.CopyInput(ctx, wire, r) })
}

// CloseStdin ends a process's input.
func (p *Pod) CloseStdin(ctx context.Context, name Process) error {
	_, proc, err := p.process(name)
	if err != nil || proc.ended() {
		return err
	}
	return p.call(ctx, "close input", func(ctx context.Context) error {
		_, err := p.client.CloseStdin(ctx, &api.CloseStdinRequest{ContainerId: proc.wire.Container, ExecId: proc.wire.ExecID()})
		return err
	})
}
