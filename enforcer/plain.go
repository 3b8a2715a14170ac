package enforcer

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/compiled"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// plainJudge decides with the compiled rules. Fragments and trust lists, which are Rego themselves and come rarely, are judged by the
// engine on the policy without its containers; what a fragment adds is data again, and goes to the compiled rules.
type plainJudge struct {
	*compiled.Judge
	skeleton string
	opts     Options
	openExec bool

	mu       sync.Mutex
	compiled *rego.Judge

	// commit makes a change of the engine and what follows from it one.
	commit sync.Mutex
}

func newPlainJudge(policy []byte, opts Options) (*plainJudge, error) {
	read, err := entry.Read(policy, pointNames)
	if err != nil {
		return nil, err
	}
	j, err := compiled.New(read, compiled.Options{
		Strict: opts.Strict, DefaultMounts: opts.DefaultMounts, PrivilegedMounts: opts.PrivilegedMounts, EvalTimeout: opts.EvalTimeout,
	})
	if err != nil {
		return nil, err
	}
	return &plainJudge{Judge: j, skeleton: read.Skeleton, opts: opts, openExec: openExec(read, opts.Strict)}, nil
}

// engine compiles the framework when it is first needed: most pods load no fragment.
func (j *plainJudge) engine(ctx context.Context) (*rego.Judge, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.compiled == nil {
		opts := j.opts.rego()
		opts.Skeleton = true
		engine, err := rego.New(ctx, j.skeleton, opts)
		if err != nil {
			return nil, err
		}
		j.compiled = engine
	}
	return j.compiled, nil
}

// Decide judges one input.
func (j *plainJudge) Decide(ctx context.Context, row *point.Row, in point.Input) (*point.Verdict, error) {
	switch row.Point {
	case point.LoadFragment, point.LoadTransparencyTrustList:
		engine, err := j.engine(ctx)
		if err != nil {
			return nil, err
		}
		return engine.Decide(ctx, row, in)
	}
	return j.Judge.Decide(ctx, row, in)
}

// LoadFragment asks the engine, and makes what the fragment adds ready for the compiled rules.
func (j *plainJudge) LoadFragment(ctx context.Context, f *fragment.Fragment) (*point.Verdict, error) {
	engine, err := j.engine(ctx)
	if err != nil {
		return nil, err
	}
	v, err := engine.LoadFragment(ctx, f)
	if err != nil || !v.Allowed || v.Pending == nil {
		return v, err
	}
	data, err := dataOf(rego.Extracts(v.Pending))
	if err != nil {
		return nil, &fragment.Error{Reason: fragment.ReasonEval, Err: err}
	}
	if err := j.CheckFragments(data); err != nil {
		return nil, &fragment.Error{Reason: fragment.ReasonEval, Err: err}
	}
	v.Pending = &fragmentPending{judge: j, engine: v.Pending, data: data}
	return v, nil
}

// dataOf reads what loaded fragments add as typed entries.
func dataOf(extracts []rego.Loaded) ([]*entry.Data, error) {
	var list []*entry.Data
	for _, l := range extracts {
		d, e := &entry.Data{}, l.Extract
		for _, field := range []struct {
			name string
			read func(ast.Value) error
		}{
			{"containers", func(v ast.Value) (err error) { d.Containers, err = entry.Containers(v); return }},
			{"external_processes", func(v ast.Value) (err error) { d.ExternalProcesses, err = entry.ExternalProcesses(v); return }},
			{"platform_rules", func(v ast.Value) (err error) { d.PlatformRules, err = entry.PlatformRules(v); return }},
		} {
			t := e.Get(ast.StringTerm(field.name))
			if t == nil {
				continue
			}
			if err := field.read(t.Value); err != nil {
				return nil, fmt.Errorf("%s: %w", field.name, err)
			}
		}
		placeContainers(d.Containers, l)
		list = append(list, d)
	}
	return list, nil
}

// placeContainers says of each container which fragment it is from and where in its list.
func placeContainers(list []*entry.Container, l rego.Loaded) {
	origin := l.Origin
	if origin == nil {
		origin = unknownOrigin
	}
	for i, c := range list {
		c.Origin = origin
		if l.Index != nil {
			c.Index = l.Index[i]
		}
	}
}

// fragmentPending adds a fragment to both: the engine's state, and the data of the compiled rules.
type fragmentPending struct {
	judge  *plainJudge
	engine point.Pending
	data   []*entry.Data
}

// Commit implements point.Pending.
func (p *fragmentPending) Commit() (undo func() error, err error) {
	p.judge.commit.Lock()
	defer p.judge.commit.Unlock()
	undoEngine, err := p.engine.Commit()
	if err != nil {
		return nil, err
	}
	before := p.judge.SetFragments(p.data)
	return func() error {
		p.judge.commit.Lock()
		defer p.judge.commit.Unlock()
		if err := undoEngine(); err != nil {
			return err
		}
		p.judge.SetFragments(before)
		return nil
	}, nil
}

// metadata is the state of the compiled rules with what the engine keeps of fragments. An engine that was not needed yet keeps nothing.
func (j *plainJudge) metadata() map[string]any {
	j.mu.Lock()
	engine := j.compiled
	j.mu.Unlock()
	all := map[string]any{}
	if engine != nil {
		if kept, ok := engine.Metadata().(map[string]any); ok {
			all = kept
		}
	}
	maps.Copy(all, j.Metadata())
	return all
}

// Comparison is what a refused request was held against, for whoever explains the refusal.
type Comparison = compiled.Comparison

// Comparison returns the containers of the policy that a request was held against. It is empty for a policy with rules of its own:
// those may compare something else.
func (e *Enforcer) Comparison(in Input) Comparison {
	switch j := e.judge.(type) {
	case *plainJudge:
		return j.Comparison(in)
	case *bothJudges:
		return j.compiled.Comparison(in)
	}
	return Comparison{}
}
