package rego

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// ErrDeadline means that an evaluation took longer than it may.
var ErrDeadline = errors.New("policy evaluation took too long")

var errUndefined = errors.New("undefined")

const resultVar = ast.Var("result")

// prepared is one compiled query `result = data.<package>.<rule>`.
type prepared struct {
	compiler *ast.Compiler
	body     ast.Body
	query    ast.QueryCompiler
}

// program is the compiled code of a policy, with what fragments added to it. Nothing changes it after it was made.
type program struct {
	compiler  *ast.Compiler
	queries   map[point.Point]prepared
	fallbacks map[point.Point]prepared
	reason    prepared
	// loadDelegated is set when the policy leaves load_fragment to the framework.
	loadDelegated bool
}

func prepareRef(compiler *ast.Compiler, pkg, rule string) (prepared, error) {
	ref := ast.Ref{ast.DefaultRootDocument, ast.StringTerm(pkg), ast.StringTerm(rule)}
	qc := compiler.QueryCompiler()
	body, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(resultVar), ast.NewTerm(ref))))
	if err != nil {
		return prepared{}, fmt.Errorf("query %s.%s: %w", pkg, rule, err)
	}
	return prepared{compiler: compiler, body: body, query: qc}, nil
}

// prepare compiles one query a point, so that a decision is one evaluation and nothing else.
func (p *program) prepare() error {
	p.queries = make(map[point.Point]prepared, len(point.Rows()))
	p.fallbacks = make(map[point.Point]prepared)
	for _, row := range point.Rows() {
		q, err := prepareRef(p.compiler, "policy", string(row.Point))
		if err != nil {
			return err
		}
		p.queries[row.Point] = q
		if row.Default != point.FallbackFramework {
			continue
		}
		if q, err = prepareRef(p.compiler, "framework", string(row.Point)); err != nil {
			return err
		}
		p.fallbacks[row.Point] = q
	}
	var err error
	p.reason, err = prepareRef(p.compiler, "policy", "reason")
	return err
}

// eval runs one query against one snapshot. A panic of the engine is an error like any other: whoever asked is refused.
func (j *Judge) eval(ctx context.Context, q prepared, s *snapshot, input ast.Value) (v ast.Value, err error) {
	defer recoverTo(&err, "evaluate policy")
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(j.opts.EvalTimeout, cancel.Cancel)
	defer timer.Stop()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()

	query := topdown.NewQuery(q.body).
		WithCompiler(q.compiler).
		WithQueryCompiler(q.query).
		WithStore(store{snapshot: s}).
		WithTransaction(readTransaction{}).
		WithCancel(cancel)
	if input != nil {
		query = query.WithInput(ast.NewTerm(input))
	}
	results, err := query.Run(ctx)
	switch {
	case topdown.IsCancel(err) && ctx.Err() != nil:
		return nil, ctx.Err()
	case topdown.IsCancel(err):
		return nil, ErrDeadline
	case err != nil:
		return nil, evalError(err)
	case len(results) == 0:
		return nil, errUndefined
	case len(results) > 1:
		return nil, errors.New("policy evaluation has more than one result")
	}
	term := results[0][resultVar]
	if term == nil {
		return nil, errUndefined
	}
	return term.Value, nil
}

func recoverTo(err *error, doing string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: engine panic: %s", doing, point.Quote(fmt.Sprint(r)))
	}
}

// evalError is what may be said of a failed evaluation: the engine's message repeats values, and a value may be one of the request's
// environment. Its code and the place in the policy are enough to find the rule.
func evalError(err error) error {
	var e *topdown.Error
	if !errors.As(err, &e) {
		return errors.New("the engine failed")
	}
	if e.Location == nil {
		return errors.New(e.Code)
	}
	return fmt.Errorf("%s line %d: %s", oneLine(e.Location.File, 64), e.Location.Row, e.Code)
}

// shortError is the engine's message in one line: the engine repeats the policy's text under each message.
func shortError(err error) error {
	const most, limit = 3, 1024
	var list ast.Errors
	if !errors.As(err, &list) || len(list) == 0 {
		return errors.New(oneLine(err.Error(), limit))
	}
	var parts []string
	for i, e := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		text := e.Code + ": " + e.Message
		if e.Location != nil {
			text = fmt.Sprintf("line %d: %s", e.Location.Row, text)
		}
		parts = append(parts, text)
	}
	return errors.New(oneLine(strings.Join(parts, "; "), limit))
}

func oneLine(text string, limit int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + " ..."
	}
	return text
}

func (j *Judge) readAPIVersion(ctx context.Context) (string, error) {
	for _, name := range []string{"api_version", "api_svn"} {
		q, err := prepareRef(j.state.program.compiler, "policy", name)
		if err != nil {
			return "", err
		}
		v, err := j.eval(ctx, q, j.state, nil)
		if errors.Is(err, errUndefined) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		text, ok := v.(ast.String)
		if !ok {
			return "", fmt.Errorf("%s: got %s, want a string", name, ast.ValueName(v))
		}
		if _, ok := point.ParseVersion(string(text)); !ok {
			return "", fmt.Errorf("%s: got %q, want MAJOR.MINOR.PATCH", name, point.Quote(string(text)))
		}
		return string(text), nil
	}
	return "", nil
}
