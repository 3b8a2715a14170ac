package trace_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/journal"
	"github.com/cloister-cc/cloister/agent/rpc"
	"github.com/cloister-cc/cloister/shim/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector keeps what is posted to it.
type collector struct {
	mu    sync.Mutex
	spans []*tracepb.Span
	paths []string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = append(c.paths, r.URL.Path)
	for _, resource := range data.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

func setup(t *testing.T, endpoint string) (flush func() error) {
	t.Helper()
	shutdown, err := trace.Setup(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return shutdown(ctx)
	}
}

// serveOn runs a ttrpc server on a socket until the test ends, and gives a connection to it.
func serveOn(t *testing.T, srv *ttrpc.Server) net.Conn {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(context.Background(), l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// health answers Version, and keeps the metadata it saw; Check is a call without a span.
type health struct {
	seen ttrpc.MD
	next func(context.Context) error
}

func (h *health) Version(ctx context.Context, _ *api.CheckRequest) (*api.VersionCheckResponse, error) {
	h.seen, _ = ttrpc.GetMetadata(ctx)
	return &api.VersionCheckResponse{}, h.next(ctx)
}

func (h *health) Check(context.Context, *api.CheckRequest) (*api.HealthCheckResponse, error) {
	return &api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVING}, nil
}

func newHealthServer(t *testing.T, h *health, opts ...ttrpc.ServerOpt) *ttrpc.Server {
	t.Helper()
	srv, err := ttrpc.NewServer(opts...)
	if err != nil {
		t.Fatal(err)
	}
	api.RegisterHealthService(srv, h)
	return srv
}

// containerd -> shim -> agent is one trace: the shim's two spans hang below containerd's, and the agent is sent the shim's.
func TestSpansFromContainerdToAgent(t *testing.T) {
	var got collector
	sink := httptest.NewServer(&got)
	defer sink.Close()
	flush := setup(t, sink.URL)
	refusal := status.Error(codes.PermissionDenied, "CreateContainerRequest is blocked by policy: mount_device\npolicyDecision<c2VjcmV0>")
	agent := &health{next: func(context.Context) error { return refusal }}
	toAgent := ttrpc.NewClient(serveOn(t, newHealthServer(t, agent)), trace.ClientOptions()...)
	defer toAgent.Close()
	shim := &health{next: func(ctx context.Context) error {
		client := api.NewHealthClient(toAgent)
		if _, err := client.Check(ctx, &api.CheckRequest{}); err != nil {
			return err
		}
		_, err := client.Version(ctx, &api.CheckRequest{})
		return err
	}}
	toShim := ttrpc.NewClient(serveOn(t, newHealthServer(t, shim, ttrpc.WithUnaryServerInterceptor(trace.ServerInterceptor()))))
	defer toShim.Close()

	const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	ctx := ttrpc.WithMetadata(t.Context(), ttrpc.MD{"traceparent": {"00-" + traceID + "-" + parent + "-01"}})
	if _, err := api.NewHealthClient(toShim).Version(ctx, &api.CheckRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("got %v, want the agent's refusal", err)
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	byKind := map[tracepb.Span_SpanKind]*tracepb.Span{}
	for _, s := range got.spans {
		byKind[s.Kind] = s
		if hex.EncodeToString(s.TraceId) != traceID {
			t.Errorf("span %q: got trace %x, want containerd's", s.Name, s.TraceId)
		}
		if strings.Contains(s.GetStatus().GetMessage(), "policyDecision") {
			t.Errorf("span %q shows the policy's decision: %q", s.Name, s.Status.Message)
		}
	}
	server, client := byKind[tracepb.Span_SPAN_KIND_SERVER], byKind[tracepb.Span_SPAN_KIND_CLIENT]
	if len(got.spans) != 2 || server == nil || client == nil {
		t.Fatalf("got spans %v, want one of the server and one of the client", got.spans)
	}
	if hex.EncodeToString(server.ParentSpanId) != parent || !bytes.Equal(client.ParentSpanId, server.SpanId) {
		t.Errorf("got parents %x and %x, want %s and %x", server.ParentSpanId, client.ParentSpanId, parent, server.SpanId)
	}
	if client.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || !strings.Contains(client.Status.Message, "mount_device") {
		t.Errorf("got status %v, want the refusal's first line", client.Status)
	}
	if want := []string{"00-" + traceID + "-" + hex.EncodeToString(client.SpanId) + "-01"}; strings.Join(agent.seen["traceparent"], " ") != want[0] {
		t.Errorf("the agent was sent %v, want %v", agent.seen, want)
	}
	if got.paths[0] != "/v1/traces" {
		t.Errorf("got path %q, want /v1/traces", got.paths[0])
	}
}

func TestOffByDefault(t *testing.T) {
	setup(t, "")
	if opts := trace.ClientOptions(); opts != nil {
		t.Errorf("got %d client options, want none", len(opts))
	}
	h := &health{next: func(context.Context) error { return nil }}
	client := ttrpc.NewClient(serveOn(t, newHealthServer(t, h, ttrpc.WithUnaryServerInterceptor(trace.Interceptors{}.UnaryServerInterceptor()))),
		ttrpc.WithUnaryClientInterceptor(trace.Interceptors{}.UnaryClientInterceptor()))
	defer client.Close()
	if _, err := api.NewHealthClient(client).Version(t.Context(), &api.CheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if len(h.seen) != 0 {
		t.Errorf("got metadata %v, want none", h.seen)
	}
}

// The real agent's interceptor and gate take no notice of metadata, whatever it says.
func TestAgentIgnoresMetadata(t *testing.T) {
	ready := make(chan struct{})
	close(ready)
	srv, err := rpc.NewServer(&rpc.Config{
		Version: "test", Ready: ready, Gate: gate.New(gate.Options{}), Journal: journal.New(), Log: zap.NewNop(), Metrics: rpc.NewMetrics(),
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(serveOn(t, srv))
	defer client.Close()
	md := ttrpc.MD{"traceparent": {"00-garbage"}, "": {""}, "grpc-timeout": {"-1"}, "tracestate": {strings.Repeat("x", 64<<10)}}
	answer, err := api.NewHealthClient(client).Check(ttrpc.WithMetadata(t.Context(), md), &api.CheckRequest{})
	if err != nil || answer.Status != api.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v, want SERVING", answer, err)
	}
	_, err = api.NewAgentServiceClient(client).CreateSandbox(ttrpc.WithMetadata(t.Context(), md), &api.CreateSandboxRequest{})
	if err == nil {
		t.Error("a request before a policy was allowed")
	}
}

func TestSetupRefusesEndpoints(t *testing.T) {
	for _, endpoint := range []string{"127.0.0.1:4318", "unix:///x", "http://", "http://u:p@host", "http://host/?q", "http://host/#f", "http://[::1"} {
		if _, err := trace.Setup(t.Context(), endpoint); err == nil || !strings.Contains(err.Error(), "trace endpoint") {
			t.Errorf("%q: got %v, want an error", endpoint, err)
		}
	}
}

// A collector that hangs costs spans: calls go on, and the flush gives up with its context.
func TestCollectorThatHangs(t *testing.T) {
	release := make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer sink.Close()
	defer close(release)
	shutdown, err := trace.Setup(t.Context(), sink.URL)
	if err != nil {
		t.Fatal(err)
	}
	h := &health{next: func(context.Context) error { return nil }}
	client := ttrpc.NewClient(serveOn(t, newHealthServer(t, h)), trace.ClientOptions()...)
	defer client.Close()
	for range 2000 {
		if _, err := api.NewHealthClient(client).Version(t.Context(), &api.CheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := shutdown(ctx); err == nil {
		t.Error("got no error from a flush to a collector that hangs")
	}
}
