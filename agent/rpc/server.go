package rpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/journal"
	"github.com/cloister-cc/cloister/agent/network"
	"github.com/cloister-cc/cloister/agent/sandbox"
)

// maxParts is how many messages and list entries a request may have; a pod's largest has some hundreds.
const maxParts = 20000

// maxActive is how many requests may be under way: reads and waits of every process of a full pod, with room to spare.
const maxActive = 4096

// maxDepth is the nesting that a message may have; Kata's deepest has seven.
const maxDepth = 16

// Config holds what the service is made of. The agent answers before everything is in place (a module takes longer to load
// than a question to answer): the fields after Ready are read only once it is closed.
type Config struct {
	Version string
	Init    bool // the agent is PID 1
	Gate    *gate.Gate
	Journal *journal.Journal
	Log     *zap.Logger
	Metrics *Metrics
	// Ready is closed when the rest is in place. All but health and guest details waits for it.
	Ready <-chan struct{}
	// Asked is called when the first answer is made, or the first request waits for Ready: from then on the rest is worth its time. It may be called
	// often.
	Asked func()

	Sandbox *sandbox.Sandbox
	Network *network.Network
	Staging sandbox.Staging
	// Evidence makes a bundle over a nonce; nil without a report device.
	Evidence func(ctx context.Context, nonce []byte) ([]byte, error)
	// Bound is called once the policy is bound.
	Bound func()
}

// Service answers all three services.
type Service struct {
	cfg    *Config
	panics atomic.Uint64
	active atomic.Int64

	decoding sync.Mutex
}

// NewServer makes the ttrpc server with every service registered behind the gate.
func NewServer(cfg *Config) (*ttrpc.Server, error) {
	s := &Service{cfg: cfg}
	srv, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(s.intercept))
	if err != nil {
		return nil, err
	}
	api.RegisterAgentServiceService(srv, s)
	api.RegisterHealthService(srv, health{s})
	api.RegisterAgentService(srv, own{s})
	return srv, nil
}

// intercept is the one way into every handler.
func (s *Service) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, handler ttrpc.Method) (resp any, err error) {
	start := time.Now()
	method := trimSlash(info.FullMethod)
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			s.cfg.Log.Error("panic in a handler", zap.String("rpc", method), zap.Any("panic", p), zap.Stack("stack"))
			err = status.Error(codes.Internal, "the request failed in the agent")
		}
		err = asStatus(err)
		s.cfg.Metrics.observe(method, status.Code(err), time.Since(start))
		s.log(method, err, time.Since(start))
	}()
	if s.active.Add(1) > maxActive {
		s.active.Add(-1)
		return nil, status.Error(codes.ResourceExhausted, "too many requests are under way")
	}
	defer s.active.Add(-1)
	// An initdata disk may still be on its way to being bound: who needs a policy waits for that before the gate looks.
	if gate.NeedsWhole(method) {
		s.asked()
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	defer s.asked()
	if _, err := s.cfg.Gate.Admit(method); err != nil {
		return nil, err
	}
	return handler(ctx, func(v any) error { return s.decode(unmarshal, v) })
}

// decode reads a request. A frame of 4 MiB can decode to a hundred times that: one is decoded at a time, and one with too many parts is let go
// before the next.
func (s *Service) decode(unmarshal ttrpc.Unmarshaler, v any) error {
	s.decoding.Lock()
	defer s.decoding.Unlock()
	m, ok := v.(proto.Message)
	if !ok {
		return status.Error(codes.Internal, "the request is not a message")
	}
	err := unmarshal(v)
	if err != nil {
		err = status.Error(codes.InvalidArgument, "the request does not decode")
	} else {
		left := maxParts
		err = checkMessage(m.ProtoReflect(), 0, &left)
	}
	if err != nil {
		proto.Reset(m)
	}
	return err
}

func (s *Service) asked() {
	if s.cfg.Asked != nil {
		s.cfg.Asked()
	}
}

// wait waits until the agent is whole.
func (s *Service) wait(ctx context.Context) error {
	select {
	case <-s.cfg.Ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func trimSlash(s string) string {
	if len(s) > 0 && s[0] == '/' {
		return s[1:]
	}
	return s
}

// log writes one line a call: reads of streams and health checks only when they fail. It never holds an error text, which may
// quote what the host sent.
func (s *Service) log(method string, err error, d time.Duration) {
	code := status.Code(err)
	switch code {
	case codes.OK:
		switch method {
		case "grpc.AgentService/ReadStdout", "grpc.AgentService/ReadStderr", "grpc.AgentService/WriteStdin", "grpc.Health/Check":
			return
		}
		s.cfg.Log.Info("call", zap.String("rpc", method), zap.Duration("duration", d))
	case codes.PermissionDenied:
		s.cfg.Log.Warn("call refused", zap.String("rpc", method), zap.Duration("duration", d))
	default:
		s.cfg.Log.Info("call failed", zap.String("rpc", method), zap.Stringer("code", code), zap.Duration("duration", d))
	}
}

// asStatus gives errors that have no status of their own one that says no more than it should.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return status.Error(codes.Canceled, "the client went away")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the request took too long")
	}
	return status.Error(codes.Internal, err.Error())
}

// checkMessage refuses fields that the agent does not know, at any depth: what is not understood must not be passed over
// (docs/architecture.md).
func checkMessage(m protoreflect.Message, depth int, left *int) error {
	if depth > maxDepth {
		return status.Error(codes.InvalidArgument, "the request is nested too deeply")
	}
	if *left--; *left < 0 {
		return status.Errorf(codes.InvalidArgument, "the request has more than %d parts", maxParts)
	}
	if len(m.GetUnknown()) > 0 {
		return status.Errorf(codes.InvalidArgument, "%s holds a field that this agent does not know", m.Descriptor().FullName())
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() == nil:
			if *left -= v.List().Len(); *left < 0 {
				err = status.Errorf(codes.InvalidArgument, "the request has more than %d parts", maxParts)
			}
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
				err = checkMessage(e.Message(), depth+1, left)
				return err == nil
			})
		case f.IsList() && f.Message() != nil && !f.IsMap():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = checkMessage(v.List().Get(i).Message(), depth+1, left)
			}
		case f.Message() != nil && !f.IsMap():
			err = checkMessage(v.Message(), depth+1, left)
		}
		return err == nil
	})
	return err
}
