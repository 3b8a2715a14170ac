package boot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/agent/api"
)

// readSize is what shims of this API ask for; it is also one frame of the virtio-serial session.
const readSize = 32 << 10

type readCall func(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error)

// CopyOutput copies a process's two output streams until both have ended. An empty answer is the end of a stream; so is a
// stream that the policy keeps to itself.
func (c *Client) CopyOutput(ctx context.Context, p Process, stdout, stderr io.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.CopyStdout(ctx, p, stdout) })
	group.Go(func() error { return c.CopyStderr(ctx, p, stderr) })
	return group.Wait()
}

// CopyStdout is CopyOutput for standard output alone; with a terminal there is no other.
func (c *Client) CopyStdout(ctx context.Context, p Process, to io.Writer) error {
	return copyStream(ctx, c.ReadStdout, p, to)
}

// CopyStderr is CopyOutput for standard error alone.
func (c *Client) CopyStderr(ctx context.Context, p Process, to io.Writer) error {
	return copyStream(ctx, c.ReadStderr, p, to)
}

func copyStream(ctx context.Context, read readCall, p Process, to io.Writer) error {
	request := &api.ReadStreamRequest{ContainerId: p.Container, ExecId: p.ExecID(), Len: readSize}
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
		_, err = c.CloseStdin(ctx, &api.CloseStdinRequest{ContainerId: p.Container, ExecId: p.ExecID()})
		return err
	}
}

func (c *Client) writeAll(ctx context.Context, p Process, data []byte) error {
	for len(data) > 0 {
		answer, err := c.WriteStdin(ctx, &api.WriteStreamRequest{ContainerId: p.Container, ExecId: p.ExecID(), Data: data})
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
