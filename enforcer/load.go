package enforcer

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// Limits of a policy text. SetPolicy brings at most a ttrpc frame; an initdata disk may bring more.
const (
	DefaultPolicyLimit = 4 << 20
	MaxPolicyLimit     = 64 << 20
	defaultEvalTimeout = 5 * time.Second
	// releaseAbove is from where the memory that loading took is given back at once, in bytes of text. It is several times the text, is
	// never needed again, and in a guest that holds one policy for its life it would stay with the process.
	releaseAbove = 1 << 20
)

// Options of an enforcer. The zero value is what the agent uses for a policy by SetPolicy.
type Options struct {
	// Strict refuses points that an old policy does not know, instead of applying the default of its time.
	Strict bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []Mount
	// EvalTimeout bounds one evaluation; 0 means 5 seconds.
	EvalTimeout time.Duration
	// Judge says who decides; empty means JudgeAuto.
	Judge JudgeName
	// PolicyLimit bounds the policy text in bytes; 0 means 4 MiB, more than 64 MiB is an error.
	PolicyLimit int
}

// Load compiles a policy. The caller has compared its digest with HOST_DATA: the text decides everything from here on. An
// error means that there is no enforcer, so nothing may be allowed.
func Load(ctx context.Context, policy []byte, opts Options) (e *Enforcer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if len(policy) > opts.PolicyLimit {
		return nil, fmt.Errorf("load policy: got %d bytes, want at most %d", len(policy), opts.PolicyLimit)
	}
	if aci.Nesting(policy) > aci.MaxNesting {
		return nil, fmt.Errorf("load policy: brackets nest deeper than %d", aci.MaxNesting)
	}
	judge, name, notPlain, err := chooseBefore(ctx, policy, opts)
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if len(policy) > releaseAbove {
		debug.FreeOSMemory()
	}
	return &Enforcer{opts: opts, judge: judge, judgeName: name, notPlain: notPlain}, nil
}

func (o *Options) rego() rego.Options {
	return rego.Options{
		Strict: o.Strict, DefaultMounts: o.DefaultMounts, PrivilegedMounts: o.PrivilegedMounts, EvalTimeout: o.EvalTimeout,
	}
}

func (o *Options) complete() error {
	if o.EvalTimeout < 0 || o.PolicyLimit < 0 || o.PolicyLimit > MaxPolicyLimit {
		return fmt.Errorf("options: policy limit %d or evaluation timeout %s is out of range", o.PolicyLimit, o.EvalTimeout)
	}
	if o.Judge == "" {
		o.Judge = JudgeAuto
	}
	if !slices.Contains(Judges(), o.Judge) {
		return fmt.Errorf("options: judge %q, want one of %v", o.Judge, Judges())
	}
	if o.EvalTimeout == 0 {
		o.EvalTimeout = defaultEvalTimeout
	}
	if o.PolicyLimit == 0 {
		o.PolicyLimit = DefaultPolicyLimit
	}
	return nil
}
