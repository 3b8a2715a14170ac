package enforcer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Enforcer holds one loaded policy and its state. All methods may be called concurrently; a decision sees one state, and
// Commit refuses a decision whose state is no longer the present one.
type Enforcer struct {
	opts       Options
	compiler   *ast.Compiler
	queries    map[Point]prepared
	fallbacks  map[Point]prepared
	reason     prepared
	apiVersion string

	decisions atomic.Uint64

	mu       sync.Mutex
	state    *snapshot
	poisoned bool
	mounts   bool
}

// ErrInconsistent means that an undo could not be done: what the policy state says is no longer what is, and every further
// decision is refused.
var ErrInconsistent = errors.New("policy state is inconsistent after an undo that could not be done")

// Decision is an allowed request. Nothing has changed yet: Commit makes the state change after the act succeeded.
type Decision struct {
	ID    string
	Point Point
	// Env is what remains of the request's environment, in the request's order, duplicates included.
	Env []string
	// Capabilities is what remains of the request's capabilities; nil at points that have none.
	Capabilities *Capabilities
	// AllowStdio says whether the process may have its standard streams connected.
	AllowStdio bool

	enforcer *Enforcer
	base     *snapshot
	next     *snapshot
	undo     []undoEntry
	done     atomic.Bool
}

// Decide asks the policy. A refusal is a *Denial; any other error means that the policy could not decide, which is a refusal
// as well.
func (e *Enforcer) Decide(ctx context.Context, in Input) (*Decision, error) {
	row := rowOf(in)
	if row == nil {
		return nil, fmt.Errorf("decide: input %T belongs to no enforcement point", in)
	}
	id := strconv.FormatUint(e.decisions.Add(1), 10)
	e.mu.Lock()
	base, poisoned := e.state, e.poisoned
	e.mu.Unlock()
	if poisoned {
		return nil, fmt.Errorf("decide %s: %w", row.Point, ErrInconsistent)
	}
	ask := &question{enforcer: e, row: row, id: id, in: in, input: in.value(), base: base}
	return ask.decide(ctx)
}

// question is one request on its way to a decision.
type question struct {
	enforcer *Enforcer
	row      *pointRow
	id       string
	in       Input
	input    ast.Value
	base     *snapshot
	// byDefault is set when the answer is the default of the policy's time, not a rule's.
	byDefault bool
}

func rowOf(in Input) *pointRow {
	if in == nil {
		return nil
	}
	// Only the plain struct: a pointer to one could be nil, or change while it is judged.
	if t := reflect.TypeOf(in); t.Kind() == reflect.Pointer {
		return nil
	}
	return pointRows[in.Point()]
}

func (q *question) decide(ctx context.Context) (*Decision, error) {
	e := q.enforcer
	if q.row.Unsupported != "" {
		return nil, q.deny(q.row.Unsupported)
	}
	if e.apiVersion == "" {
		return nil, q.deny("policy does not define api_version")
	}
	answer, err := q.answer(ctx)
	if err != nil {
		if denial := (*Denial)(nil); errors.As(err, &denial) {
			return nil, err
		}
		return nil, q.failed(err)
	}
	allowed, ok := boolMember(answer, "allowed")
	if !ok {
		return nil, q.failed(errors.New("the rule's answer has no boolean \"allowed\""))
	}
	if !allowed {
		return nil, q.refuse(ctx)
	}
	d, err := q.allow(answer)
	if err != nil {
		return nil, q.failed(err)
	}
	return d, nil
}

// answer evaluates the rule, or applies the default of the policy's time when the policy has none.
func (q *question) answer(ctx context.Context) (ast.Object, error) {
	e := q.enforcer
	v, err := e.eval(ctx, e.queries[q.row.Point], q.base, q.input)
	if errors.Is(err, errUndefined) || isEmptyObject(v) {
		return q.missing(ctx)
	}
	if err != nil {
		return nil, err
	}
	answer, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("the rule's answer: got %s, want an object", ast.ValueName(v))
	}
	return answer, nil
}

func isEmptyObject(v ast.Value) bool {
	obj, ok := v.(ast.Object)
	return ok && obj.Len() == 0
}

func (q *question) missing(ctx context.Context) (ast.Object, error) {
	e := q.enforcer
	policy, _ := parseVersion(e.apiVersion)
	since, _ := parseVersion(q.row.Since)
	if !policy.less(since) || e.opts.Strict {
		return nil, q.deny(fmt.Sprintf("rule for %s is missing from policy", q.row.Point))
	}
	if q.row.Default != fallbackFramework {
		q.byDefault = true
		return q.row.defaults(), nil
	}
	v, err := e.eval(ctx, e.fallbacks[q.row.Point], q.base, q.input)
	if err != nil {
		return nil, err
	}
	answer, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("the framework's answer: got %s, want an object", ast.ValueName(v))
	}
	return answer, nil
}

func (q *question) failed(err error) error {
	return fmt.Errorf("decide %s: %w", q.row.Point, err)
}

// allow turns an answer into a decision. What the policy returns is intersected with the request once more: a policy can
// take away, never add.
func (q *question) allow(answer ast.Object) (*Decision, error) {
	d := &Decision{ID: q.id, Point: q.row.Point, enforcer: q.enforcer, base: q.base, next: q.base}
	var err error
	if q.row.Outputs.env {
		if d.Env, err = keptEnv(answer, requestEnv(q.in)); err != nil {
			return nil, err
		}
	}
	if q.row.Outputs.caps {
		if d.Capabilities, err = keptCapabilities(answer, requestCapabilities(q.in)); err != nil {
			return nil, err
		}
	}
	if t := member(answer, "allow_stdio_access"); q.row.Outputs.stdio && t != nil {
		stdio, ok := t.Value.(ast.Boolean)
		if !ok {
			return nil, fmt.Errorf("allow_stdio_access: got %s, want a boolean", ast.ValueName(t.Value))
		}
		d.AllowStdio = bool(stdio)
	}
	metadata := member(answer, "metadata")
	if metadata == nil {
		return d, nil
	}
	ops, err := parseOperations(metadata.Value)
	if err != nil || len(ops) == 0 {
		return d, err
	}
	d.next, d.undo, err = q.base.apply(ops)
	return d, err
}

// Commit makes the decision's state change. It fails, and changes nothing, when the state is no longer the one the decision
// was made in or when it was committed before. The undo it returns takes exactly this change back; it may be called once,
// while the entries it touched are as Commit left them. If they are not, every further decision is refused.
func (d *Decision) Commit() (undo func(), err error) {
	e := d.enforcer
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.poisoned {
		return nil, fmt.Errorf("commit %s: %w", d.Point, ErrInconsistent)
	}
	if d.done.Swap(true) {
		return nil, fmt.Errorf("commit %s: decision %s was committed before", d.Point, d.ID)
	}
	if len(d.undo) == 0 {
		return func() {}, nil
	}
	if e.state != d.base {
		return nil, fmt.Errorf("commit %s: decision %s is stale, the policy state changed since", d.Point, d.ID)
	}
	e.state = d.next
	return sync.OnceFunc(func() { e.undo(d) }), nil
}

func (e *Enforcer) undo(d *Decision) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == d.next {
		e.state = d.base
		return
	}
	before, ok := e.state.revert(d.undo)
	if !ok {
		e.poisoned = true
		return
	}
	e.state = before
}

// AddDefaultMounts adds the mounts that belong to the sandbox (hosts, hostname, resolv.conf) to those accepted without being
// named in the policy. It may be called once.
func (e *Enforcer) AddDefaultMounts(mounts []Mount) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mounts {
		return errors.New("add default mounts: they were added before")
	}
	e.mounts = true
	next := &snapshot{fixed: make(map[string]ast.Value, len(e.state.fixed)), metadata: e.state.metadata}
	for name, v := range e.state.fixed {
		next.fixed[name] = v
	}
	all := append(append([]Mount(nil), e.opts.DefaultMounts...), mounts...)
	next.fixed["defaultMounts"] = array(all, mountValue)
	e.state = next
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
