package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// judging are the flags of the commands that put requests to a policy.
type judging struct {
	fragments           []string
	trustLists          []string
	judge               string
	strict, agentMounts bool
}

func (j *judging) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&j.fragments, "fragment", nil, "fragment (COSE) to load before the first request, repeatable")
	f.StringArrayVar(&j.trustLists, "trust-list", nil, "transparency trust list (COSE) to load before the fragments, repeatable")
	f.StringVar(&j.judge, "judge", string(enforcer.JudgeAuto), "who decides: "+joinJudges()+"; both is an error where they disagree")
	f.BoolVar(&j.strict, "strict-api", false, "refuse points that an old policy does not know, as cloister.strict_api=1 does")
	f.BoolVar(&j.agentMounts, "agent-mounts", false, "accept the mounts that every container runtime adds, as the agent does")
}

func joinJudges() string {
	var names []string
	for _, n := range enforcer.Judges() {
		names = append(names, string(n))
	}
	return strings.Join(names, ", ")
}

// check refuses a judge that does not exist.
func (j *judging) check(cmd *cobra.Command) error {
	if !slices.Contains(enforcer.Judges(), enforcer.JudgeName(j.judge)) {
		return &usageError{fmt.Errorf("%s: --judge: got %.32q, want one of %s", commandName(cmd), j.judge, joinJudges())}
	}
	return nil
}

func (j *judging) load(ctx context.Context, text []byte) (*enforcer.Enforcer, error) {
	opts := enforcer.Options{Strict: j.strict, Judge: enforcer.JudgeName(j.judge), PolicyLimit: enforcer.MaxPolicyLimit}
	if j.agentMounts {
		opts.DefaultMounts, opts.PrivilegedMounts = aci.DefaultMounts(), aci.PrivilegedMounts()
	}
	e, err := enforcer.Load(ctx, text, opts)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// documents are the fragments and trust lists to load before the first request.
func (j *judging) documents() ([]request, error) {
	var list []request
	add := func(names []string, point enforcer.Point, mediaType string) error {
		for _, name := range names {
			document, err := readFragment(name)
			if err != nil {
				return err
			}
			list = append(list, request{Name: point, Fragment: document, MediaType: mediaType, File: name})
		}
		return nil
	}
	err := errors.Join(
		add(j.trustLists, enforcer.PointLoadTransparencyTrustList, trustListType),
		add(j.fragments, enforcer.PointLoadFragment, ""),
	)
	return list, err
}

// prepare loads them. One that is refused ends the command: what follows would be about another policy.
func (j *judging) prepare(ask func(request) answer) error {
	list, err := j.documents()
	if err != nil {
		return err
	}
	for _, r := range list {
		if a := ask(r); !a.Allowed {
			return fmt.Errorf("%s %q: %w", r.Name, r.File, a.err)
		}
	}
	return nil
}

// answer is what simulate prints of one request.
type answer struct {
	Index   int            `json:"index"`
	Name    enforcer.Point `json:"name"`
	Allowed bool           `json:"allowed"`
	// EnvList, Capabilities and AllowStdio are there at the points whose decision has them.
	EnvList      *[]string              `json:"env_list,omitempty"`
	Capabilities *enforcer.Capabilities `json:"caps_list,omitempty"`
	AllowStdio   *bool                  `json:"allow_stdio_access,omitempty"`
	Reason       *answerReason          `json:"reason,omitempty"`
	// Error is set when the policy could not decide, which is a refusal too.
	Error string `json:"error,omitempty"`
	// Fragment is what a refused document says of itself.
	Fragment *answerFragment `json:"fragment,omitempty"`

	err error
}

type answerFragment struct {
	Issuer string `json:"issuer"`
	// Feed is a fragment's, Subject a trust list's.
	Feed    string `json:"feed,omitempty"`
	Subject string `json:"subject,omitempty"`
	// SVN is that of the signed header; a fragment may have another in its text, or only there.
	SVN *int64 `json:"svn,omitempty"`
}

// aboutDocument reads what a document says of itself. One that cannot be read says nothing.
func aboutDocument(r request) *answerFragment {
	switch kind, err := fragment.KindOf(r.MediaType); {
	case err != nil || r.Fragment == nil:
	case kind == fragment.KindTrustList:
		if list, err := fragment.OpenTrustList(r.Fragment); err == nil {
			return &answerFragment{Issuer: list.Issuer, Subject: list.Subject, SVN: &list.SVN}
		}
	case kind == fragment.KindRego:
		if f, err := fragment.Open(r.Fragment); err == nil {
			return &answerFragment{Issuer: f.Issuer, Feed: f.Feed, SVN: f.HeaderSVN}
		}
	}
	return nil
}

type answerReason struct {
	Errors []string `json:"errors"`
}

// ask puts one request to a policy and, when it is allowed, takes the act for done.
func ask(ctx context.Context, e *enforcer.Enforcer, r request) answer {
	a := answer{Name: r.Name}
	d, err := decide(ctx, e, r)
	if err == nil {
		_, err = d.Commit()
	}
	var denial *enforcer.Denial
	switch {
	case errors.As(err, &denial):
		a.Reason, a.err = &answerReason{Errors: denial.Reasons}, err
		if a.Reason.Errors == nil {
			a.Reason.Errors = []string{}
		}
	case err != nil:
		a.Error, a.err = err.Error(), err
	default:
		a.allow(r.Input, d)
	}
	if !a.Allowed {
		a.Fragment = aboutDocument(r)
	}
	return a
}

func decide(ctx context.Context, e *enforcer.Enforcer, r request) (*enforcer.Decision, error) {
	switch {
	case r.Fragment != nil:
		return e.LoadFragment(ctx, r.Fragment, r.MediaType)
	case r.Input == nil:
		return nil, fmt.Errorf("enforcement point rule %.64q does not exist%s", string(r.Name), nearPoint(string(r.Name)))
	}
	return e.Decide(ctx, r.Input)
}

// nearPoint suggests the point that a name comes nearest to.
func nearPoint(name string) string {
	nearest, least := "", 4
	for _, info := range enforcer.Points() {
		if n := typos(name, string(info.Point)); n < least {
			nearest, least = string(info.Point), n
		}
	}
	if nearest == "" {
		return ""
	}
	return " (did you mean " + nearest + "?)"
}

// typos is how many characters have to be added, left out or changed to make b of a.
func typos(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (a *answer) allow(in enforcer.Input, d *enforcer.Decision) {
	a.Allowed = true
	switch in.(type) {
	case enforcer.CreateContainerInput:
		a.EnvList, a.Capabilities, a.AllowStdio = &d.Env, d.Capabilities, &d.AllowStdio
	case enforcer.ExecInContainerInput:
		a.EnvList, a.Capabilities = &d.Env, d.Capabilities
	case enforcer.ExecExternalInput:
		a.EnvList, a.AllowStdio = &d.Env, &d.AllowStdio
	}
}

type policySimulate struct {
	policy string
	judging
}

func newPolicySimulateCommand() *cobra.Command {
	var s policySimulate
	cmd := &cobra.Command{
		Use:   "simulate --policy POLICY [--fragment FILE ...] [--judge auto|opa|compiled|both] COMMANDS",
		Short: "Put a list of requests to a policy and print its answers",
		Long: `Simulate reads a JSON list of {"name": "<point>", "input": {...}}, puts the requests to one policy in order, takes each that is
allowed for done, and prints one JSON object a line: "index", "name", "allowed" and, where there are any, "env_list", "caps_list",
"allow_stdio_access" and "reason": {"errors": [...]}. What could not be decided is refused and has an "error".

COMMANDS may also hold one request a line; "-" reads them from standard input and answers each at once. The keys of an input
are those of docs/policy.md; one that is missing is an empty value, one that is unknown an error. The input of load_fragment is
{"path": FILE} or {"fragment_base64": "..."}. No mount is accepted but those of the policy, unless --agent-mounts is given.

What the agent adds to a request is filled in where its key is absent: mountPathRegex (/run/mounts/scsi/m[0-9]+ of mount_device,
/run/gcs/c/[0-9a-fA-F]{64} of rw_mount_device), rootPrefix and mountPathPrefix of plan9_mount.

Exit codes: 0 every request was answered, 1 the policy or a fragment was not loaded or the input is broken, 2 usage.`,
		Example: `  cloister policy simulate --policy policy.rego requests.json
  echo '{"name": "dump_stacks", "input": {}}' | cloister policy simulate --policy policy.rego -`,
		Args: exactly("COMMANDS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.policy == "" {
				return &usageError{errors.New("policy simulate: no policy given (--policy FILE)")}
			}
			if err := errors.Join(oneStdin(cmd, s.policy, args[0]), s.check(cmd)); err != nil {
				return err
			}
			if err := s.run(cmd, args[0]); err != nil {
				return fmt.Errorf("policy simulate: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&s.policy, "policy", "", "the policy's text")
	s.flags(cmd)
	return cmd
}

func (s *policySimulate) run(cmd *cobra.Command, commands string) error {
	text, err := readPolicy(cmd, s.policy)
	if err != nil {
		return err
	}
	e, err := s.load(cmd.Context(), text)
	if err != nil {
		return err
	}
	err = s.prepare(func(r request) answer { return ask(cmd.Context(), e, r) })
	if err != nil {
		return err
	}
	index := 0
	err = eachRequest(commands, cmd.InOrStdin(), func(r request) error {
		a := ask(cmd.Context(), e, r)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		a.Index = index
		index++
		return writeLine(cmd.OutOrStdout(), a)
	})
	if err == nil && index == 0 {
		newUI(cmd.ErrOrStderr()).warn("policy simulate: %q has no request in it", commands)
	}
	return err
}

// writeLine writes v as one line at once: whoever reads it may be waiting before sending the next request.
func writeLine(w io.Writer, v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(line.Bytes())
	return err
}
