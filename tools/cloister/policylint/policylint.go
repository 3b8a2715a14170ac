// Package policylint finds in a policy what users get wrong: what can never match, what is wider than it looks, what opens
// the guest to the host, and what older versions of the contract decide by default.
//
// A finding is advice. Nothing here says that a policy without findings is safe, and the enforcer asks nobody here. Values
// that look like secrets are named by their place and never repeated.
package policylint

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// Severity says how much a finding matters.
type Severity string

// The severities.
const (
	// Error: the policy, or a part of it, cannot do what it says.
	Error Severity = "error"
	// Warning: it does more than its author may want.
	Warning Severity = "warning"
	// Info: worth knowing.
	Info Severity = "info"
)

// Finding is one thing found.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Path is the place in the policy, as in containers[2].env_rules[3]; empty for the text as a whole.
	Path    string `json:"path"`
	Message string `json:"message"`
	Fix     string `json:"fix"`
}

// Lint returns what is found in a policy text, in the order of the codes, each in the order of the policy. An error means that
// ctx ended.
func Lint(ctx context.Context, text []byte) ([]Finding, error) {
	l := &linter{checked: map[any]checked{}}
	if len(text) > enforcer.DefaultPolicyLimit {
		l.add(tooLong, "", "the text has %d bytes, an agent takes %d", len(text), enforcer.DefaultPolicyLimit)
	}
	doc, err := policydoc.Read(ctx, text)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		l.add(doesNotLoad, "", "%s", err)
		return l.sorted(), nil
	}
	l.doc = doc
	l.version, l.hasVersion = point.ParseVersion(doc.FrameworkVersion)
	l.versions()
	l.form()
	l.points()
	l.flags()
	for _, c := range doc.Containers {
		l.container(c)
	}
	l.twins()
	l.others()
	return l.sorted(), ctx.Err()
}

type linter struct {
	doc        *policydoc.Policy
	version    point.Version
	hasVersion bool
	findings   []Finding
	// checked are the findings about entries that were seen before: containers share most of theirs, and patterns take time.
	checked map[any]checked
	// platform are the variables of the platform in the list of rules that is being read.
	platform []string
}

func (l *linter) add(c code, path, format string, args ...any) {
	row := c.row()
	l.findings = append(l.findings, Finding{
		Code: row.Code, Severity: row.Severity, Path: path, Message: fmt.Sprintf(format, args...),
		Fix: strings.ReplaceAll(row.Fix, "PATH", path),
	})
}

// knows says whether the policy's framework version has what came with the given one.
func (l *linter) knows(since point.Version) bool { return l.hasVersion && !l.version.Less(since) }

// checked is what was found in one entry, with places inside it.
type checked struct {
	findings []Finding
	platform []string
}

// once checks an entry, the place of which is taken for empty, or repeats what was found in it elsewhere.
func (l *linter) once(entry any, place string, check func()) {
	found, ok := l.checked[entry]
	if !ok {
		findings, platform := l.findings, l.platform
		l.findings, l.platform = nil, nil
		check()
		found = checked{l.findings, l.platform}
		l.findings, l.platform = findings, platform
		l.checked[entry] = found
	}
	for _, f := range found.findings {
		f.Path = place + f.Path
		l.findings = append(l.findings, f)
	}
	l.platform = append(l.platform, found.platform...)
}
