package boot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strings"

	"github.com/cloister-cc/cloister/agent/api"
)

// Process names one process in the sandbox: a container's first one when Exec is empty.
type Process struct {
	Container string
	Exec      string
}

// ExecID is the process's name on the wire: the first process of a container is called like the container.
func (p Process) ExecID() string {
	if p.Exec == "" {
		return p.Container
	}
	return p.Exec
}

// ProcessIO is where a process's standard streams go. A nil Stdin is an empty one.
type ProcessIO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Wait waits for a process and returns its status: the exit code, or 128 and the signal.
func (c *Client) Wait(ctx context.Context, p Process) (int, error) {
	answer, err := c.WaitProcess(ctx, &api.WaitProcessRequest{ContainerId: p.Container, ExecId: p.ExecID()})
	if err != nil {
		return 0, err
	}
	return int(answer.Status), nil
}

// Exec runs one more process in a container and waits for it. The process struct says all that the policy judges.
func (c *Client) Exec(ctx context.Context, container string, process *api.Process, stdio ProcessIO) (int, error) {
	p := Process{Container: container, Exec: NewID()}
	_, err := c.ExecProcess(ctx, &api.ExecProcessRequest{ContainerId: container, ExecId: p.Exec, Process: process})
	if err != nil {
		return 0, err
	}
	input := stdio.Stdin
	if input == nil {
		input = strings.NewReader("")
	}
	inputCtx, stopInput := context.WithCancel(ctx)
	defer stopInput()
	// Not waited for: a read from a terminal cannot be interrupted. That input is refused or no longer read is not the
	// command's failure; its exit code is.
	go c.CopyInput(inputCtx, p, input)
	if err := c.CopyOutput(ctx, p, stdio.Stdout, stdio.Stderr); err != nil {
		return 0, err
	}
	return c.Wait(ctx, p)
}

// NewID makes an id of the form container runtimes use, 64 hex digits, which the agent takes as it is.
func NewID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
