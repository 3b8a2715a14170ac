package rego

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// Options of a judge.
type Options struct {
	// Strict refuses points that an old policy does not know, instead of applying the default of its time.
	Strict bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []point.Mount
	// EvalTimeout bounds one evaluation.
	EvalTimeout time.Duration
	// Skeleton says that the text is a policy without its lists, and that most of its state is kept elsewhere: a fragment that looks at
	// either would see what is not so, and is refused.
	Skeleton bool
}

// Judge holds one compiled policy and its state. All methods may be called concurrently: a verdict rests on one snapshot.
type Judge struct {
	opts       Options
	text       string
	apiVersion string
	// compiling holds a token while a fragment is compiled: a compilation that took too long goes on without its caller.
	compiling chan struct{}

	mu    sync.Mutex
	state *snapshot
}

// New compiles a policy. text has been checked for size and nesting.
func New(ctx context.Context, text string, opts Options) (j *Judge, err error) {
	defer recoverTo(&err, "compile policy")
	program, err := newProgram(text)
	if err != nil {
		return nil, err
	}
	j = &Judge{opts: opts, text: text, compiling: make(chan struct{}, 1), state: firstSnapshot(opts)}
	j.state.program = program
	if j.apiVersion, err = j.readAPIVersion(ctx); err != nil {
		return nil, err
	}
	return j, nil
}

// SetDefaultMounts replaces the mounts that are accepted without being named in the policy. Verdicts that are pending become stale.
func (j *Judge) SetDefaultMounts(mounts []point.Mount) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = j.state.withFixed("defaultMounts", array(mounts, mountValue))
}

// Metadata is the whole state, as encoding/json's generic types.
func (j *Judge) Metadata() any {
	return document(j.snapshot().metadataObject())
}

func (j *Judge) snapshot() *snapshot {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

// Decide asks the policy. An error means that the policy could not decide, which is a refusal as well.
func (j *Judge) Decide(ctx context.Context, row *point.Row, in point.Input) (*point.Verdict, error) {
	if reason := row.Before(j.apiVersion); reason != "" {
		return refusal(reason), nil
	}
	ask := &question{judge: j, row: row, in: in, input: InputValue(in), base: j.snapshot()}
	return ask.decide(ctx)
}

func refusal(reason string) *point.Verdict {
	return &point.Verdict{Refusal: &point.Refusal{Reasons: []string{reason}, Text: reason}}
}

// question is one request on its way to a verdict.
type question struct {
	judge *Judge
	row   *point.Row
	in    point.Input
	input ast.Value
	base  *snapshot
}

func (q *question) decide(ctx context.Context) (*point.Verdict, error) {
	answer, decided, err := q.ask(ctx)
	if err != nil || decided != nil {
		return decided, err
	}
	return q.allow(answer)
}

// ask returns the answer that allows, or the verdict there is without one.
func (q *question) ask(ctx context.Context) (ast.Object, *point.Verdict, error) {
	answer, decided, err := q.answer(ctx)
	if err != nil || decided != nil {
		return nil, decided, err
	}
	allowed, ok := boolMember(answer, "allowed")
	if !ok {
		return nil, nil, errors.New("the rule's answer has no boolean \"allowed\"")
	}
	if !allowed {
		return nil, &point.Verdict{Refusal: q.refuse(ctx)}, nil
	}
	return answer, nil, nil
}

// answer evaluates the rule, or applies the default of the policy's time when the policy has none.
func (q *question) answer(ctx context.Context) (ast.Object, *point.Verdict, error) {
	v, err := q.judge.eval(ctx, q.base.program.queries[q.row.Point], q.base, q.input)
	if errors.Is(err, errUndefined) || isEmptyObject(v) {
		return q.missing(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	answer, ok := v.(ast.Object)
	if !ok {
		return nil, nil, fmt.Errorf("the rule's answer: got %s, want an object", ast.ValueName(v))
	}
	return answer, nil, nil
}

func isEmptyObject(v ast.Value) bool {
	obj, ok := v.(ast.Object)
	return ok && obj.Len() == 0
}

func (q *question) missing(ctx context.Context) (ast.Object, *point.Verdict, error) {
	api, _ := point.ParseVersion(q.judge.apiVersion)
	reason, use := q.row.Missing(api, q.judge.opts.Strict)
	if reason != "" {
		return nil, refusal(reason), nil
	}
	if use != point.FallbackFramework {
		verdict := q.row.DefaultVerdict(q.in)
		if !verdict.Allowed {
			verdict.Refusal = q.refuse(ctx)
			verdict.Refusal.ByDefault = true
		}
		return nil, verdict, nil
	}
	v, err := q.judge.eval(ctx, q.base.program.fallbacks[q.row.Point], q.base, q.input)
	if err != nil {
		return nil, nil, err
	}
	answer, ok := v.(ast.Object)
	if !ok {
		return nil, nil, fmt.Errorf("the framework's answer: got %s, want an object", ast.ValueName(v))
	}
	return answer, nil, nil
}

// allow turns an answer into a verdict. What the policy returns is intersected with the request once more: a policy can
// take away, never add.
func (q *question) allow(answer ast.Object) (*point.Verdict, error) {
	d := &point.Verdict{Allowed: true}
	var err error
	if q.row.Outputs.Env {
		if d.Env, err = keptEnv(answer, point.EnvOf(q.in), q.input); err != nil {
			return nil, err
		}
	}
	if q.row.Outputs.Caps {
		if d.Capabilities, err = keptCapabilities(answer, point.CapabilitiesOf(q.in), q.input); err != nil {
			return nil, err
		}
	}
	if t := member(answer, "allow_stdio_access"); q.row.Outputs.Stdio && t != nil {
		stdio, ok := t.Value.(ast.Boolean)
		if !ok {
			return nil, fmt.Errorf("allow_stdio_access: got %s, want a boolean", ast.ValueName(t.Value))
		}
		d.AllowStdio = bool(stdio)
	}
	if in, ok := q.in.(point.LoadTransparencyTrustListInput); ok {
		if d.Ledgers, err = keptLedgers(answer, in.Ledgers); err != nil {
			return nil, err
		}
	}
	ops, err := operationsOf(answer)
	if err != nil || len(ops) == 0 {
		return d, err
	}
	p := &pending{judge: q.judge, base: q.base}
	if p.next, p.undo, err = q.base.apply(ops); err != nil {
		return nil, err
	}
	d.Pending = p
	return d, nil
}

// operationsOf are the changes an answer asks for.
func operationsOf(answer ast.Object) ([]operation, error) {
	metadata := member(answer, "metadata")
	if metadata == nil {
		return nil, nil
	}
	return parseOperations(metadata.Value)
}

// pending is the change of one verdict: the snapshot after it, and what to put back.
type pending struct {
	judge      *Judge
	base, next *snapshot
	undo       []undoEntry
	// keeps is the namespace that a fragment's package stays in, or empty.
	keeps string
}

// Commit implements point.Pending.
func (p *pending) Commit() (undo func() error, err error) {
	j := p.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != p.base {
		return nil, errors.New("the verdict is stale, the policy state changed since")
	}
	j.state = p.next
	return p.takeBack, nil
}

func (p *pending) takeBack() error {
	j := p.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state == p.next {
		j.state = p.base
		return nil
	}
	before, ok := j.state.revert(p.undo)
	if !ok {
		return errors.New("an entry that the change touched was changed since")
	}
	if p.keeps != "" {
		var err error
		if before, err = before.takeModuleBack(p); err != nil {
			return err
		}
	}
	j.state = before
	return nil
}

func boolMember(obj ast.Object, key string) (value, ok bool) {
	t := member(obj, key)
	if t == nil {
		return false, false
	}
	b, ok := t.Value.(ast.Boolean)
	return bool(b), ok
}
