package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/containerd/ttrpc"
	"github.com/mdlayher/vsock"

	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/agent/boot"
)

// errTransport marks that there is nothing to serve on.
var errTransport = errors.New("no transport")

const (
	portName  = "cloister.agent"
	ports     = 4
	vsockPort = 1024
)

// opener opens one listener; it may wait for its device.
type opener func(ctx context.Context) (net.Listener, error)

// openers returns one opener for each listener that an address stands for.
func openers(addr string) ([]opener, error) {
	if addr == "" || addr == boot.AutoServerAddr {
		if session.Present() {
			return portOpeners(portName), nil
		}
		return []opener{vsockOpener(vsockPort)}, nil
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: address: %w", errTransport, err)
	}
	switch u.Scheme {
	case "virtio-serial":
		return portOpeners(u.Host), nil
	case "vsock":
		port, err := strconv.ParseUint(u.Port(), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: vsock port: %w", errTransport, err)
		}
		return []opener{vsockOpener(uint32(port))}, nil
	case "unix":
		return []opener{func(context.Context) (net.Listener, error) { return net.Listen("unix", u.Host+u.Path) }}, nil
	}
	return nil, fmt.Errorf("%w: scheme %q is not known", errTransport, u.Scheme)
}

// portOpeners serve the ports NAME.0 to NAME.3. A host need not have all: a port is served once it is announced.
func portOpeners(name string) []opener {
	var out []opener
	for i := range ports {
		out = append(out, func(ctx context.Context) (net.Listener, error) {
			p, err := session.OpenPort(ctx, name+"."+strconv.Itoa(i))
			if err != nil {
				return nil, err
			}
			return session.Listen(p), nil
		})
	}
	return out
}

func vsockOpener(port uint32) opener {
	return func(context.Context) (net.Listener, error) {
		if os.Getpid() == 1 {
			if err := boot.LoadModule("vmw_vsock_virtio_transport"); err != nil {
				return nil, err
			}
		}
		return vsock.Listen(port, nil)
	}
}

// serveOn opens a listener and serves on it until either ends.
func (a *agent) serveOn(ctx context.Context, open opener) error {
	l, err := open(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errTransport, err)
	}
	if err := a.server.Serve(ctx, l); !errors.Is(err, ttrpc.ErrServerClosed) {
		return err
	}
	return nil
}
