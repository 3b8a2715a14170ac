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
	"github.com/cloister-cc/cloister/enforcer/point"
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
	// Dropped is what an allowed request loses.
	Dropped *droppedNames `json:"dropped,omitempty"`
	// Fragment is what a refused document says of itself, and Fragments what the policy takes.
	Fragment  *answerFragment  `json:"fragment,omitempty"`
	Fragments []wantedFragment `json:"policy_fragments,omitempty"`
	// State says what of the requests before is in the way. Where it is the cause by itself, there is no Rule.
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

type droppedNames struct {
	Env          []string `json:"env,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
}

type wantedFragment struct {
	Issuer     string `json:"issuer"`
	Feed       string `json:"feed"`
	MinimumSVN string `json:"minimum_svn"`
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
containers of the policy are compared. What the agent adds to a request (mountPathRegex and the like) is filled in where its key is
absent, as simulate does it.

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
	text, err := readPolicy(cmd, policy)
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
		state := s.state(r.Input)
		if a := s.ask(cmd.Context(), r); !a.Allowed {
			earlier = append(earlier, earlierRefusal{i, r.Name, s.sentence(r, a, state)})
			s.refuse(i, r, a, state)
		}
	}
	last := list[len(list)-1]
	candidates := s.candidatesOf(last.Input)
	state := s.state(last.Input)
	a := s.ask(cmd.Context(), last)
	x := explanationOf(last, a, doc)
	if x.Earlier = earlier; !x.Allowed {
		if x.State = state; s.decides(last.Name, state, a) {
			x.Sentence, x.Rule, x.Field = s.sentence(last, a, state), "", stateField(last.Input)
		}
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

// sentence says why a request was refused: by the state, where that decides, or as the policy's rule has it.
func (s *session) sentence(r request, a answer, state string) string {
	if s.decides(r.Name, state, a) {
		return fmt.Sprintf("The policy refused %s (%s). %s", r.Name, stateField(r.Input), state)
	}
	return a.sentence()
}

// stateField is the part of a request that its state is about.
func stateField(in enforcer.Input) string {
	switch in.(type) {
	case enforcer.MountDeviceInput:
		return "target"
	case enforcer.MountOverlayInput:
		return "layerPaths"
	}
	return "containerID"
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
		x.Dropped = droppedFrom(r.Input, a)
		return x
	}
	if x.Fragment = a.Fragment; r.Name == enforcer.PointLoadFragment {
		for _, f := range doc.Fragments {
			x.Fragments = append(x.Fragments, wantedFragment{f.Issuer, f.Feed, f.MinimumSVN})
		}
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

// droppedFrom are the names in an allowed request that the decision leaves out. Names, never values.
func droppedFrom(in enforcer.Input, a answer) *droppedNames {
	var dropped droppedNames
	if a.EnvList != nil {
		kept := map[string]int{}
		for _, env := range *a.EnvList {
			kept[env]++
		}
		for _, env := range point.EnvOf(in) {
			if kept[env]--; kept[env] < 0 {
				name, _, _ := strings.Cut(env, "=")
				dropped.Env = append(dropped.Env, name)
			}
		}
	}
	if a.Capabilities != nil {
		asked, kept := point.CapabilitiesOf(in), *a.Capabilities
		for _, set := range []struct{ asked, kept []string }{
			{asked.Bounding, kept.Bounding},
			{asked.Effective, kept.Effective},
			{asked.Inheritable, kept.Inheritable},
			{asked.Permitted, kept.Permitted},
			{asked.Ambient, kept.Ambient},
		} {
			for _, name := range set.asked {
				if !slices.Contains(set.kept, name) {
					dropped.Capabilities = append(dropped.Capabilities, name)
				}
			}
		}
	}
	for _, list := range []*[]string{&dropped.Env, &dropped.Capabilities} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if len(dropped.Env)+len(dropped.Capabilities) == 0 {
		return nil
	}
	return &dropped
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
		if d := x.Dropped; d != nil && len(d.Env) > 0 {
			fmt.Fprintf(&b, "dropped variables: %s\n", printable(strings.Join(d.Env, ", ")))
		}
		if d := x.Dropped; d != nil && len(d.Capabilities) > 0 {
			fmt.Fprintf(&b, "dropped capabilities: %s\n", printable(strings.Join(d.Capabilities, ", ")))
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s: refused\n%s\n", printable(string(x.Point)), printable(x.Sentence))
	if x.State != "" && !strings.HasSuffix(x.Sentence, x.State) {
		b.WriteString(printable(x.State) + "\n")
	}
	if err := x.printFragments(&b); err != nil {
		return err
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

// printFragments tells what a refused document says of itself, and what the policy takes.
func (x *explanation) printFragments(w io.Writer) error {
	f := x.Fragment
	if f == nil && len(x.Fragments) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\n\tFEED OR SUBJECT\tSVN\tISSUER")
	if f != nil {
		svn := "none in the header"
		if f.SVN != nil {
			svn = fmt.Sprint(*f.SVN)
		}
		fmt.Fprintf(t, "the document\t%s\t%s\t%s\n", printable(f.Feed+f.Subject), svn, printable(f.Issuer))
	}
	for i, want := range x.Fragments {
		fmt.Fprintf(t, "fragments[%d]\t%s\tat least %s\t%s\n", i, printable(want.Feed), printable(want.MinimumSVN), printable(want.Issuer))
	}
	return t.Flush()
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
