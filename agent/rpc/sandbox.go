package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/hotplug"
	"github.com/cloister-cc/cloister/agent/network"
	"github.com/cloister-cc/cloister/agent/sandbox"
)

// shmPath is where Kata's shims say the pod's shared memory is; the agent has its own.
const shmPath = "/run/kata-containers/sandbox/shm"

// defaultHostname is the pod's when the host names none.
const defaultHostname = "cloister"

// CreateSandbox makes the pod, once.
func (s *Service) CreateSandbox(ctx context.Context, r *api.CreateSandboxRequest) (*emptypb.Empty, error) {
	switch {
	case r.SandboxPidns:
		return nil, bad("sandbox_pidns: a shared process namespace is not supported")
	case r.GuestHookPath != "":
		return nil, bad("guest_hook_path: hooks are never run")
	case len(r.KernelModules) > 0:
		return nil, bad("kernel_modules: modules are part of the guest image")
	}
	for i, st := range r.Storages {
		if st.GetDriver() != "ephemeral" || st.GetMountPoint() != shmPath {
			return nil, bad("storages[%d]: the only sandbox storage is the ephemeral shared memory", i)
		}
	}
	resolv, err := network.ResolvConf(r.Dns)
	if err != nil {
		return nil, bad("dns: %v", err)
	}
	hostname := r.Hostname
	if hostname == "" {
		hostname = defaultHostname // Kata's shims send none
	}
	hosts, err := network.Hosts(hostname, nil)
	if err != nil {
		return nil, bad("hostname: %v", err)
	}
	return ok(s.cfg.Sandbox.CreatePod(ctx, sandbox.PodRequest{ID: r.SandboxId, Hostname: hostname, Hosts: hosts, ResolvConf: resolv}))
}

// DestroySandbox ends the pod.
func (s *Service) DestroySandbox(ctx context.Context, _ *api.DestroySandboxRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Sandbox.DestroyPod(ctx))
}

// onlineLimit is how long the kernel may take to find processors that were plugged in.
const onlineLimit = 10 * time.Second

// OnlineCPUMem brings processors and memory online that the host has plugged into the VM. On a machine that is not ours to change there is nothing to do.
func (s *Service) OnlineCPUMem(ctx context.Context, r *api.OnlineCPUMemRequest) (*emptypb.Empty, error) {
	switch {
	case r.NbCpus > 255:
		return nil, bad("nb_cpus: got %d, want at most 255", r.NbCpus)
	case !s.cfg.Init && r.NbCpus > 0:
		return nil, bad("nb_cpus: processors are fixed: the agent is not the VM's first process")
	case !s.cfg.Init:
		return &emptypb.Empty{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, onlineLimit)
	defer cancel()
	if !r.CpuOnly {
		if err := hotplug.Memory(hotplug.Sys); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
	}
	if err := hotplug.Processors(ctx, hotplug.Sys, int(r.NbCpus)); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &emptypb.Empty{}, nil
}

// CopyFile puts a file of the host into the sandbox's staging tree.
func (s *Service) CopyFile(_ context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error) {
	if s.cfg.Staging == nil {
		return nil, bad("path: this agent takes no files")
	}
	return ok(s.cfg.Staging.Copy(r))
}

// GetOOMEvent waits for the next out-of-memory kill.
func (s *Service) GetOOMEvent(ctx context.Context, _ *api.GetOOMEventRequest) (*api.OOMEvent, error) {
	id, err := s.cfg.Sandbox.OOMEvent(ctx)
	if err != nil {
		return nil, err
	}
	return &api.OOMEvent{ContainerId: id}, nil
}

// GetGuestDetails says what the agent is. It says the same to everybody, before and after a policy is bound.
func (s *Service) GetGuestDetails(context.Context, *api.GuestDetailsRequest) (*api.GuestDetailsResponse, error) {
	return &api.GuestDetailsResponse{AgentDetails: &api.AgentDetails{
		Version: s.cfg.Version, InitDaemon: s.cfg.Init, SupportsSeccomp: true,
		DeviceHandlers:  []string{},
		StorageHandlers: []string{"blk", "overlayfs", "scsi"},
		ExtraFeatures:   []string{"cloister.v1.Agent"},
	}}, nil
}

// SetPolicy binds the policy, once, when HOST_DATA is its hash.
func (s *Service) SetPolicy(ctx context.Context, r *api.SetPolicyRequest) (*emptypb.Empty, error) {
	if err := s.cfg.Gate.BindPolicy(context.WithoutCancel(ctx), []byte(r.Policy)); err != nil {
		return nil, err
	}
	if s.cfg.Bound != nil {
		s.cfg.Bound()
	}
	return &emptypb.Empty{}, nil
}
