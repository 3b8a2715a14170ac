package enforcer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// judge answers one input in the present state of one policy.
type judge interface {
	Decide(ctx context.Context, row *point.Row, in point.Input) (*point.Verdict, error)
	SetDefaultMounts(mounts []Mount)
}

// Enforcer holds one loaded policy and its state. All methods may be called concurrently; a decision sees one state, and
// Commit refuses a decision whose state is no longer the present one.
type Enforcer struct {
	opts      Options
	judge     judge
	judgeName JudgeName
	notPlain  error
	decisions atomic.Uint64
	documents documents
	// poisoned is set when an undo could not be done.
	poisoned atomic.Bool
	// mounts is set when the sandbox's default mounts were added.
	mounts    atomic.Bool
	catalogue catalogue
}

// Judge says who decides, and why the compiled rules do not when they were not told to stay out.
func (e *Enforcer) Judge() (name JudgeName, notPlain error) { return e.judgeName, e.notPlain }

// ErrInconsistent means that an undo could not be done: what the policy state says is no longer what is, and every further
// decision is refused.
var ErrInconsistent = errors.New("policy state is inconsistent after an undo that could not be done")

// ErrDeadline means that an evaluation took longer than it may.
var ErrDeadline = rego.ErrDeadline

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
	// Document names the signed document that would count from the commit on; nil at points that load none.
	Document *Document

	enforcer *Enforcer
	pending  point.Pending
	done     atomic.Bool
}

// Decide asks the policy. A refusal is a *Denial; any other error means that the policy could not decide, which is a refusal
// as well.
func (e *Enforcer) Decide(ctx context.Context, in Input) (*Decision, error) {
	row := point.RowOf(in)
	if row == nil {
		return nil, fmt.Errorf("decide: input %T belongs to no enforcement point", in)
	}
	id := strconv.FormatUint(e.decisions.Add(1), 10)
	if e.poisoned.Load() {
		return nil, fmt.Errorf("decide %s: %w", row.Point, ErrInconsistent)
	}
	if err := point.Check(in); err != nil {
		return nil, fmt.Errorf("decide %s: %w", row.Point, err)
	}
	v, err := e.judge.Decide(ctx, row, in)
	switch {
	case err != nil:
		return nil, fmt.Errorf("decide %s: %w", row.Point, err)
	case !v.Allowed:
		return nil, newDenial(id, row, in, v.Refusal)
	}
	return &Decision{
		ID: id, Point: row.Point, Env: v.Env, Capabilities: v.Capabilities, AllowStdio: v.AllowStdio,
		enforcer: e, pending: v.Pending,
	}, nil
}

// Commit makes the decision's state change. It fails, and changes nothing, when the state is no longer the one the decision
// was made in or when it was committed before. The undo it returns takes exactly this change back; it may be called once,
// while the entries it touched are as Commit left them. If they are not, every further decision is refused.
func (d *Decision) Commit() (undo func(), err error) {
	e := d.enforcer
	if e.poisoned.Load() {
		return nil, fmt.Errorf("commit %s: %w", d.Point, ErrInconsistent)
	}
	if d.done.Swap(true) {
		return nil, fmt.Errorf("commit %s: decision %s was committed before", d.Point, d.ID)
	}
	if d.pending == nil {
		return func() {}, nil
	}
	takeBack, err := d.pending.Commit()
	if err != nil {
		return nil, fmt.Errorf("commit %s: decision %s: %w", d.Point, d.ID, err)
	}
	return sync.OnceFunc(func() {
		if takeBack() != nil {
			e.poisoned.Store(true)
		}
	}), nil
}

// AddDefaultMounts adds the mounts that belong to the sandbox (hosts, hostname, resolv.conf) to those accepted without being
// named in the policy. It may be called once.
func (e *Enforcer) AddDefaultMounts(mounts []Mount) error {
	if e.mounts.Swap(true) {
		return errors.New("add default mounts: they were added before")
	}
	e.judge.SetDefaultMounts(append(append([]Mount(nil), e.opts.DefaultMounts...), mounts...))
	return nil
}
