// Package peer asks the pinned reference enforcer, github.com/Microsoft/hcsshim/pkg/securitypolicy, what it makes of a policy
// and of requests, through its exported API only. Build with the tag rego: without it the reference has no Rego enforcer.
package peer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/Microsoft/hcsshim/pkg/securitypolicy"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/enforcer"
)

// Peer is the reference with one policy loaded.
type Peer struct {
	enforcer securitypolicy.SecurityPolicyEnforcer
}

// Answer is what the reference said. Reasons are those of a refusal; Broken is set instead when it gave no reasons but an
// engine's error.
type Answer struct {
	Allowed bool
	Env     []string
	Caps    *enforcer.Capabilities
	Stdio   bool
	Reasons []string
	Broken  string
}

// ErrNotExpressible means that the reference has no such point, or no such field, so it cannot be asked.
var ErrNotExpressible = errors.New("the reference cannot be asked this")

// unlimited keeps the reference from cutting its reasons.
const unlimited = 1 << 24

// Load gives the reference a policy text and the runtime's mounts.
func Load(policy string, defaults, privileged []enforcer.Mount) (*Peer, error) {
	e, err := securitypolicy.CreateSecurityPolicyEnforcer(
		"rego", base64.StdEncoding.EncodeToString([]byte(policy)), mounts(defaults), mounts(privileged), unlimited)
	if err != nil {
		return nil, fmt.Errorf("load into the reference (built with -tags rego?): %w", err)
	}
	return &Peer{e}, nil
}

// Request is a request made ready, so that a measured call does not count what the conversion costs.
type Request func(context.Context) (Answer, error)

// Decide asks the reference, which changes its state when it allows.
func (p *Peer) Decide(ctx context.Context, in enforcer.Input) (Answer, error) {
	ask, err := p.Prepare(in)
	if err != nil {
		return Answer{}, err
	}
	a, err := ask(ctx)
	if err == nil {
		a.Allowed = true
		return a, nil
	}
	return refusal(err), nil
}

// Prepare converts a request. The Answer of the Request has only what an allowed one has; its error is the refusal.
func (p *Peer) Prepare(in enforcer.Input) (Request, error) {
	e := p.enforcer
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		return p.create(in)
	case enforcer.ExecInContainerInput:
		caps, user, groups := capabilities(in.Capabilities), idname(in.User), idnames(in.Groups)
		return func(ctx context.Context) (Answer, error) {
			env, kept, stdio, err := e.EnforceExecInContainerPolicy(ctx, in.ContainerID, in.ArgList, in.EnvList, in.WorkingDir,
				in.NoNewPrivileges, user, groups, in.Umask, caps)
			return answer(env, kept, stdio), err
		}, nil
	case enforcer.ExecExternalInput:
		return func(ctx context.Context) (Answer, error) {
			env, stdio, err := e.EnforceExecExternalProcessPolicy(ctx, in.ArgList, in.EnvList, in.WorkingDir)
			return answer(env, nil, stdio), err
		}, nil
	}
	ask, err := p.simple(in)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Answer, error) { return Answer{}, ask(ctx) }, nil
}

// simple are the points that answer with yes or no.
func (p *Peer) simple(in enforcer.Input) (func(context.Context) error, error) {
	e := p.enforcer
	switch in := in.(type) {
	case enforcer.MountDeviceInput:
		return func(ctx context.Context) error { return e.EnforceDeviceMountPolicy(ctx, in.Target, in.DeviceHash) }, nil
	case enforcer.UnmountDeviceInput:
		return func(ctx context.Context) error { return e.EnforceDeviceUnmountPolicy(ctx, in.UnmountTarget) }, nil
	case enforcer.MountOverlayInput:
		return func(ctx context.Context) error {
			return e.EnforceOverlayMountPolicy(ctx, in.ContainerID, in.LayerPaths, in.Target)
		}, nil
	case enforcer.UnmountOverlayInput:
		return func(ctx context.Context) error { return e.EnforceOverlayUnmountPolicy(ctx, in.UnmountTarget) }, nil
	case enforcer.ShutdownContainerInput:
		return func(ctx context.Context) error { return e.EnforceShutdownContainerPolicy(ctx, in.ContainerID) }, nil
	case enforcer.SignalContainerProcessInput:
		return func(ctx context.Context) error {
			return e.EnforceSignalContainerProcessPolicy(ctx, in.ContainerID, syscall.Signal(in.Signal), in.IsInitProcess, in.ArgList)
		}, nil
	case enforcer.Plan9MountInput:
		return func(ctx context.Context) error { return e.EnforcePlan9MountPolicy(ctx, in.Target) }, nil
	case enforcer.Plan9UnmountInput:
		return func(ctx context.Context) error { return e.EnforcePlan9UnmountPolicy(ctx, in.UnmountTarget) }, nil
	case enforcer.ScratchMountInput:
		return func(ctx context.Context) error { return e.EnforceScratchMountPolicy(ctx, in.Target, in.Encrypted) }, nil
	case enforcer.ScratchUnmountInput:
		return func(ctx context.Context) error { return e.EnforceScratchUnmountPolicy(ctx, in.UnmountTarget) }, nil
	case enforcer.GetPropertiesInput:
		return e.EnforceGetPropertiesPolicy, nil
	case enforcer.DumpStacksInput:
		return e.EnforceDumpStacksPolicy, nil
	case enforcer.RuntimeLoggingInput:
		return e.EnforceRuntimeLoggingPolicy, nil
	}
	return nil, fmt.Errorf("%s: %w", in.Point(), ErrNotExpressible)
}

func (p *Peer) create(in enforcer.CreateContainerInput) (Request, error) {
	sandbox := strings.TrimSuffix(strings.TrimPrefix(in.SandboxDir, "/run/gcs/c/"), "/sandboxMounts")
	switch {
	case in.SandboxDir != securitypolicy.SandboxMountsDir(sandbox) || in.HugePagesDir != securitypolicy.HugePagesMountsDir(sandbox):
		return nil, fmt.Errorf("create_container in %s: %w", in.SandboxDir, ErrNotExpressible)
	case len(in.Devices) > 0 || in.IsSandboxContainer:
		return nil, fmt.Errorf("create_container with devices or for a sandbox: %w", ErrNotExpressible)
	}
	list, caps, user, groups := mounts(in.Mounts), capabilities(in.Capabilities), idname(in.User), idnames(in.Groups)
	return func(ctx context.Context) (Answer, error) {
		env, kept, stdio, err := p.enforcer.EnforceCreateContainerPolicy(ctx, sandbox, in.ContainerID, in.ArgList, in.EnvList, in.WorkingDir,
			list, in.Privileged, in.NoNewPrivileges, user, groups, in.Umask, caps, in.SeccompProfileSHA256)
		return answer(env, kept, stdio), err
	}, nil
}

func answer(env []string, caps *specs.LinuxCapabilities, stdio bool) Answer {
	a := Answer{Env: env, Stdio: stdio}
	if caps != nil {
		a.Caps = &enforcer.Capabilities{
			Bounding: caps.Bounding, Effective: caps.Effective, Inheritable: caps.Inheritable, Permitted: caps.Permitted, Ambient: caps.Ambient,
		}
	}
	return a
}

// refusal reads the reasons out of an error's text.
func refusal(err error) Answer {
	text, extractErr := securitypolicy.ExtractPolicyDecision(err.Error())
	if extractErr != nil {
		return Answer{Broken: err.Error()}
	}
	var doc struct {
		Reason      json.RawMessage `json:"reason"`
		PolicyError string          `json:"policyError"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return Answer{Broken: err.Error()}
	}
	var reason struct {
		Errors []string `json:"errors"`
	}
	a := Answer{Broken: doc.PolicyError}
	if json.Unmarshal(doc.Reason, &reason) == nil {
		a.Reasons = reason.Errors
		slices.Sort(a.Reasons)
	}
	return a
}

func mounts(list []enforcer.Mount) []specs.Mount {
	out := make([]specs.Mount, len(list))
	for i, m := range list {
		out[i] = specs.Mount{Destination: m.Destination, Source: m.Source, Options: m.Options, Type: m.Type}
	}
	return out
}

func capabilities(c enforcer.Capabilities) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{
		Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
	}
}

func idname(u enforcer.User) securitypolicy.IDName {
	return securitypolicy.IDName{ID: u.ID, Name: u.Name}
}

func idnames(list []enforcer.User) []securitypolicy.IDName {
	out := make([]securitypolicy.IDName, len(list))
	for i, u := range list {
		out[i] = idname(u)
	}
	return out
}
