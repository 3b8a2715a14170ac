package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp"
)

// health answers whether the agent lives. It asks no policy and says nothing of the workload.
type health struct{ s *Service }

// APIVersion is the version of Kata's agent API that this agent answers for.
const APIVersion = "0.0.1"

func (h health) Check(context.Context, *api.CheckRequest) (*api.HealthCheckResponse, error) {
	return &api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVING}, nil
}

func (h health) Version(context.Context, *api.CheckRequest) (*api.VersionCheckResponse, error) {
	return &api.VersionCheckResponse{GrpcVersion: APIVersion, AgentVersion: h.s.cfg.Version}, nil
}

// own is what the agent offers beyond Kata's API.
type own struct{ s *Service }

// LoadFragment lets the policy judge a signed document, by its media type a fragment, a trust list, or reference information.
func (o own) LoadFragment(ctx context.Context, r *api.LoadFragmentRequest) (*emptypb.Empty, error) {
	return ok(o.s.cfg.Sandbox.LoadFragment(ctx, "LoadFragmentRequest", r.Cose, r.MediaType))
}

// Explain returns the full text of a refusal.
func (o own) Explain(ctx context.Context, r *api.ExplainRequest) (*api.ExplainResponse, error) {
	if err := o.s.ask(ctx, "ExplainRequest", enforcer.RuntimeLoggingInput{}); err != nil {
		return nil, err
	}
	text, found := o.s.cfg.Gate.Explain(r.DecisionId)
	if !found {
		return nil, status.Error(codes.NotFound, "decision_id: no refusal of that id is kept")
	}
	return &api.ExplainResponse{Json: text}, nil
}

// Evidence returns a report over the host's nonce, with the policy it binds, in the host's own domain of REPORT_DATA: it never is what a
// workload would get over the same bytes.
func (o own) Evidence(ctx context.Context, r *api.EvidenceRequest) (*api.EvidenceResponse, error) {
	if len(r.Nonce) < 16 || len(r.Nonce) > 64 {
		return nil, bad("nonce: got %d bytes, want 16 to 64", len(r.Nonce))
	}
	if r.ContainerId != "" {
		return nil, bad("container_id: evidence of one container is not offered to the host")
	}
	if o.s.cfg.Evidence == nil {
		return nil, status.Error(codes.FailedPrecondition, "the guest has no report device")
	}
	bundle, err := o.s.cfg.Evidence(ctx, r.Nonce)
	if err != nil {
		return nil, noEvidence(err)
	}
	return &api.EvidenceResponse{Bundle: bundle}, nil
}

// noEvidence says why no report could be made, in words of a fixed set: what the host may do about it is all it is told.
func noEvidence(err error) error {
	switch {
	case errors.Is(err, snp.ErrKeyLost):
		return status.Error(codes.FailedPrecondition, "no report could be made: "+snp.ErrKeyLost.Error())
	case errors.Is(err, snp.ErrBusy):
		return status.Error(codes.Unavailable, "no report could be made: "+snp.ErrBusy.Error())
	}
	return status.Error(codes.Internal, "no report could be made")
}

// Logs returns the newest lines of the journal.
func (o own) Logs(ctx context.Context, r *api.LogsRequest) (*api.LogsResponse, error) {
	if err := o.s.ask(ctx, "LogsRequest", enforcer.RuntimeLoggingInput{}); err != nil {
		return nil, err
	}
	n := int(min(r.MaxBytes, maxDiagnostic))
	if n == 0 {
		n = maxDiagnostic
	}
	return &api.LogsResponse{Data: o.s.cfg.Journal.Tail(n)}, nil
}
