package enforcer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// JudgeName names who decides: the policy's Rego text in the engine, or the same rules in Go over indexed data.
type JudgeName string

// The judges. A policy with rules of its own is always judged by the engine.
const (
	// JudgeAuto takes the compiled rules where the policy is plain, which is the default.
	JudgeAuto JudgeName = "auto"
	// JudgeOPA evaluates Rego for every policy.
	JudgeOPA JudgeName = "opa"
	// JudgeCompiled refuses to load a policy that is not plain.
	JudgeCompiled JudgeName = "compiled"
	// JudgeBoth asks both where the policy is plain; a disagreement is an error, so a refusal. It is for tests and tools.
	JudgeBoth JudgeName = "both"
)

// Judges lists what Options.Judge can be.
func Judges() []JudgeName { return []JudgeName{JudgeAuto, JudgeOPA, JudgeCompiled, JudgeBoth} }

// ErrJudgesDisagree means that the compiled rules and the engine gave different answers: a fault of this program, and a refusal.
var ErrJudgesDisagree = errors.New("the compiled rules and the engine disagree")

var pointNames = func() []string {
	var names []string
	for _, row := range point.Rows() {
		names = append(names, string(row.Point))
	}
	return names
}()

// chooseBefore is choose until the context ends. The engine's parser and compiler cannot be stopped: what was begun goes on by itself, and its
// result is thrown away.
func chooseBefore(ctx context.Context, policy []byte, opts Options) (judge, JudgeName, error, error) {
	type chosen struct {
		judge         judge
		name          JudgeName
		notPlain, err error
	}
	done := make(chan chosen, 1)
	go func() {
		c := chosen{err: errors.New("the engine failed on the text")}
		defer func() {
			_ = recover() // c says so
			done <- c
		}()
		j, name, notPlain, err := choose(ctx, policy, opts)
		c = chosen{j, name, notPlain, err}
	}()
	select {
	case c := <-done:
		return c.judge, c.name, c.notPlain, c.err
	case <-ctx.Done():
		return nil, "", nil, ctx.Err()
	}
}

// choose makes the judge of a policy. notPlain says why the compiled rules could not be taken.
func choose(ctx context.Context, policy []byte, opts Options) (j judge, name JudgeName, notPlain, err error) {
	var plain *plainJudge
	if opts.Judge != JudgeOPA {
		plain, notPlain = newPlainJudge(policy, opts)
	}
	switch {
	case opts.Judge == JudgeCompiled && notPlain != nil:
		return nil, "", notPlain, notPlain
	case plain != nil && opts.Judge != JudgeBoth:
		return plain, JudgeCompiled, nil, nil
	}
	engine, err := rego.New(ctx, string(policy), opts.rego())
	if err != nil {
		return nil, "", notPlain, err
	}
	if plain == nil {
		return engine, JudgeOPA, notPlain, nil
	}
	return &bothJudges{compiled: plain, engine: engine}, JudgeBoth, nil, nil
}

// bothJudges asks both and compares. One question at a time: two judges have two states, and a change between two answers would look
// like a disagreement.
type bothJudges struct {
	mu       sync.Mutex
	compiled *plainJudge
	engine   *rego.Judge
}

func (b *bothJudges) SetDefaultMounts(mounts []Mount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.compiled.SetDefaultMounts(mounts)
	b.engine.SetDefaultMounts(mounts)
}

// Decide answers what both judges answer.
func (b *bothJudges) Decide(ctx context.Context, row *point.Row, in point.Input) (*point.Verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	want, err := b.engine.Decide(ctx, row, in)
	got, errCompiled := b.compiled.Decide(ctx, row, in)
	if err != nil || errCompiled != nil {
		return nil, errors.Join(err, errCompiled)
	}
	if err := sameVerdict(want, got); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJudgesDisagree, err)
	}
	return b.join(want, got), nil
}

// LoadFragment answers what both judges answer.
func (b *bothJudges) LoadFragment(ctx context.Context, f *fragment.Fragment) (*point.Verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	want, err := b.engine.LoadFragment(ctx, f)
	got, errCompiled := b.compiled.LoadFragment(ctx, f)
	if err != nil || errCompiled != nil {
		return nil, errors.Join(err, errCompiled)
	}
	if err := sameVerdict(want, got); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJudgesDisagree, err)
	}
	return b.join(want, got), nil
}

func (b *bothJudges) join(want, got *point.Verdict) *point.Verdict {
	if got.Pending != nil {
		got.Pending = &bothPending{judges: b, compiled: got.Pending, engine: want.Pending}
	}
	return got
}

// sameVerdict compares what the engine wants with what the compiled rules got.
func sameVerdict(want, got *point.Verdict) error {
	for _, c := range []struct {
		what      string
		want, got any
	}{
		{"allowed", want.Allowed, got.Allowed},
		{"environment", want.Env, got.Env},
		{"capabilities", want.Capabilities, got.Capabilities},
		{"stdio", want.AllowStdio, got.AllowStdio},
		{"ledgers", want.Ledgers, got.Ledgers},
		{"svn", want.SVN, got.SVN},
		{"state change", want.Pending != nil, got.Pending != nil},
	} {
		if !reflect.DeepEqual(c.want, c.got) {
			return fmt.Errorf("%s: the engine says %v, the compiled rules %v", c.what, c.want, c.got)
		}
	}
	if want.Allowed {
		return nil
	}
	w, g := want.Refusal, got.Refusal
	switch {
	case !slices.Equal(w.Reasons, g.Reasons):
		return fmt.Errorf("reasons: the engine says %q, the compiled rules %q", w.Reasons, g.Reasons)
	case w.Text != g.Text || w.ByDefault != g.ByDefault || w.Container != g.Container || w.PolicyError != g.PolicyError:
		return errors.New("the refusals differ besides their reasons")
	}
	return sameDocument(w.Document, g.Document)
}

func sameDocument(want, got func() any) error {
	if (want == nil) != (got == nil) {
		return errors.New("only one judge has a document of reasons")
	}
	if want == nil {
		return nil
	}
	w, errWant := json.Marshal(want())
	g, errGot := json.Marshal(got())
	if errWant != nil || errGot != nil || string(w) != string(g) {
		return fmt.Errorf("document of reasons: %d bytes from the engine, %d from the compiled rules", len(w), len(g))
	}
	return nil
}

// bothPending changes the state of both judges, and compares the states.
type bothPending struct {
	judges           *bothJudges
	compiled, engine point.Pending
}

func (p *bothPending) Commit() (undo func() error, err error) {
	p.judges.mu.Lock()
	defer p.judges.mu.Unlock()
	undoCompiled, err := p.compiled.Commit()
	if err != nil {
		return nil, err
	}
	undoEngine, err := p.engine.Commit()
	if err != nil {
		return nil, errors.Join(err, undoCompiled())
	}
	if err := p.judges.sameState(); err != nil {
		return nil, errors.Join(err, undoCompiled(), undoEngine())
	}
	return func() error {
		p.judges.mu.Lock()
		defer p.judges.mu.Unlock()
		return errors.Join(undoCompiled(), undoEngine(), p.judges.sameState())
	}, nil
}

// sameState compares the policy states of both judges, without empty tables and what only the engine keeps.
func (b *bothJudges) sameState() error {
	want, _ := b.engine.Metadata().(map[string]any)
	got := b.compiled.metadata()
	for _, state := range []map[string]any{want, got} {
		maps.DeleteFunc(state, func(name string, table any) bool {
			entries, ok := table.(map[string]any)
			return name == "operatingsystem" || ok && len(entries) == 0
		})
	}
	w, errWant := json.Marshal(want)
	g, errGot := json.Marshal(got)
	if errWant != nil || errGot != nil || string(w) != string(g) {
		return fmt.Errorf("%w: state: the engine has %s, the compiled rules %s", ErrJudgesDisagree, w, g)
	}
	return nil
}
