package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// groupDiff is what --json prints of one group of a document: From is what is there, To what would be written.
type groupDiff struct {
	Group string `json:"group,omitempty"`
	shownDiff
}

// diff compares the policies in a document with those that would be written into it.
func (g *groupGenerate) diff(cmd *cobra.Command, asJSON bool) error {
	if len(g.sources()) > 1 {
		return asFailure(cmd, usage(cmd, "-a and --virtual-node-yaml are given, want one"))
	}
	if err := g.check(cmd); err != nil {
		return asFailure(cmd, err)
	}
	g.wildcards = true // nothing is written
	list, err := g.diffs(cmd)
	if isUsage(err) {
		return asFailure(cmd, err)
	}
	if err == nil {
		err = printDiffs(cmd, list, asJSON)
	}
	if err != nil {
		return fail(cmd, err)
	}
	return differs(list)
}

// differs is the exit code of what was printed.
func differs(list []groupDiff) error {
	for _, d := range list {
		if !d.Same {
			// The output says it all.
			return &exitError{code: exitDiffers, err: errors.New("")}
		}
	}
	return nil
}

func (g *groupGenerate) diffs(cmd *cobra.Command) ([]groupDiff, error) {
	doc, err := g.read(cmd)
	if err != nil {
		return nil, err
	}
	policies, err := g.generate(cmd, doc)
	if err != nil {
		return nil, err
	}
	var list []groupDiff
	for _, p := range policies {
		d := groupDiff{Group: p.of.Name}
		have, err := existing(p.of)
		if err == nil {
			d.shownDiff, err = compare(cmd.Context(), have, p.Rego(false))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

func compare(ctx context.Context, from, to []byte) (shownDiff, error) {
	a, err := policydoc.Read(ctx, from)
	if err != nil {
		return shownDiff{}, fmt.Errorf("the policy in the document: %w", err)
	}
	b, err := policydoc.Read(ctx, to)
	if err != nil {
		return shownDiff{}, fmt.Errorf("the generated policy: %w", err)
	}
	d := shownDiff{SameBytes: a.SHA256 == b.SHA256, Differences: policydoc.Diff(a, b)}
	if d.Same = len(d.Differences) == 0; d.Same {
		d.Differences = []policydoc.Change{}
	}
	return d, nil
}

func printDiffs(cmd *cobra.Command, list []groupDiff, asJSON bool) error {
	if asJSON {
		return encodeJSON(cmd.OutOrStdout(), struct {
			Groups []groupDiff `json:"groups"`
		}{list})
	}
	for _, d := range list {
		if len(list) > 1 {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s:\n", printable(d.Group)); err != nil {
				return err
			}
		}
		if err := d.print(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return nil
}
