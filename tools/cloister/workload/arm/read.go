package arm

import (
	"context"
	"fmt"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Input is a template and how to read it.
type Input struct {
	Template   workload.Document
	Parameters []workload.Document // parameters files, a later one before an earlier one
	// ExactWildcards keeps the known parts around a value that the template does not give: "a-.*" instead of ".*", which is
	// what the peers' tools write.
	ExactWildcards bool
}

// Read returns the container groups and profiles of a template in its order: a loop gives as many as it runs, a group whose
// condition is false is left out, and so is one that takes its containers from a profile; Skipped names these. A condition
// that is false by default values alone, which a deployment may replace, leaves nothing out.
func Read(ctx context.Context, in Input) ([]workload.Group, error) {
	f, err := find(ctx, in)
	if err != nil {
		return nil, err
	}
	var groups []workload.Group
	for _, found := range f.groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		groups = append(groups, readGroup(found.value))
	}
	if err := f.reader.Err(); err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("%s: no %s with containers in the template", in.Template.Name, groupType)
	}
	return groups, nil
}

// Skipped returns the groups of a template that Read leaves out: the policies that stand in them stay, whatever they allow.
func Skipped(ctx context.Context, in Input) ([]workload.Skipped, error) {
	f, err := find(ctx, in)
	if err != nil {
		return nil, err
	}
	return f.skipped, nil
}

// finding is what a search through a template found.
type finding struct {
	reader *shape.Reader
	root   *tree.Node
	groups []foundGroup
	// skipped are the groups that are left out.
	skipped []workload.Skipped
}

// foundGroup is one container group: its value, computed, and where it was read.
type foundGroup struct {
	value shape.Value
	raw   *tree.Node // a loop makes several groups of one
}

func find(ctx context.Context, in Input) (*finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := parse(in.Template)
	if err != nil {
		return nil, err
	}
	given, err := readParameters(in.Parameters)
	if err != nil {
		return nil, err
	}
	f := &finding{reader: &shape.Reader{File: in.Template.Name, Fold: true, Exact: in.ExactWildcards}, root: root}
	if t, ok := newTemplate(f.reader, &expr.Budget{}, root, "", given, given); ok {
		s := &search{finding: f}
		s.resources(t.root.Get("resources"), &scope{template: t}, "")
	}
	return f, f.reader.Err()
}
