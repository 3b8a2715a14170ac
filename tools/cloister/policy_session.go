package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	denials "github.com/cloister-cc/cloister/enforcer/explain"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// session follows a list of requests, to know what the policy's state leaves of its containers when one is refused. It
// decides nothing: the enforcer does.
type session struct {
	enforcer *enforcer.Enforcer
	// stateless are the points that are allowed without anything being remembered: constants, and defaults of old policies.
	stateless  map[enforcer.Point]bool
	doc        *policydoc.Policy
	candidates []*entry.Container
	external   []*entry.Container
	// origin names the fragment that a candidate is of. unread are fragments whose containers are not known here.
	origin  map[*entry.Container]string
	unread  []string
	options denials.Options
	// left are the candidates of a container that has an overlay. started has the containers that were created, and whether
	// they are privileged.
	left    map[string][]*entry.Container
	started map[string]bool
	// targets are where overlays are.
	targets map[string]bool
	// refused are the requests that were refused, which may be why a later one is.
	refused []refusedRequest
}

type refusedRequest struct {
	index int
	input enforcer.Input
	// cause is why, in words.
	cause string
}

func (r refusedRequest) String() string {
	return fmt.Sprintf("request %d, %s, was refused: %s", r.index, r.input.Point(), r.cause)
}

// refuse remembers a refusal and says why it came about: by what the requests before have left, or as the policy has it.
func (s *session) refuse(index int, r request, a answer, state string) (cause string) {
	var denial *enforcer.Denial
	switch {
	case s.decides(r.Name, state, a):
		cause = state
	case errors.As(a.err, &denial):
		cause = denials.Cause(denial)
	default:
		cause = "The policy could not decide."
	}
	if r.Input != nil {
		s.refused = append(s.refused, refusedRequest{index, r.Input, cause})
	}
	return cause
}

// decides says that the state alone is the cause of a refusal. The framework names then whatever else no candidate allows,
// of which there is none. A rule of the policy's own may look at other things.
func (s *session) decides(name enforcer.Point, state string, a answer) bool {
	var denial *enforcer.Denial
	if state == "" || !errors.As(a.err, &denial) || !slices.ContainsFunc(s.doc.Points, func(p policydoc.PointRule) bool {
		return p.Point == name && p.Rule == policydoc.Framework
	}) {
		return false
	}
	for _, start := range []string{"policy does not define", "framework_version", "rule for"} {
		if strings.HasPrefix(denial.Rule, start) {
			return false
		}
	}
	return true
}

// whyNot lists refused requests that fit.
func (s *session) whyNot(fits func(enforcer.Input) bool) string {
	text := ""
	for i := len(s.refused) - 1; i >= 0 && text == ""; i-- {
		if fits(s.refused[i].input) {
			text = s.refused[i].String()
		}
	}
	return text
}

// noDisk says of the layers of an overlay which is no mounted disk, and why.
func (s *session) noDisk(paths []string) string {
	for i, path := range paths {
		if _, ok := s.options.Devices[path]; ok {
			continue
		}
		text := fmt.Sprintf("layerPaths[%d], %s, is not a mounted disk: ", i, point.Quote(path))
		if why := s.whyNot(func(in enforcer.Input) bool {
			device, ok := in.(enforcer.MountDeviceInput)
			return ok && device.Target == path
		}); why != "" {
			return text + why
		}
		return text + "no request before it has mounted one there."
	}
	return ""
}

// noRootfs says why a container has no root file system.
func (s *session) noRootfs(id string) string {
	const text = "No root file system is mounted for this container: "
	for i := len(s.refused) - 1; i >= 0; i-- {
		overlay, ok := s.refused[i].input.(enforcer.MountOverlayInput)
		if !ok || overlay.ContainerID != id {
			continue
		}
		for _, path := range overlay.LayerPaths {
			if why := s.whyNot(func(in enforcer.Input) bool {
				device, ok := in.(enforcer.MountDeviceInput)
				return ok && device.Target == path
			}); why != "" {
				return fmt.Sprintf("%s%s So request %d, mount_overlay, was refused too.", text, why, s.refused[i].index)
			}
		}
		return text + s.refused[i].String()
	}
	if why := s.whyNot(func(in enforcer.Input) bool {
		_, ok := in.(enforcer.MountDeviceInput)
		return ok
	}); why != "" {
		return text + "there was no mount_overlay for it, and " + why
	}
	return text + "there was no mount_overlay for it, so no container of the policy is a candidate."
}

func newSession(e *enforcer.Enforcer, doc *policydoc.Policy, agentMounts bool) *session {
	s := &session{
		enforcer: e, stateless: map[enforcer.Point]bool{}, doc: doc, origin: map[*entry.Container]string{}, candidates: doc.Candidates(), external: denials.External(doc.ExternalCandidates()),
		left: map[string][]*entry.Container{}, started: map[string]bool{}, targets: map[string]bool{},
		options: denials.Options{
			DropEnvironment: doc.Flag("allow_environment_variable_dropping"), DropCapabilities: doc.DropsCapabilities(),
			Devices: map[string]string{}, Shares: map[string]string{},
		},
	}
	for _, p := range doc.Points {
		s.stateless[p.Point] = p.Rule == policydoc.Allowed || p.Rule == policydoc.Absent && p.Default == "allow"
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
	if a.Allowed && !s.stateless[r.Name] {
		s.follow(r.Input, before)
	}
	if a.Allowed && r.Fragment != nil && r.Name == enforcer.PointLoadFragment {
		s.addFragment(ctx, r)
	}
	return a
}

// addFragment makes candidates of what a fragment brings.
func (s *session) addFragment(ctx context.Context, r request) {
	f, err := fragment.Open(r.Fragment)
	if err != nil {
		return // not a fragment: reference information is no container
	}
	doc, err := policydoc.ReadFragment(ctx, f.Text)
	if err != nil {
		s.unread = append(s.unread, f.Feed)
		return
	}
	var includes []string
	for _, allowed := range s.doc.Fragments {
		if allowed.Issuer == f.Issuer && allowed.Feed == f.Feed {
			includes = append(includes, allowed.Includes...)
		}
	}
	if slices.Contains(includes, "containers") {
		s.candidates = append(s.candidates, s.of(f.Feed, doc.Candidates())...)
	}
	if slices.Contains(includes, "external_processes") {
		s.external = append(s.external, s.of(f.Feed, denials.External(doc.ExternalCandidates()))...)
	}
	if slices.Contains(includes, "platform_rules") && len(doc.PlatformRules) > 0 {
		s.unread = append(s.unread, f.Feed)
	}
}

func (s *session) of(feed string, list []*entry.Container) []*entry.Container {
	for _, c := range list {
		s.origin[c] = feed
	}
	return list
}

// place is where the policy, or a fragment, has a candidate.
func (s *session) place(c *entry.Container, in enforcer.Input) string {
	list := "containers"
	if _, external := in.(enforcer.ExecExternalInput); external {
		list = "external_processes"
	}
	if feed := s.origin[c]; feed != "" {
		return fmt.Sprintf("%s[%d] of fragment %q", list, c.Index, feed)
	}
	return fmt.Sprintf("%s[%d]", list, c.Index)
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
		opts.Privileged = s.started[exec.ContainerID]
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
		s.left[in.ContainerID], s.targets[in.Target] = fitting(), true
	case enforcer.UnmountOverlayInput:
		delete(s.targets, in.UnmountTarget)
	case enforcer.CreateContainerInput:
		s.left[in.ContainerID], s.started[in.ContainerID] = fitting(), in.Privileged
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

// state says what in the requests before keeps a request from being allowed, whatever the containers say. A policy that gives
// no reasons leaves it to guess.
func (s *session) state(in enforcer.Input) string {
	created := func(id string) string {
		if _, ok := s.started[id]; ok {
			return ""
		}
		if why := s.whyNot(func(in enforcer.Input) bool {
			create, ok := in.(enforcer.CreateContainerInput)
			return ok && create.ContainerID == id
		}); why != "" {
			return "The container was not created: " + why
		}
		return "The container was not created by the requests before."
	}
	running := func(id string) string {
		if _, ok := s.left[id]; !ok && created(id) == "" {
			return "The container was shut down by the requests before."
		}
		return created(id)
	}
	switch in := in.(type) {
	case enforcer.MountDeviceInput:
		if _, taken := s.options.Devices[in.Target]; taken {
			return "The requests before have mounted a disk at this target."
		}
	case enforcer.MountOverlayInput:
		if _, taken := s.left[in.ContainerID]; taken || s.targets[in.Target] {
			return "The requests before have mounted layers for this container, or at this target."
		}
		return s.noDisk(in.LayerPaths)
	case enforcer.CreateContainerInput:
		if created(in.ContainerID) == "" {
			return "The container was created by the requests before; an id is good for one container."
		}
		if _, ok := s.left[in.ContainerID]; !ok {
			return s.noRootfs(in.ContainerID)
		}
	case enforcer.ExecInContainerInput:
		return running(in.ContainerID)
	case enforcer.SignalContainerProcessInput:
		return running(in.ContainerID)
	case enforcer.ShutdownContainerInput:
		return created(in.ContainerID)
	}
	return ""
}
