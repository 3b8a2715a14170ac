package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

type fragmentInspect struct {
	policy, now string
	text, json  bool
}

// inspectedFragment is what --json prints.
type inspectedFragment struct {
	*fragmentgen.Report
	Policy *fragmentgen.Judgement `json:"policy,omitempty"`
}

func newFragmentInspectCommand() *cobra.Command {
	var i fragmentInspect
	cmd := &cobra.Command{
		Use:   "inspect [--policy POLICY] FRAGMENT",
		Short: "Say what a signed fragment is, and whether a policy takes it",
		Long: `Inspect checks a signed fragment ("-" is standard input) as a guest does, the chain, the signature, the issuer and the text, and prints issuer, feed,
SVN, certificates, the did:x509 that the chain resolves, receipts and containers. Any self-made chain passes: whether the issuer
counts is for a policy. With --policy it says whether that policy accepts the fragment, and why not.

Exit codes: 0 a guest can take it, and so does the policy; 1 it does not; 2 usage.`,
		Example: `  cloister fragment inspect side.rego.cose
  cloister fragment inspect --policy policy.rego side.rego.cose
  cloister fragment inspect --text side.rego.cose > side.rego`,
		Args: exactly("FRAGMENT"),
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&i.policy, "policy", "", "policy to ask")
	f.StringVar(&i.now, "now", "", "time that the certificates' validity is told for, RFC 3339 (default: the clock)")
	f.BoolVar(&i.text, "text", false, "print the signed text and nothing else")
	f.BoolVar(&i.json, "json", false, "print JSON")
	return cmd
}

func (i *fragmentInspect) run(cmd *cobra.Command, name string) error {
	if i.text && (i.json || i.policy != "") {
		return &usageError{errors.New("fragment inspect: --text goes with neither --json nor --policy")}
	}
	if err := oneStdin(cmd, name, i.policy); err != nil {
		return err
	}
	now, err := timeFlag("now", i.now)
	if err != nil {
		return err
	}
	raw, err := readSigned(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	r, err := fragmentgen.Inspect(cmd.Context(), raw)
	if err != nil {
		return fmt.Errorf("fragment inspect %q: %w", name, err)
	}
	out := inspectedFragment{Report: r}
	if i.policy != "" {
		text, err := readPolicy(cmd, i.policy)
		if err != nil {
			return err
		}
		policy, err := fragmentgen.OpenPolicy(cmd.Context(), text)
		if err != nil {
			return fmt.Errorf("fragment inspect: policy %q: %w", i.policy, err)
		}
		if out.Policy, err = policy.Judge(cmd.Context(), raw); err != nil {
			return fmt.Errorf("fragment inspect: policy %q: %w", i.policy, err)
		}
	}
	switch {
	case i.json:
		err = encodeJSON(cmd.OutOrStdout(), out)
	case !i.text:
		err = printFragment(cmd.OutOrStdout(), out, now)
	case r.Valid:
		_, err = io.WriteString(cmd.OutOrStdout(), r.Text)
	}
	if err != nil {
		return err
	}
	return out.verdict(name)
}

// verdict is the exit code.
func (out inspectedFragment) verdict(name string) error {
	switch {
	case !out.Valid:
		return fmt.Errorf("fragment inspect %q: %s", name, out.Problem)
	case out.Policy != nil && !out.Policy.Accepted:
		return fmt.Errorf("fragment inspect %q: the policy refuses it: %s", name, strings.Join(out.Policy.Reasons, "; "))
	case out.Policy == nil && !out.Loads:
		return fmt.Errorf("fragment inspect %q: %s", name, out.Refused)
	}
	return nil
}

func printFragment(w io.Writer, out inspectedFragment, now time.Time) error {
	p := &printer{w: w}
	r := out.Report
	signature, proven := "holds, "+r.Algorithm, ""
	if !r.Valid {
		signature, proven = "REFUSED: "+r.Problem, " (not proven)"
	}
	loads := "yes, where a policy allows the issuer and feed"
	switch {
	case !r.Valid:
		loads = "no"
	case !r.Loads:
		loads = "NO: " + r.Refused
	}
	p.rows("", [][]string{
		{"document", fmt.Sprintf("%d bytes, SHA-256 %s", r.Size, r.SHA256)},
		{"media type", fmt.Sprintf("%s, of %s", r.MediaType, orNoVersion(r.ContentType))},
		{"signature", signature},
		{"issuer", orNoVersion(r.Issuer) + proven},
		{"feed", orNoVersion(r.Feed) + proven},
		{"svn", fmt.Sprintf("%s, %s in the header", orUnknown(r.SVN), headerSVN(r.HeaderSVN))},
		{"namespace", orNoVersion(r.Namespace)},
		{"framework", orUnknown(r.FrameworkVersion)},
		{"loads", loads},
	})
	p.certificates(r, now)
	p.contents(r)
	if out.Policy != nil {
		p.judgement(out.Policy)
	}
	return p.err
}

func headerSVN(n *int64) string {
	if n == nil {
		return "none"
	}
	return strconv.FormatInt(*n, 10)
}

func (p *printer) certificates(r *fragmentgen.Report, now time.Time) {
	rows := [][]string{{"SUBJECT", "KEY", "VALID FROM", "UNTIL", "SHA-256"}}
	for _, c := range r.Chain {
		until := c.NotAfter.Format(time.DateOnly)
		switch {
		case now.After(c.NotAfter):
			until += " (expired)"
		case now.Before(c.NotBefore):
			until += " (not yet valid)"
		}
		rows = append(rows, []string{c.Subject, c.Key, c.NotBefore.Format(time.DateOnly), until, c.SHA256})
	}
	p.section("certificates, leaf first", rows)
	if r.Valid && len(r.DIDs) > 0 {
		p.line("")
		p.line("a policy can name this signer")
		for _, did := range r.DIDs {
			p.line("  %s", did)
		}
	}
	rows = [][]string{{"LEDGER", "KEY ID"}}
	for _, receipt := range r.Receipts {
		rows = append(rows, []string{receipt.Ledger, receipt.KID})
	}
	p.section("receipts, not verified here", rows)
	for _, problem := range r.ReceiptProblems {
		p.line("  %s", problem)
	}
}

func (p *printer) contents(r *fragmentgen.Report) {
	if r.Unread != "" {
		p.line("")
		p.line("lists: not known before it is loaded: %s", r.Unread)
	}
	rows := [][]string{{"NAME", "COMMAND", "LAYERS, BASE FIRST"}}
	for _, c := range r.Containers {
		name := c.Name
		if name == "" {
			name = c.ID
		}
		rows = append(rows, []string{name, policydoc.Words(c.Command), layersText(c.Layers)})
	}
	p.section(fmt.Sprintf("containers, %d", len(r.Containers)), rows)
	rows = [][]string{{"FEED", "MINIMUM SVN", "INCLUDES", "ISSUER"}}
	for _, e := range r.Entries {
		rows = append(rows, []string{e.Feed, e.MinimumSVN, strings.Join(e.Includes, ","), e.Issuer})
	}
	p.section("fragments that it allows", rows)
	for _, name := range []string{"external_processes", "platform_rules", "transparency_trust_lists"} {
		if n := r.Lists[name]; n > 0 {
			p.line("")
			p.line("%s, %d (--text shows them)", name, n)
		}
	}
}

func (p *printer) judgement(j *fragmentgen.Judgement) {
	p.line("")
	if j.Accepted {
		p.line("policy: accepts it and takes over %s", strings.Join(j.Includes, ", "))
	} else {
		p.line("policy: REFUSES it")
	}
	for _, reason := range j.Reasons {
		p.line("  %s", reason)
	}
	for _, note := range j.Notes {
		p.line("  note: %s", note)
	}
}
