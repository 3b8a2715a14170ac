package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/enforcer"
)

// UpdateInterface sets up one network link, within the agent's own limits.
func (s *Service) UpdateInterface(ctx context.Context, r *api.UpdateInterfaceRequest) (*api.Interface, error) {
	if r.Interface == nil {
		return nil, bad("interface: is missing")
	}
	return s.cfg.Network.UpdateInterface(ctx, r.Interface)
}

// UpdateRoutes replaces the routes and returns the ones there are.
func (s *Service) UpdateRoutes(ctx context.Context, r *api.UpdateRoutesRequest) (*api.Routes, error) {
	routes, err := s.cfg.Network.UpdateRoutes(ctx, r.GetRoutes().GetRoutes())
	if err != nil {
		return nil, err
	}
	return &api.Routes{Routes: routes}, nil
}

// AddARPNeighbors adds entries to the neighbour table.
func (s *Service) AddARPNeighbors(ctx context.Context, r *api.AddARPNeighborsRequest) (*emptypb.Empty, error) {
	return ok(s.cfg.Network.AddARPNeighbors(ctx, r.GetNeighbors().GetARPNeighbors()))
}

// ListInterfaces lists the links, where the policy allows properties to be read.
func (s *Service) ListInterfaces(ctx context.Context, _ *api.ListInterfacesRequest) (*api.Interfaces, error) {
	if err := s.ask(ctx, "ListInterfacesRequest", enforcer.GetPropertiesInput{}); err != nil {
		return nil, err
	}
	list, err := s.cfg.Network.ListInterfaces(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Interfaces{Interfaces: list}, nil
}

// ListRoutes lists the routes, where the policy allows properties to be read.
func (s *Service) ListRoutes(ctx context.Context, _ *api.ListRoutesRequest) (*api.Routes, error) {
	if err := s.ask(ctx, "ListRoutesRequest", enforcer.GetPropertiesInput{}); err != nil {
		return nil, err
	}
	list, err := s.cfg.Network.ListRoutes(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Routes{Routes: list}, nil
}

// ask is a decision without an effect of its own.
func (s *Service) ask(ctx context.Context, message string, in enforcer.Input) error {
	_, err := s.cfg.Gate.Decide(ctx, message, in)
	return err
}
