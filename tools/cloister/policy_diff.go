package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// exitDiffers is policy diff's code for policies that decide differently. As for other programs that compare, whatever
// kept it from comparing has another.
const exitDiffers = 2

// shownDiff is what --json prints.
type shownDiff struct {
	Same bool `json:"same"`
	// SameBytes says that HOST_DATA is the same, too.
	SameBytes   bool               `json:"same_bytes"`
	Differences []policydoc.Change `json:"differences"`
}

func newPolicyDiffCommand() *cobra.Command {
	var asJSON bool
	var g groupGenerate
	var p podGenerate
	cmd := &cobra.Command{
		Use:   "diff A B | -a TEMPLATE | --virtual-node-yaml YAML | -f YAML",
		Short: "Print in what two policies decide differently",
		Long: `Diff compares what two policies say, not how: white space, comments, the order of entries, and the names and ids of containers
are no differences. Containers are matched by name where a policy has it once, else by layers and command.

With -a, --virtual-node-yaml or -f it compares the policy that is in a document with the one that "policy generate" would write into
it, with the same flags.

Exit codes: 0 they say the same, 1 something failed (wrong usage, too), 2 they differ.`,
		Example: `  cloister policy diff old.rego new.rego
  cloister policy diff --json old.rego new.rego | jq -r '.differences[].path'
  cloister policy diff -a template.json -p parameters.json --lock cloister.lock.json --compat confcom-2
  cloister policy diff -f deployment.yaml --config-map settings.yaml --images out/images`,
		Args: func(cmd *cobra.Command, args []string) error {
			if g.template != "" || g.virtualNode != "" || p.file != "" {
				return asFailure(cmd, noArguments(cmd, args))
			}
			err := exactly("A", "B")(cmd, args)
			if err == nil {
				err = oneStdin(cmd, args...)
			}
			return asFailure(cmd, err)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case p.file != "" && len(g.sources()) > 0:
				return asFailure(cmd, usage(cmd, "-f and %s are given, want one source", g.sources()[0]))
			case p.file != "":
				return p.diff(cmd, &g, asJSON)
			case g.template != "" || g.virtualNode != "":
				return g.diff(cmd, asJSON)
			}
			if err := refuseFlags(cmd, "without -a, --virtual-node-yaml or -f", func(name string) bool { return name != "json" }); err != nil {
				return asFailure(cmd, err)
			}
			err := diffPolicies(cmd, args[0], args[1], asJSON)
			var exit *exitError
			if err != nil && !errors.As(err, &exit) {
				return fmt.Errorf("policy diff: %w", err)
			}
			return err
		},
	}
	cmd.SetFlagErrorFunc(asFailure)
	p.bind(cmd.Flags())
	g.bind(cmd.Flags())
	cmd.Flags().StringVar(&g.images, "images", "", "directory of OCI layouts")
	cmd.Flags().StringVar(&g.cache, "cache", "", "directory of what is known of layers (default in the user's cache directory)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON")
	return cmd
}

// asFailure keeps a usage error from looking like a difference.
func asFailure(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	//lint:ignore ST1005 it ends in the line that main adds to usage errors
	return &exitError{code: exitFailed, err: fmt.Errorf("%w\nRun '%s --help' for usage.", err, cmd.CommandPath())}
}

func diffPolicies(cmd *cobra.Command, nameA, nameB string, asJSON bool) error {
	a, err := readPolicyDocument(cmd, nameA)
	if err != nil {
		return err
	}
	b, err := readPolicyDocument(cmd, nameB)
	if err != nil {
		return err
	}
	result := shownDiff{SameBytes: a.SHA256 == b.SHA256, Differences: policydoc.Diff(a, b)}
	if result.Same = len(result.Differences) == 0; result.Same {
		result.Differences = []policydoc.Change{}
	}
	if asJSON {
		err = encodeJSON(cmd.OutOrStdout(), result)
	} else {
		err = result.print(cmd.OutOrStdout())
	}
	if err == nil && !result.Same {
		// The output says it all.
		return &exitError{code: exitDiffers, err: errors.New("")}
	}
	return err
}

func (d *shownDiff) print(w io.Writer) error {
	var b strings.Builder
	for _, c := range d.Differences {
		switch c.Kind {
		case policydoc.Added:
			fmt.Fprintf(&b, "+ %s: %s\n", printable(c.Path), printable(c.To))
		case policydoc.Removed:
			fmt.Fprintf(&b, "- %s: %s\n", printable(c.Path), printable(c.From))
		default:
			fmt.Fprintf(&b, "~ %s: %s -> %s\n", printable(c.Path), printable(c.From), printable(c.To))
		}
	}
	switch {
	case d.Same && d.SameBytes:
		b.WriteString("the same text\n")
	case d.Same:
		b.WriteString("they say the same; the texts differ, and so does HOST_DATA\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// disagreements are the fields in which containers differ among themselves, in the order of a definition.
func disagreements(list []*entry.Container) []string {
	var fields []string
	for i := 1; i < len(list); i++ {
		for _, c := range policydoc.DiffContainers("", list[0], list[i]) {
			field, _, _ := strings.Cut(strings.TrimPrefix(c.Path, "."), "[")
			if field, _, _ = strings.Cut(field, "."); !slices.Contains(fields, field) {
				fields = append(fields, field)
			}
		}
	}
	return fields
}
