// Package ask is a container that asks the agent's broker for evidence, in this process: both ends of the benchmark use it, the one on the machine and the one
// in the guest.
package ask

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// Container is where a container's processes ask.
type Container struct {
	socket string
	broker *attest.Broker
}

// Listen makes a broker over the device, with a policy and an event log, and the socket of a container of six layers in dir.
func Listen(ctx context.Context, device attest.Reporter, policy, dir string) (*Container, error) {
	bound := &attest.Policy{Text: []byte(policy), Carrier: snp.CarrierPolicy, Digest: [32]byte{1}}
	broker := attest.New(device, attest.Options{
		Policy: func() *attest.Policy { return bound }, Events: eventlog.New(eventlog.Entry{Version: "bench"}, eventlog.Limits{}),
		Rate: 1e9, Burst: 1 << 30, Requests: 1e9, RequestBurst: 1 << 30, // what is measured is not how it says no
	})
	path, _, err := broker.Listen(ctx, attest.Identity{
		Key: strings.Repeat("a", 64), Cgroup: "/", // whatever group this process is in
		Layers: make([][32]byte, 6), Args: identity.ArgsDigest([]string{"/bin/first-byte"}),
		Entries: func() ([]identity.Entry, error) { return []identity.Entry{{Index: 3}}, nil },
	}, filepath.Join(dir, "a"))
	return &Container{path, broker}, err
}

// Close ends the broker.
func (c *Container) Close() { c.broker.Close() }

// Conn is one connection of the container. It speaks just enough HTTP that its own time does not count.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects.
func (c *Container) Dial(ctx context.Context) (*Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	return &Conn{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

// Ask asks for evidence over the n-th nonce and reads all of it.
func (c *Conn) Ask(n int) error {
	body := fmt.Sprintf(`{"nonce":"%064x"}`, n+1)
	_, err := fmt.Fprintf(c.conn, "POST /v1/evidence HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return err
	}
	status, length := "", -1
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		switch name, value, _ := strings.Cut(line, ": "); {
		case status == "":
			status = line
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.Atoi(value); err != nil {
				return err
			}
		}
		if line == "" {
			break
		}
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200") || length < 0 {
		return fmt.Errorf("evidence: got status %q and length %d", status, length)
	}
	_, err = c.in.Discard(length)
	return err
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }
