package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecSync runs a command to its end, as a probe does.
func (p *Pod) ExecSync(ctx context.Context, container string, args ...string) (stdout, stderr string, code int, err error) {
	timeout := 2 * time.Minute
	out, errOut, err := p.node.Runtime.ExecSync(ctx, p.Created[container], args, timeout)
	// The client turns a status other than 0 into an error of this kind.
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return string(out), string(errOut), exit.ExitStatus(), nil
	}
	return string(out), string(errOut), 0, err
}

// Streams are the ends of a streaming exec or attach. On a terminal the end of Stdin is not passed on.
type Streams struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	TTY    bool
	Sizes  remotecommand.TerminalSizeQueue
}

// Exec runs a command through CRI's streaming server and returns its exit code, as `kubectl exec` does.
func (p *Pod) Exec(ctx context.Context, container string, s Streams, args ...string) (int, error) {
	answer, err := p.node.Runtime.Exec(ctx, &cri.ExecRequest{
		ContainerId: p.Created[container], Cmd: args, Tty: s.TTY, Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil,
	})
	if err != nil {
		return 0, err
	}
	return stream(ctx, answer.Url, s)
}

// Attach attaches to a container's first process until that ends or the context does.
func (p *Pod) Attach(ctx context.Context, container string, s Streams) error {
	answer, err := p.node.Runtime.Attach(ctx, &cri.AttachRequest{
		ContainerId: p.Created[container], Tty: s.TTY, Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil,
	})
	if err != nil {
		return err
	}
	_, err = stream(ctx, answer.Url, s)
	return err
}

func stream(ctx context.Context, address string, s Streams) (int, error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, err
	}
	if s.TTY && s.Stdin != nil {
		typed := &keyboard{typed: s.Stdin, gone: make(chan struct{})}
		defer close(typed.gone)
		s.Stdin = typed
	}
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		return 0, err
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Tty: s.TTY, TerminalSizeQueue: s.Sizes})
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// Forward forwards a port of this machine to one of the pod, as `kubectl port-forward` does, until the context ends. It returns the local address.
func (p *Pod) Forward(ctx context.Context, port int) (string, error) {
	answer, err := p.node.Runtime.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: p.ID, Port: []int32{int32(port)}})
	if err != nil {
		return "", err
	}
	u, err := url.Parse(answer.Url)
	if err != nil {
		return "", err
	}
	tripper, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	if err != nil {
		return "", err
	}
	ready := make(chan struct{})
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, http.MethodPost, u),
		[]string{fmt.Sprintf("0:%d", port)}, ctx.Done(), ready, io.Discard, io.Discard)
	if err != nil {
		return "", err
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		return "", fmt.Errorf("forward port %d: %w", port, err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), nil
}

// keyboard is a terminal's input: it does not end, there is only nothing more typed. containerd takes its end for the end of the session and drops the output.
type keyboard struct {
	typed io.Reader
	gone  chan struct{}
}

func (k *keyboard) Read(p []byte) (int, error) {
	n, err := k.typed.Read(p)
	if err == io.EOF && n == 0 {
		<-k.gone
	}
	return n, err
}
