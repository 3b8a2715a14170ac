package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/sandbox"
)

func ok(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func bad(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// form gives form errors their status.
func form(err error) error {
	var fe *container.FormError
	if errors.As(err, &fe) {
		return bad("%s", fe.Error())
	}
	return err
}

// CreateContainer mounts what the container needs and sets it up, as far as the policy allows.
func (s *Service) CreateContainer(ctx context.Context, r *api.CreateContainerRequest) (*emptypb.Empty, error) {
	switch {
	case r.ExecId != "" && r.ExecId != r.ContainerId:
		return nil, bad("exec_id: want the container's id")
	case r.StringUser != nil:
		return nil, bad("string_user: is not supported; send Process.User")
	case len(r.Devices) > 0:
		return nil, bad("devices: host devices are not given to containers")
	case r.SandboxPidns:
		return nil, bad("sandbox_pidns: a shared process namespace is not supported")
	case len(r.SharedMounts) > 0:
		return nil, bad("shared_mounts: are not supported")
	case r.StdinPort|r.StdoutPort|r.StderrPort != 0:
		return nil, bad("stdio ports: are not supported; use ReadStdout")
	}
	oci, err := container.Parse(r.OCI)
	if err != nil {
		return nil, form(err)
	}
	root, err := parseStorages(r.Storages)
	if err != nil {
		return nil, err
	}
	if root.mountPoint != "" && oci.RootPath != root.mountPoint {
		return nil, bad("OCI.Root.Path: is not the mount point of the request's overlay storage")
	}
	return ok(s.cfg.Sandbox.CreateContainer(ctx, sandbox.CreateRequest{ID: r.ContainerId, OCI: oci, Layers: root.layers, Scratch: root.scratch}))
}

// StartContainer runs what was created.
func (s *Service) StartContainer(ctx context.Context, r *api.StartContainerRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.StartContainer(ctx, r.ContainerId))
}

// RemoveContainer takes a container away.
func (s *Service) RemoveContainer(ctx context.Context, r *api.RemoveContainerRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.RemoveContainer(ctx, r.ContainerId, time.Duration(r.Timeout)*time.Second))
}

// ExecProcess runs one more process in a container.
func (s *Service) ExecProcess(ctx context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	switch {
	case r.StringUser != nil:
		return nil, bad("string_user: is not supported; send process.User")
	case r.StdinPort|r.StdoutPort|r.StderrPort != 0:
		return nil, bad("stdio ports: are not supported; use ReadStdout")
	}
	p, err := container.ParseProcess(r.Process)
	if err != nil {
		return nil, form(err)
	}
	return ok(s.cfg.Sandbox.Exec(ctx, sandbox.ExecRequest{ID: r.ContainerId, ExecID: r.ExecId, Process: p}))
}

// SignalProcess sends a signal to a process, or SIGKILL to all.
func (s *Service) SignalProcess(ctx context.Context, r *api.SignalProcessRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.Signal(ctx, r.ContainerId, r.ExecId, r.Signal))
}

// WaitProcess waits for the end of a process.
func (s *Service) WaitProcess(ctx context.Context, r *api.WaitProcessRequest) (*api.WaitProcessResponse, error) {
	code, err := s.cfg.Sandbox.Wait(ctx, r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	return &api.WaitProcessResponse{Status: code}, nil
}

// UpdateContainer changes limits.
func (s *Service) UpdateContainer(ctx context.Context, r *api.UpdateContainerRequest) (*emptypb.Empty, error) {
	res, err := container.ParseResources(r.Resources, false)
	if err != nil {
		return nil, form(err)
	}
	return ok(s.cfg.Sandbox.Update(ctx, r.ContainerId, res))
}

// PauseContainer freezes a container.
func (s *Service) PauseContainer(ctx context.Context, r *api.PauseContainerRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.Pause(ctx, r.ContainerId))
}

// ResumeContainer thaws it.
func (s *Service) ResumeContainer(ctx context.Context, r *api.ResumeContainerRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.Resume(ctx, r.ContainerId))
}

// RemoveStaleVirtiofsShareMounts has nothing to do: there is no shared file system.
func (s *Service) RemoveStaleVirtiofsShareMounts(context.Context, *api.RemoveStaleVirtiofsShareMountsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}
