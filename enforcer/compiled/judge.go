package compiled

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// ErrDeadline means that a verdict took longer than it may. It is the engine's: who asks does not know which of the two judged.
var ErrDeadline = rego.ErrDeadline

// Options of a judge.
type Options struct {
	// Strict refuses points that an old policy does not know, instead of applying the default of its time.
	Strict bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []point.Mount
	// EvalTimeout bounds one verdict.
	EvalTimeout time.Duration
}

// Judge holds one plain policy and its state. All methods may be called concurrently.
type Judge struct {
	opts       Options
	apiVersion string
	api        point.Version
	framework  point.Version
	written    string // the framework version as the policy has it
	flags      entry.Flags
	reason     entry.Reason
	delegated  map[string]bool

	mu        sync.Mutex
	policy    *entry.Data
	fragments []*entry.Data // completed for their own framework versions
	universe  *universe
	externals []*external
	state     state
	matchers  matchers
}

// New indexes a plain policy. It fails where only the engine knows what the policy means: without a framework version, or with one
// that is ahead of this agent.
func New(p *entry.Policy, opts Options) (*Judge, error) {
	j := &Judge{
		opts: opts, apiVersion: p.APIVersion, flags: p.Flags, reason: p.Reason, delegated: p.Delegated,
		policy:   &p.Data,
		matchers: newMatchers(),
	}
	if p.APIVersion != "" {
		var ok bool
		if j.api, ok = point.ParseVersion(p.APIVersion); !ok {
			return nil, fmt.Errorf("api_version: got %s, want MAJOR.MINOR.PATCH", point.Quote(p.APIVersion))
		}
	}
	newest, _ := point.ParseVersion(aci.FrameworkVersion)
	var ok bool
	if j.framework, ok = point.ParseVersion(p.FrameworkVersion); !ok || newest.Less(j.framework) {
		return nil, fmt.Errorf("framework_version: got %s, want at most %s", point.Quote(p.FrameworkVersion), aci.FrameworkVersion)
	}
	j.flags.CapabilityDropping = j.flags.CapabilityDropping && !j.older("0.2.2")
	j.flags.HostNetwork = j.flags.HostNetwork && !j.older("0.5.0")
	j.written = p.FrameworkVersion
	if err := j.CheckFragments(nil); err != nil {
		return nil, err
	}
	j.index()
	j.matchers.warm(p.Data.Containers)
	return j, nil
}

func (j *Judge) older(version string) bool {
	v, _ := point.ParseVersion(version)
	return j.framework.Less(v)
}

// SetDefaultMounts replaces the mounts that are accepted without being named in the policy. Verdicts that are pending become stale.
func (j *Judge) SetDefaultMounts(mounts []point.Mount) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opts.DefaultMounts = mounts
	j.state.generation++
}

// SetFragments replaces what loaded fragments add to the policy's lists, already completed for their framework versions, and returns
// what it was. Containers that exist keep the candidates they have.
func (j *Judge) SetFragments(fragments []*entry.Data) (before []*entry.Data) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before, j.fragments = j.fragments, fragments
	j.index()
	j.state.generation++
	return before
}

// Decide judges one input.
func (j *Judge) Decide(ctx context.Context, row *point.Row, in point.Input) (*point.Verdict, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if reason := row.Before(j.apiVersion); reason != "" {
		return refusal(reason), nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	q := &question{judge: j, ctx: ctx, row: row, in: in, generation: j.state.generation, started: time.Now()}
	v := q.decide()
	if q.err != nil {
		return nil, q.err
	}
	return v, nil
}

func refusal(reason string) *point.Verdict {
	return &point.Verdict{Refusal: &point.Refusal{Reasons: []string{reason}, Text: reason}}
}

// question is one input on its way to a verdict.
type question struct {
	judge *Judge
	ctx   context.Context
	row   *point.Row
	in    point.Input

	generation uint64
	reads      []entryRead
	readSpace  [8]entryRead
	// allMatches is set when the verdict rests on which containers there are, not on one of them.
	allMatches bool

	done    int
	started time.Time
	err     error
}

// lookEvery is how much work passes between two looks at the clock.
const lookEvery = 1 << 14

// step counts a comparison.
func (q *question) step() bool { return q.work(0) }

// work counts a comparison with a string of n bytes: a pattern walks all of them. It answers false when the verdict has taken too
// long: everything that follows is without meaning and is thrown away.
func (q *question) work(n int) bool {
	q.done += 1 + n/64
	if q.done >= lookEvery {
		q.done = 0
		q.lookAtClock()
	}
	return q.err == nil
}

func (q *question) lookAtClock() {
	switch {
	case q.ctx.Err() != nil:
		q.err = q.ctx.Err()
	case time.Since(q.started) > q.judge.opts.EvalTimeout:
		q.err = ErrDeadline
	}
}

func (q *question) decide() *point.Verdict {
	j := q.judge
	if !j.delegated[string(q.row.Point)] {
		reason, use := q.row.Missing(j.api, j.opts.Strict)
		if reason != "" {
			return refusal(reason)
		}
		if use != point.FallbackFramework {
			v := q.row.DefaultVerdict(q.in)
			if !v.Allowed {
				v.Refusal = q.refuse()
				v.Refusal.ByDefault = true
			}
			return v
		}
	}
	if v := q.rule(); v != nil {
		return v
	}
	return &point.Verdict{Refusal: q.refuse()}
}

// rule is the framework's rule of the point: an allowed verdict, or nil.
func (q *question) rule() *point.Verdict {
	switch in := q.in.(type) {
	case point.MountDeviceInput:
		return q.mountDevice(in)
	case point.RWMountDeviceInput:
		return q.rwMountDevice(in)
	case point.UnmountDeviceInput:
		return q.unmount(tableDevices, in.UnmountTarget)
	case point.RWUnmountDeviceInput:
		return q.unmount(tableRWDevices, in.UnmountTarget)
	case point.MountOverlayInput:
		return q.mountOverlay(in)
	case point.UnmountOverlayInput:
		return q.unmount(tableOverlays, in.UnmountTarget)
	case point.ScratchMountInput:
		return q.scratchMount(in)
	case point.ScratchUnmountInput:
		return q.unmount(tableScratch, in.UnmountTarget)
	case point.Plan9MountInput:
		return q.plan9Mount(in)
	case point.Plan9UnmountInput:
		return q.unmount(tablePlan9, in.UnmountTarget)
	case point.CreateContainerInput:
		return q.createContainer(&in)
	case point.ExecInContainerInput:
		return q.execInContainer(&in)
	case point.ExecExternalInput:
		return q.execExternal(&in)
	case point.SignalContainerProcessInput:
		return q.signal(in)
	case point.ShutdownContainerInput:
		return q.shutdown(in)
	case point.GetPropertiesInput:
		return q.flag(q.judge.flags.PropertiesAccess)
	case point.DumpStacksInput:
		return q.flag(q.judge.flags.DumpStacks)
	case point.RuntimeLoggingInput:
		return q.flag(q.judge.flags.RuntimeLogging)
	case point.HostNetworkInput:
		return q.flag(q.judge.flags.HostNetwork)
	}
	// Block devices and what belongs to Windows: the framework refuses them whatever is asked.
	return nil
}

func (q *question) flag(allowed bool) *point.Verdict {
	if !allowed {
		return nil
	}
	return &point.Verdict{Allowed: true}
}
