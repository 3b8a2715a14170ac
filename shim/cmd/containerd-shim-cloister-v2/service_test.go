package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// taker is containerd's events service.
type taker struct{ topics chan string }

func (k taker) Forward(_ context.Context, r *eventsapi.ForwardRequest) (*emptypb.Empty, error) {
	k.topics <- r.Envelope.Namespace + " " + r.Envelope.Topic + " " + r.Envelope.Event.TypeUrl
	return &emptypb.Empty{}, nil
}

func (k taker) serve(t *testing.T, path string) *ttrpc.Server {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	eventsapi.RegisterTTRPCEventsService(server, k)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(context.Background(), l) }()
	t.Cleanup(func() { server.Close() })
	return server
}

// An event finds containerd again after a restart: an attempt that meets a broken connection makes the next one possible.
func TestPublisherOutlivesContainerd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	t.Setenv("TTRPC_ADDRESS", path)
	p, err := newPublisher("ns")
	if err != nil {
		t.Fatal(err)
	}
	defer p.client.Close()
	exit := &events.TaskExit{ContainerID: "c"}
	k := taker{make(chan string, 8)}
	server := k.serve(t, path)
	const want = "ns /tasks/exit containerd.events.TaskExit"
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for err = p.send(ctx, "/tasks/exit", exit); err != nil && ctx.Err() == nil; {
			err = p.send(ctx, "/tasks/exit", exit)
		}
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got := <-k.topics; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		server = k.serve(t, path)
	}
}
