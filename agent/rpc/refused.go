package rpc

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
)

// The gate refuses these before a handler is reached; the handlers exist so that the interface is whole, and refuse again.

var errRefused = status.Error(codes.PermissionDenied, "the request is never allowed")

// UpdateEphemeralMounts is refused.
func (s *Service) UpdateEphemeralMounts(context.Context, *api.UpdateEphemeralMountsRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// GetIPTables is refused.
func (s *Service) GetIPTables(context.Context, *api.GetIPTablesRequest) (*api.GetIPTablesResponse, error) {
	return nil, errRefused
}

// SetIPTables is refused.
func (s *Service) SetIPTables(context.Context, *api.SetIPTablesRequest) (*api.SetIPTablesResponse, error) {
	return nil, errRefused
}

// MemAgentMemcgSet is refused.
func (s *Service) MemAgentMemcgSet(context.Context, *api.MemAgentMemcgConfig) (*emptypb.Empty, error) {
	return nil, errRefused
}

// MemAgentCompactSet is refused.
func (s *Service) MemAgentCompactSet(context.Context, *api.MemAgentCompactConfig) (*emptypb.Empty, error) {
	return nil, errRefused
}

// ReseedRandomDev is refused.
func (s *Service) ReseedRandomDev(context.Context, *api.ReseedRandomDevRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// MemHotplugByProbe is refused.
func (s *Service) MemHotplugByProbe(context.Context, *api.MemHotplugByProbeRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// SetGuestDateTime is refused.
func (s *Service) SetGuestDateTime(context.Context, *api.SetGuestDateTimeRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// AddSwap is refused.
func (s *Service) AddSwap(context.Context, *api.AddSwapRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// AddSwapPath is refused.
func (s *Service) AddSwapPath(context.Context, *api.AddSwapPathRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}

// ResizeVolume is refused.
func (s *Service) ResizeVolume(context.Context, *api.ResizeVolumeRequest) (*emptypb.Empty, error) {
	return nil, errRefused
}
