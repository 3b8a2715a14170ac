package trace

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/otelttrpc"
	"github.com/containerd/ttrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/status"
)

// Service is the name that spans have in a collector.
const Service = "containerd-shim-cloister-v2"

const (
	queueSpans  = 512 // spans kept while the collector does not answer; more are dropped
	batchSpans  = 64
	batchDelay  = 2 * time.Second
	attributes  = 16  // of a span; more are dropped
	valueLength = 256 // bytes of an attribute's value
)

// on says that Setup was given an endpoint.
var on atomic.Bool

// Setup makes spans of this process go to a collector: endpoint is the base URL of OTLP over HTTP, such as "http://127.0.0.1:4318"; a path of its own replaces
// "/v1/traces". An empty endpoint leaves tracing off. The returned function sends what is still queued and must be called once; it gives up with its context.
// A collector that is not there costs spans, nothing else.
func Setup(ctx context.Context, endpoint string) (func(context.Context) error, error) {
	if endpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	target, err := tracesURL(endpoint)
	if err != nil {
		return nil, fmt.Errorf("trace endpoint %q: %w", endpoint, err)
	}
	limits := sdktrace.NewSpanLimits()
	limits.AttributeCountLimit, limits.AttributeValueLengthLimit = attributes, valueLength
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", Service), attribute.Int("process.pid", os.Getpid()))),
		sdktrace.WithBatcher(newExporter(target),
			sdktrace.WithMaxQueueSize(queueSpans), sdktrace.WithMaxExportBatchSize(batchSpans), sdktrace.WithBatchTimeout(batchDelay)),
	)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.L.WithError(err).Debug("spans were not sent") }))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	on.Store(true)
	return func(ctx context.Context) error {
		on.Store(false)
		return provider.Shutdown(ctx)
	}, nil
}

// tracesURL is where spans are posted.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("got scheme %q, want http or https (the form is http://127.0.0.1:4318)", u.Scheme)
	case u.Host == "":
		return "", errors.New("got no host (the form is http://127.0.0.1:4318)")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("got a user, a query or a fragment, want none")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// ClientOptions give a ttrpc client a span a call, waits, streams and health checks excepted, and send its traceparent along; there are none while tracing is off.
func ClientOptions() []ttrpc.ClientOpts {
	if !on.Load() {
		return nil
	}
	return []ttrpc.ClientOpts{ttrpc.WithChainUnaryClientInterceptor(except(otelttrpc.UnaryClientInterceptor()), answered)}
}

// untraced are calls without a span: health checks come every few seconds and say nothing, waits and streams last as long as a process does.
var untraced = map[string]bool{"Check": true, "WaitProcess": true, "ReadStdout": true, "ReadStderr": true, "WriteStdin": true, "GetOOMEvent": true}

func except(traced ttrpc.UnaryClientInterceptor) ttrpc.UnaryClientInterceptor {
	return func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, call ttrpc.Invoker) error {
		if untraced[path.Base(info.FullMethod)] {
			return call(ctx, req, resp)
		}
		return traced(ctx, req, resp, info, call)
	}
}

// answered makes an answer that is an error the error of the call, so that the span above it sees it: ttrpc itself does so only after all interceptors.
func answered(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, call ttrpc.Invoker) error {
	if err := call(ctx, req, resp); err != nil {
		return err
	}
	return status.ErrorProto(resp.GetStatus())
}

// ServerInterceptor gives each call that containerd makes a span, a child of containerd's own where it sends one. While tracing is off it only calls on.
func ServerInterceptor() ttrpc.UnaryServerInterceptor {
	traced := sync.OnceValue(func() ttrpc.UnaryServerInterceptor { return otelttrpc.UnaryServerInterceptor() })
	return func(ctx context.Context, decode ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		if !on.Load() {
			return method(ctx, decode)
		}
		return traced()(ctx, decode, info, method)
	}
}

// Interceptors is what containerd's shim package looks for in a plugin of type io.containerd.ttrpc.v1 with the id "otelttrpc": the spans of containerd's
// calls to this shim, and of the events that the shim publishes.
type Interceptors struct{}

// UnaryServerInterceptor is ServerInterceptor.
func (Interceptors) UnaryServerInterceptor() ttrpc.UnaryServerInterceptor { return ServerInterceptor() }

// UnaryClientInterceptor is the interceptor of ClientOptions; while tracing is off it only calls on.
func (Interceptors) UnaryClientInterceptor() ttrpc.UnaryClientInterceptor {
	traced := sync.OnceValue(func() ttrpc.UnaryClientInterceptor { return otelttrpc.UnaryClientInterceptor() })
	return func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, call ttrpc.Invoker) error {
		if !on.Load() {
			return call(ctx, req, resp)
		}
		return traced()(ctx, req, resp, info, call)
	}
}
