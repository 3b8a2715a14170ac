package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
	denials "github.com/cloister-cc/cloister/enforcer/explain"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

type policyExplain struct {
	judging
	json bool
}

// explanation is what --json prints.
type explanation struct {
	Point   enforcer.Point `json:"point"`
	Allowed bool           `json:"allowed"`
	// Sentence is the refusal in plain words; Rule, Field and Reasons are the enforcer's.
	Sentence string   `json:"explanation,omitempty"`
	Rule     string   `json:"rule,omitempty"`
	Field    string   `json:"field,omitempty"`
	Reasons  []string `json:"errors,omitempty"`
	// Error is set when the policy could not decide.
	Error string `json:"error,omitempty"`
	// State says what of the requests before is in the way.
	State string `json:"state,omitempty"`
	// Nearest is the container the request comes nearest to, and Place where it is.
	Nearest *denials.Match `json:"nearest,omitempty"`
	Place   string         `json:"place,omitempty"`
	// Fitting are the containers that it does not differ from, and Disagree what they differ in among themselves.
	Fitting  []fittingContainer `json:"fitting,omitempty"`
	Disagree []string           `json:"disagree,omitempty"`
	// OwnRule is set when the policy decides the point by a rule of its own, which may not compare containers at all.
	OwnRule bool `json:"own_rule,omitempty"`
	// Unread are the feeds of fragments whose containers could not be compared.
	Unread []string `json:"unread_fragments,omitempty"`
	// Earlier are the set-up requests that were refused, which may be the cause.
	Earlier []earlierRefusal `json:"setup_refused,omitempty"`
}

type fittingContainer struct {
	Index int    `json:"index"`
	Name  string `json:"container,omitempty"`
	Place string `json:"place"`
}

type earlierRefusal struct {
	Index    int            `json:"index"`
	Point    enforcer.Point `json:"point"`
	Sentence string         `json:"explanation"`
}

func newPolicyExplainCommand() *cobra.Command {
	var e policyExplain
	cmd := &cobra.Command{
		Use:   "explain POLICY REQUEST",
		Short: "Say why a request is refused, and which container of the policy it comes nearest to",
		Long: `Explain reads REQUEST (a file, or - for standard input): one {"name": "<point>", "input": {...}}, or a list of them of which all
but the last set the scene, as "cloister policy simulate" takes them. It puts them to the policy in order and says why the last
is refused: in words, and as the nearest container with the fewest differences. Values of environment variables are never printed.

A container is compared once its layers are mounted: begin with its mount_device and mount_overlay requests. Without them all
containers of the policy are compared.

Exit codes: 0 explained, or allowed, which it says; 1 the policy was not loaded or the input is broken; 2 usage.`,
		Example: `  cloister policy explain policy.rego requests.json
  head -n 8 requests.jsonl | cloister policy explain policy.rego - --json`,
		Args: exactly("POLICY", "REQUEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(oneStdin(cmd, args...), e.check(cmd)); err != nil {
				return err
			}
			if err := e.run(cmd, args[0], args[1]); err != nil {
				return fmt.Errorf("policy explain: %w", err)
			}
			return nil
		},
	}
	e.flags(cmd)
	cmd.Flags().BoolVar(&e.json, "json", false, "print the explanation as JSON")
	return cmd
}

func (e *policyExplain) run(cmd *cobra.Command, policy, requests string) error {
	text, err := readPolicy(policy, cmd.InOrStdin())
	if err != nil {
		return err
	}
	list, err := readRequests(requests, cmd.InOrStdin())
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%q has no request in it", requests)
	}
	doc, err := policydoc.Read(cmd.Context(), text)
	if err != nil {
		return err
	}
	loaded, err := e.load(cmd.Context(), text)
	if err != nil {
		return err
	}
	s := newSession(loaded, doc, e.agentMounts)
	if err := e.prepare(func(r request) answer { return s.ask(cmd.Context(), r) }); err != nil {
		return err
	}
	var earlier []earlierRefusal
	for i, r := range list[:len(list)-1] {
		if a := s.ask(cmd.Context(), r); !a.Allowed {
			earlier = append(earlier, earlierRefusal{i, r.Name, a.sentence()})
		}
	}
	last := list[len(list)-1]
	candidates := s.candidatesOf(last.Input)
	state := s.state(last.Input)
	x := explanationOf(last, s.ask(cmd.Context(), last), doc)
	if x.Earlier = earlier; !x.Allowed {
		x.State = state
		x.compare(s, last.Input, candidates)
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if e.json {
		return encodeJSON(cmd.OutOrStdout(), x)
	}
	return x.print(cmd.OutOrStdout())
}

// sentence says in words why a request was refused.
func (a answer) sentence() string {
	var denial *enforcer.Denial
	if errors.As(a.err, &denial) {
		return denials.Denial(denial)
	}
	return "The policy could not decide, so the request was refused: " + a.Error + "."
}

func explanationOf(r request, a answer, doc *policydoc.Policy) *explanation {
	x := &explanation{Point: r.Name, Allowed: a.Allowed}
	if a.Allowed {
		return x
	}
	x.Sentence, x.Error = a.sentence(), a.Error
	var denial *enforcer.Denial
	if errors.As(a.err, &denial) {
		x.Rule, x.Field, x.Reasons = denial.Rule, denial.Field, denial.Reasons
	}
	x.OwnRule = slices.ContainsFunc(doc.Points, func(p policydoc.PointRule) bool {
		return p.Point == r.Name && p.Rule != policydoc.Framework && p.Rule != policydoc.Absent
	})
	return x
}

func (x *explanation) compare(s *session, in enforcer.Input, candidates []*entry.Container) {
	opts := s.optionsFor(in)
	m, ok := denials.Nearest(candidates, in, opts)
	if !ok {
		return
	}
	x.Nearest, x.Unread = &m, s.unread
	if m.Candidate != nil {
		x.Place = s.place(m.Candidate, in)
	}
	fitting := denials.Fitting(candidates, in, opts)
	for _, c := range fitting {
		x.Fitting = append(x.Fitting, fittingContainer{c.Index, policydoc.ContainerName(c), s.place(c, in)})
	}
	x.Disagree = disagreements(fitting)
}

func (x *explanation) print(w io.Writer) error {
	var b strings.Builder
	for _, e := range x.Earlier {
		fmt.Fprintf(&b, "before it, request %d (%s) was refused: %s\n", e.Index, printable(string(e.Point)), printable(e.Sentence))
	}
	if x.Allowed {
		fmt.Fprintf(&b, "%s: allowed\n", printable(string(x.Point)))
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s: refused\n%s\n", printable(string(x.Point)), printable(x.Sentence))
	if x.State != "" {
		b.WriteString(x.State + "\n")
	}
	if x.OwnRule {
		fmt.Fprintf(&b, "The policy decides this point by a rule of its own, which may ask for other things than its containers say.\n")
	}
	if m := x.Nearest; m != nil {
		b.WriteString("\n" + x.about(m) + "\n")
		if len(m.Differences) > 0 {
			t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "FIELD\tWANTED\tGOT")
			for _, d := range m.Differences {
				fmt.Fprintf(t, "%s\t%s\t%s\n", d.Field, d.Wanted, d.Got)
			}
			if err := t.Flush(); err != nil {
				return err
			}
		}
	}
	if len(x.Unread) > 0 {
		fmt.Fprintf(&b, "\nNot compared, because only loading them tells what they bring: %s\n", printable(strings.Join(x.Unread, ", ")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about introduces the table.
func (x *explanation) about(m *denials.Match) string {
	switch {
	case len(x.Fitting) > 1:
		var names []string
		for _, f := range x.Fitting {
			names = append(names, fmt.Sprintf("%s %q", f.Place, f.Name))
		}
		text := "These fit equally: " + strings.Join(names, ", ") + "."
		if len(x.Disagree) > 0 {
			text += " They differ in " + strings.Join(x.Disagree, ", ") + "."
		}
		return text
	case len(m.Differences) == 0 && m.Index >= 0:
		return fmt.Sprintf("%s %q fits: it is not the containers that refuse this.", x.Place, m.Container)
	case m.Index < 0 && len(m.Differences) == 0:
		return "The layer is one of the policy's: it is not the containers that refuse this."
	case m.Index < 0:
		return "No container is near:"
	}
	return fmt.Sprintf("The nearest is %s %q, but for this:", x.Place, m.Container)
}
