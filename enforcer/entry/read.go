package entry

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// NotPlainError says why a policy is not plain: rules of its own, data of another shape, or a text that the engine will
// refuse with a better message.
type NotPlainError struct {
	// Why is one short sentence.
	Why string
}

func (e *NotPlainError) Error() string { return "policy is not plain: " + e.Why }

func notPlain(format string, args ...any) error {
	return &NotPlainError{Why: fmt.Sprintf(format, args...)}
}

// Read reads a policy text. points are the names of the enforcement points. Every error is a *NotPlainError.
func Read(text []byte, points []string) (*Policy, error) {
	s := newSkeleton(text, findLists(text))
	if aci.Nesting(s.text) > aci.MaxNesting {
		return nil, notPlain("brackets nest deeper than %d", aci.MaxNesting)
	}
	module, err := parse(s.text)
	if err != nil {
		return nil, err
	}
	return recognise(module, s, points)
}

// parse parses as Rego v1, or else as v0, as the engine does. What a plain policy consists of means the same in both.
func parse(text string) (module *ast.Module, err error) {
	defer func() {
		if r := recover(); r != nil {
			module, err = nil, notPlain("the engine's parser fails on the text")
		}
	}()
	for _, version := range []ast.RegoVersion{ast.RegoV1, ast.RegoV0} {
		module, err = ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: version})
		if err == nil && module != nil {
			return module, nil
		}
	}
	return nil, notPlain("the text does not parse")
}

// clip bounds what a message repeats of the text.
func clip(s string) string {
	const limit = 64
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
