package main

import (
	"context"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	denials "github.com/cloister-cc/cloister/enforcer/explain"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// session follows a list of requests, to know what the policy's state leaves of its containers when one is refused. It
// decides nothing: the enforcer does.
type session struct {
	enforcer   *enforcer.Enforcer
	candidates []*entry.Container
	external   []*entry.Container
	options    denials.Options
	// left are the candidates of a container that has an overlay; privileged is how it was created.
	left       map[string][]*entry.Container
	privileged map[string]bool
}

func newSession(e *enforcer.Enforcer, doc *policydoc.Policy, agentMounts bool) *session {
	s := &session{
		enforcer: e, candidates: doc.Candidates(), external: denials.External(doc.ExternalProcesses),
		left: map[string][]*entry.Container{}, privileged: map[string]bool{},
		options: denials.Options{
			DropEnvironment: doc.Flag("allow_environment_variable_dropping"), DropCapabilities: doc.DropsCapabilities(),
			Devices: map[string]string{}, Shares: map[string]string{},
		},
	}
	if agentMounts {
		s.options.DefaultMounts, s.options.PrivilegedMounts = aci.DefaultMounts(), aci.PrivilegedMounts()
	}
	return s
}

// ask puts a request to the policy and follows what it changes.
func (s *session) ask(ctx context.Context, r request) answer {
	before := s.candidatesOf(r.Input)
	a := ask(ctx, s.enforcer, r)
	if a.Allowed {
		s.follow(r.Input, before)
	}
	return a
}

// candidatesOf are the containers that a request is compared with.
func (s *session) candidatesOf(in enforcer.Input) []*entry.Container {
	id := ""
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		id = in.ContainerID
	case enforcer.ExecInContainerInput:
		id = in.ContainerID
	case enforcer.SignalContainerProcessInput:
		id = in.ContainerID
	case enforcer.ExecExternalInput:
		return s.external
	}
	if left, ok := s.left[id]; ok {
		return left
	}
	return s.candidates
}

func (s *session) optionsFor(in enforcer.Input) denials.Options {
	opts := s.options
	if exec, ok := in.(enforcer.ExecInContainerInput); ok {
		opts.Privileged = s.privileged[exec.ContainerID]
	}
	return opts
}

func (s *session) follow(in enforcer.Input, candidates []*entry.Container) {
	fitting := func() []*entry.Container { return denials.Fitting(candidates, in, s.optionsFor(in)) }
	switch in := in.(type) {
	case enforcer.MountDeviceInput:
		s.options.Devices[in.Target] = in.DeviceHash
	case enforcer.UnmountDeviceInput:
		delete(s.options.Devices, in.UnmountTarget)
	case enforcer.MountOverlayInput:
		s.left[in.ContainerID] = fitting()
	case enforcer.CreateContainerInput:
		s.left[in.ContainerID], s.privileged[in.ContainerID] = fitting(), in.Privileged
	case enforcer.ExecInContainerInput:
		s.left[in.ContainerID] = fitting()
	case enforcer.SignalContainerProcessInput:
		s.left[in.ContainerID] = fitting()
	case enforcer.ShutdownContainerInput:
		delete(s.left, in.ContainerID)
	case enforcer.Plan9MountInput:
		id, _, _ := strings.Cut(strings.TrimPrefix(in.Target, in.RootPrefix+"/"), "/")
		s.options.Shares[in.Target] = id
	case enforcer.Plan9UnmountInput:
		delete(s.options.Shares, in.UnmountTarget)
	}
}
