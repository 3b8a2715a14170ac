package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
)

// ReadStdout returns output; empty is the end of the stream.
func (s *Service) ReadStdout(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return s.read(ctx, r, false)
}

// ReadStderr returns error output; empty is the end of the stream.
func (s *Service) ReadStderr(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return s.read(ctx, r, true)
}

func (s *Service) read(ctx context.Context, r *api.ReadStreamRequest, stderr bool) (*api.ReadStreamResponse, error) {
	data, err := s.cfg.Sandbox.Read(ctx, r.ContainerId, r.ExecId, stderr, r.Len)
	if err != nil {
		return nil, err
	}
	return &api.ReadStreamResponse{Data: data}, nil
}

// WriteStdin gives input to a process; an empty write ends it, as Kata's newer shim does.
func (s *Service) WriteStdin(_ context.Context, r *api.WriteStreamRequest) (*api.WriteStreamResponse, error) {
	if len(r.Data) == 0 {
		if err := s.cfg.Sandbox.CloseStdin(r.ContainerId, r.ExecId); err != nil {
			return nil, err
		}
		return &api.WriteStreamResponse{}, nil
	}
	n, err := s.cfg.Sandbox.Write(r.ContainerId, r.ExecId, r.Data)
	if err != nil {
		return nil, err
	}
	return &api.WriteStreamResponse{Len: uint32(n)}, nil
}

// CloseStdin ends a process's input.
func (s *Service) CloseStdin(_ context.Context, r *api.CloseStdinRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.CloseStdin(r.ContainerId, r.ExecId))
}

// TtyWinResize sets the size of a terminal.
func (s *Service) TtyWinResize(_ context.Context, r *api.TtyWinResizeRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.Resize(r.ContainerId, r.ExecId, r.Row, r.Column))
}
