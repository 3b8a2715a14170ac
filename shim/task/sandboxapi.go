package task

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

// The names in containerd's sandbox API: of a CRI pod's configuration, of a specification, and of the two states.
const (
	podConfigURL  = "runtime.v1.PodSandboxConfig"
	specURL       = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
	stateReady    = "SANDBOX_READY"
	stateNotReady = "SANDBOX_NOTREADY"
)

// answerGrace is how long the last answer may take to be written.
const answerGrace = time.Second

// sandboxService serves containerd.runtime.sandbox.v1: the pod has no container of its own then.
type sandboxService struct{ s *Service }

// apiPod is a pod between CreateSandbox and ShutdownSandbox.
type apiPod struct {
	spec   *specs.Spec
	netns  string
	bundle string

	life   context.Context // ends with the wish to stop: a start under way is given up
	giveUp context.CancelCauseFunc

	mu      sync.Mutex // held while the pod starts or stops
	begun   time.Time
	created chan struct{} // closed when the pod was started
	ended   chan struct{} // closed when it has ended, or never will start
	once    sync.Once
	exit    sandbox.Exit
}

func (a *apiPod) end(exit sandbox.Exit) {
	a.once.Do(func() {
		a.exit = exit
		close(a.ended)
	})
}

// find is the pod, which must be the one that is meant.
func (v sandboxService) find(id string) (*apiPod, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.api == nil || id != v.s.config.Sandbox {
		return nil, wire(fail(errdefs.ErrNotFound, "no sandbox %.128q", id))
	}
	return v.s.api, nil
}

// CreateSandbox takes the pod's configuration. Nothing is started.
func (v sandboxService) CreateSandbox(_ context.Context, r *sandboxapi.CreateSandboxRequest) (*sandboxapi.CreateSandboxResponse, error) {
	if r.SandboxID != v.s.config.Sandbox {
		return nil, wire(fail(errdefs.ErrInvalidArgument, "create sandbox: got id %.128q, want %q", r.SandboxID, v.s.config.Sandbox))
	}
	oci, err := sandboxSpec(r)
	if err != nil {
		return nil, wire(err)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.api != nil || v.s.pod != nil {
		return nil, wire(fail(errdefs.ErrAlreadyExists, "sandbox %.128q: is there already", r.SandboxID))
	}
	if err := WriteRecord(r.BundlePath, v.s.config.Record()); err != nil {
		return nil, wire(err)
	}
	a := &apiPod{spec: oci, netns: r.NetnsPath, bundle: r.BundlePath, created: make(chan struct{}), ended: make(chan struct{})}
	a.life, a.giveUp = context.WithCancelCause(v.s.life)
	v.s.api = a
	return &sandboxapi.CreateSandboxResponse{}, nil
}

// sandboxSpec is the specification of the pod that is asked for: of the CRI's configuration, or of the bundle where another client made one.
func sandboxSpec(r *sandboxapi.CreateSandboxRequest) (*specs.Spec, error) {
	options := r.GetOptions()
	if options.GetTypeUrl() != podConfigURL {
		return readSpec(r.BundlePath)
	}
	config, err := parsePodConfig(options.GetValue())
	if err != nil {
		return nil, fail(errdefs.ErrInvalidArgument, "create sandbox %.128q: %v", r.SandboxID, err)
	}
	for k, v := range r.GetAnnotations() {
		config.annotations[k] = v
	}
	if err := config.writeResolvConf(r.BundlePath); err != nil {
		return nil, err
	}
	return config.spec(r.SandboxID, r.NetnsPath, r.BundlePath), nil
}

// StartSandbox starts the pod.
func (v sandboxService) StartSandbox(ctx context.Context, r *sandboxapi.StartSandboxRequest) (*sandboxapi.StartSandboxResponse, error) {
	a, err := v.find(r.SandboxID)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.ended:
		return nil, wire(fail(errdefs.ErrFailedPrecondition, "start sandbox %.128q: it was stopped", r.SandboxID))
	default:
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.life, func() { cancel(context.Cause(a.life)) })()
	begun := time.Now()
	pod, err := v.s.boot(ctx, sandbox.Config{
		ID: v.s.config.Sandbox, Namespace: v.s.config.Namespace, Spec: a.spec, Netns: a.netns, Dir: v.s.stateDir(), Node: v.s.config.Node,
	})
	if err != nil {
		return nil, wire(err)
	}
	record := v.s.config.Record()
	record.PID = pod.PID()
	if err := WriteRecord(a.bundle, record); err != nil {
		return nil, wire(errors.Join(err, v.s.stopPod(ctx)))
	}
	a.begun = begun
	close(a.created)
	v.s.work.Go(func() {
		select {
		case <-pod.Done():
			a.end(sandbox.Exit{Status: statusLost, At: time.Now(), Err: pod.Err()})
		case <-a.ended:
		case <-v.s.life.Done():
		}
	})
	text, err := json.Marshal(a.spec)
	if err != nil {
		return nil, wire(err)
	}
	return &sandboxapi.StartSandboxResponse{
		Pid: v.s.pid(), CreatedAt: timestamppb.New(begun), Spec: &anypb.Any{TypeUrl: specURL, Value: text},
	}, nil
}

// Platform is where the containers run.
func (v sandboxService) Platform(_ context.Context, r *sandboxapi.PlatformRequest) (*sandboxapi.PlatformResponse, error) {
	if _, err := v.find(r.SandboxID); err != nil {
		return nil, err
	}
	return &sandboxapi.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: runtime.GOARCH}}, nil
}

// StopSandbox ends the pod. A pod that has ended is no error.
func (v sandboxService) StopSandbox(ctx context.Context, r *sandboxapi.StopSandboxRequest) (*sandboxapi.StopSandboxResponse, error) {
	a, err := v.find(r.SandboxID)
	if err != nil {
		return nil, err
	}
	if err := v.stop(ctx, a); err != nil {
		return nil, wire(err)
	}
	return &sandboxapi.StopSandboxResponse{}, nil
}

func (v sandboxService) stop(ctx context.Context, a *apiPod) error {
	a.giveUp(errDeleted)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end(sandbox.Exit{At: time.Now()})
	return v.s.stopPod(ctx)
}

// WaitSandbox answers when the pod has ended.
func (v sandboxService) WaitSandbox(ctx context.Context, r *sandboxapi.WaitSandboxRequest) (*sandboxapi.WaitSandboxResponse, error) {
	a, err := v.find(r.SandboxID)
	if err != nil {
		return nil, err
	}
	select {
	case <-a.ended:
		return &sandboxapi.WaitSandboxResponse{ExitStatus: a.exit.Status, ExitedAt: timestamppb.New(a.exit.At)}, nil
	case <-ctx.Done():
		return nil, wire(context.Cause(ctx))
	case <-v.s.life.Done():
		return nil, wire(fail(errdefs.ErrUnavailable, "wait for sandbox %.128q: the shim is ending", r.SandboxID))
	}
}

// SandboxStatus tells whether the pod is there.
func (v sandboxService) SandboxStatus(_ context.Context, r *sandboxapi.SandboxStatusRequest) (*sandboxapi.SandboxStatusResponse, error) {
	a, err := v.find(r.SandboxID)
	if err != nil {
		return nil, err
	}
	answer := &sandboxapi.SandboxStatusResponse{SandboxID: r.SandboxID, Pid: v.s.pid(), State: stateNotReady}
	select {
	case <-a.created:
		answer.CreatedAt = timestamppb.New(a.begun)
		answer.State = stateReady
	default:
	}
	select {
	case <-a.ended:
		answer.State, answer.ExitedAt = stateNotReady, timestamppb.New(a.exit.At)
		if r.Verbose && a.exit.Err != nil {
			answer.Info = map[string]string{"error": a.exit.Err.Error()}
		}
	default:
	}
	return answer, nil
}

// PingSandbox says that the pod lives.
func (v sandboxService) PingSandbox(_ context.Context, r *sandboxapi.PingRequest) (*sandboxapi.PingResponse, error) {
	if _, err := v.find(r.SandboxID); err != nil {
		return nil, err
	}
	if _, err := v.s.alive(); err != nil {
		return nil, wire(err)
	}
	return &sandboxapi.PingResponse{}, nil
}

// ShutdownSandbox ends the pod, if it runs, and the shim.
func (v sandboxService) ShutdownSandbox(ctx context.Context, r *sandboxapi.ShutdownSandboxRequest) (*sandboxapi.ShutdownSandboxResponse, error) {
	s := v.s
	s.mu.Lock()
	a := s.api
	s.mu.Unlock()
	if a != nil {
		if err := v.stop(ctx, a); err != nil {
			logOf(ctx, r.SandboxID).WithError(err).Error("stop pod") // the shim's `delete` tries once more
		}
	}
	s.mu.Lock()
	first := !s.exiting
	s.exiting, s.api = true, nil
	s.mu.Unlock()
	if first {
		// ttrpc tells when it has taken the answer, not when that is written, and containerd takes a connection that ends first for a failure to remove the pod.
		context.AfterFunc(ctx, func() { time.AfterFunc(answerGrace, s.config.Exit) })
	}
	return &sandboxapi.ShutdownSandboxResponse{}, nil
}

// SandboxMetrics is not implemented: the figures of a pod are those of its containers.
func (v sandboxService) SandboxMetrics(context.Context, *sandboxapi.SandboxMetricsRequest) (*sandboxapi.SandboxMetricsResponse, error) {
	return nil, wire(fail(errdefs.ErrNotImplemented, "metrics of a sandbox"))
}

// UpdateSandbox is not implemented: a pod grows with the limits of its containers.
func (v sandboxService) UpdateSandbox(context.Context, *sandboxapi.UpdateSandboxRequest) (*sandboxapi.UpdateSandboxResponse, error) {
	return nil, wire(fail(errdefs.ErrNotImplemented, "update of a sandbox"))
}
