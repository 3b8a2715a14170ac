package boot

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/cloister-cc/cloister/agent/api"
)

// checkTimeout is how long a booted agent may take to answer its first Check; shims of the same API use the same limit.
const checkTimeout = 30 * time.Second

// Client is the agent's three services over one connection. It adds nothing to the requests: tests send through it what an
// adversarial host would.
type Client struct {
	api.AgentServiceService
	Health   api.HealthService
	Cloister api.AgentService

	ttrpc *ttrpc.Client
	once  sync.Once
	done  chan struct{}
}

// NewClient takes over a connection to the agent. Options add what ttrpc offers, an interceptor for one; the word of the connection's end is Done's
// alone.
func NewClient(conn net.Conn, opts ...ttrpc.ClientOpts) *Client {
	c := &Client{done: make(chan struct{})}
	ended := ttrpc.WithOnClose(func() { c.once.Do(func() { close(c.done) }) })
	c.ttrpc = ttrpc.NewClient(conn, append(slices.Clone(opts), bounded(), ended)...)
	c.AgentServiceService = api.NewAgentServiceClient(c.ttrpc)
	c.Health = api.NewHealthClient(c.ttrpc)
	c.Cloister = api.NewAgentClient(c.ttrpc)
	return c
}

// TTRPC gives access below the typed services: methods nobody knows, payloads that are no messages.
func (c *Client) TTRPC() *ttrpc.Client { return c.ttrpc }

// Done is closed when the connection has ended, by either side.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection and waits until its reader is gone.
func (c *Client) Close() error {
	err := c.ttrpc.Close()
	<-c.done
	return err
}

// Check asks whether the agent serves.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	answer, err := c.Health.Check(ctx, &api.CheckRequest{})
	if err != nil {
		return fmt.Errorf("check agent: %w", err)
	}
	if answer.Status != api.HealthCheckResponse_SERVING {
		return fmt.Errorf("check agent: status got %v, want %v", answer.Status, api.HealthCheckResponse_SERVING)
	}
	return nil
}
