package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// shownPolicy is what --json prints; the lists are the policy's own.
type shownPolicy struct {
	HostData         string `json:"host_data"`     // base64, as launchers take it
	HostDataHex      string `json:"host_data_hex"` // as reports and verifiers print it
	Bytes            int    `json:"bytes"`
	Syntax           string `json:"rego_syntax"`
	APIVersion       string `json:"api_version"`
	FrameworkVersion string `json:"framework_version"`
	// Nothing says why the policy allows nothing, or nothing that the framework decides; it is empty where it can.
	Nothing  string                `json:"allows_nothing,omitempty"`
	Judge    shownJudge            `json:"judge"`
	Reason   bool                  `json:"gives_reasons"`
	Flags    []policydoc.Flag      `json:"flags"`
	Points   []policydoc.PointRule `json:"points"`
	OwnRules []string              `json:"own_rules,omitempty"`
	Lists    map[string]any        `json:"lists"`
	Unread   []string              `json:"unread_lists,omitempty"`
}

type shownJudge struct {
	Name string `json:"name"`
	// WhyNotCompiled is empty when the policy is judged by the compiled rules.
	WhyNotCompiled string `json:"why_not_compiled,omitempty"`
}

func newPolicyShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show POLICY",
		Short: "Print what a policy allows",
		Long: `Show prints a policy ("-" is standard input) as tables: versions, who judges it, flags, what each enforcement point does, and
its containers, external processes, fragments, platform rules and trust lists. It reads them as the enforcer does, so lists that
are computed are shown as what they come to. Values of env rules are in the policy and so in the output.`,
		Example: `  cloister policy show policy.rego
  cloister policy show --json policy.rego | jq '.lists.containers[].command'`,
		Args: exactly("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := readPolicyDocument(cmd, args[0])
			if err != nil {
				return fmt.Errorf("policy show: %w", err)
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), shown(doc))
			}
			return printPolicy(cmd.OutOrStdout(), doc)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// readPolicyDocument reads a policy that the user named.
func readPolicyDocument(cmd *cobra.Command, name string) (*policydoc.Policy, error) {
	text, err := readPolicy(cmd, name)
	if err != nil {
		return nil, err
	}
	doc, err := policydoc.Read(cmd.Context(), text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	return doc, nil
}

func shown(doc *policydoc.Policy) shownPolicy {
	digest, _ := hex.DecodeString(doc.SHA256)
	return shownPolicy{
		HostData: base64.StdEncoding.EncodeToString(digest), HostDataHex: doc.SHA256, Bytes: doc.Bytes, Syntax: doc.Syntax, APIVersion: doc.APIVersion, FrameworkVersion: doc.FrameworkVersion,
		Nothing: doc.AllowsNothing(), Judge: shownJudge{doc.Judge, doc.NotPlain}, Reason: doc.HasReason, Flags: doc.Flags, Points: doc.Points, OwnRules: doc.OwnRules,
		Lists: doc.Lists(), Unread: doc.Unread,
	}
}

// printer writes tables and keeps the first error. Everything it prints of the policy loses its control characters.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
	}
}

// section writes a heading of the first level and its table.
func (p *printer) section(heading string, rows [][]string) {
	if len(rows) > 1 {
		p.line("")
		p.line("%s", heading)
		p.rows("  ", rows)
	}
}

// part writes a heading inside a section and its table; the first row has the names of the columns.
func (p *printer) part(heading string, rows [][]string) {
	if len(rows) > 1 {
		p.line("  %s", heading)
		p.rows("    ", rows)
	}
}

func (p *printer) rows(indent string, rows [][]string) {
	if p.err != nil {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(t, indent+strings.Join(row, "\t"))
	}
	p.err = t.Flush()
}

func printPolicy(w io.Writer, doc *policydoc.Policy) error {
	out := bufio.NewWriter(w)
	p := &printer{w: out}
	judge := "compiled rules"
	if doc.Judge != "compiled" {
		judge = "the Rego engine: " + doc.NotPlain
	}
	reason := "refusals are explained"
	if !doc.HasReason {
		reason = "refusals are not explained (no rule reason)"
	}
	head := [][]string{
		{"HOST_DATA", doc.SHA256},
		{"size", fmt.Sprintf("%d bytes, Rego %s", doc.Bytes, doc.Syntax)},
		{"api", orNoVersion(doc.APIVersion) + ", the agent's is " + aci.APIVersion},
		{"framework", orNoVersion(doc.FrameworkVersion) + ", the agent's is " + aci.FrameworkVersion},
		{"judge", judge},
		{"reasons", reason},
	}
	if nothing := doc.AllowsNothing(); nothing != "" {
		head = append(head, []string{"allows", nothing})
	}
	p.rows("  ", head)
	p.flags(doc)
	p.points(doc)
	for _, name := range doc.Unread {
		p.line("")
		p.line("%s: depends on the request, or is not defined for any", name)
	}
	for _, c := range doc.Containers {
		p.container(c)
	}
	p.others(doc)
	return errors.Join(p.err, out.Flush())
}

func orNoVersion(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (p *printer) flags(doc *policydoc.Policy) {
	rows := [][]string{{"FLAG", "SET"}}
	for _, f := range doc.Flags {
		set := yesNo(f.Set)
		if !f.Present {
			set += " (absent)"
		}
		rows = append(rows, []string{f.Name, set})
	}
	p.section("flags", rows)
}

func (p *printer) points(doc *policydoc.Policy) {
	rows := [][]string{{"POINT", "SINCE", "RULE", "EFFECT"}}
	for _, r := range doc.Points {
		rule := string(r.Rule)
		if r.Rule == policydoc.Absent && r.Older {
			rule = "absent, default of an older policy"
		}
		rows = append(rows, []string{string(r.Point), r.Since, rule, doc.Effect(r)})
	}
	p.section("points", rows)
	if len(doc.OwnRules) > 0 {
		p.line("")
		p.line("other rules: %s", strings.Join(doc.OwnRules, ", "))
	}
}

func (p *printer) container(c *entry.Container) {
	p.line("")
	p.line("containers[%d] %s", c.Index, policydoc.ContainerName(c))
	command := policydoc.Words(c.Command)
	if c.CommandNull {
		command = "null: nothing matches it"
	}
	rows := [][]string{
		{"command", command},
		{"working dir", c.WorkingDir},
		{"layers, base first", layersText(c.Layers)},
	}
	if u := c.User; u != nil {
		var groups []string
		for _, g := range u.GroupIDNames {
			groups = append(groups, policydoc.IDNameText(g))
		}
		rows = append(rows, []string{"user", policydoc.IDNameText(u.UserIDName)}, []string{"groups", strings.Join(groups, ", ")}, []string{"umask", u.Umask})
	}
	rows = append(rows,
		[]string{"elevated", yesNo(c.AllowElevated)},
		[]string{"no new privileges", yesNo(c.NoNewPrivileges)},
		[]string{"stdio", yesNo(c.AllowStdioAccess)},
		[]string{"capabilities", capabilitiesText(c.Capabilities)},
		[]string{"signals", numbers(c.Signals)},
	)
	if c.SeccompProfileSHA256 != "" {
		rows = append(rows, []string{"seccomp", c.SeccompProfileSHA256})
	}
	p.rows("  ", rows)
	p.envRules("env rules", c.EnvRules)
	p.mounts("mounts", c.Mounts)
	exec := [][]string{{"COMMAND", "SIGNALS"}}
	for _, e := range c.ExecProcesses {
		exec = append(exec, []string{policydoc.Words(e.Command), numbers(e.Signals)})
	}
	p.part("exec", exec)
}

func (p *printer) envRules(heading string, rules []*entry.EnvRule) {
	rows := [][]string{{"RULE", "STRATEGY", "REQUIRED"}}
	for _, r := range rules {
		text, strategy := r.Pattern, r.Strategy
		if r.Split {
			text, strategy = r.Name+" = "+r.Value, r.NameStrategy+", "+r.ValueStrategy
		}
		rows = append(rows, []string{text, strategy, yesNo(r.Required)})
	}
	p.part(heading, rows)
}

func (p *printer) mounts(heading string, mounts []*entry.Mount) {
	rows := [][]string{{"DESTINATION", "TYPE", "SOURCE", "OPTIONS"}}
	for _, m := range mounts {
		rows = append(rows, []string{m.Destination, m.Type, m.Source, strings.Join(m.Options, ",")})
	}
	p.part(heading, rows)
}

func (p *printer) others(doc *policydoc.Policy) {
	for i, e := range doc.ExternalProcesses {
		p.line("")
		p.line("external_processes[%d]", i)
		p.rows("  ", [][]string{
			{"command", policydoc.Words(e.Command)}, {"working dir", e.WorkingDir}, {"stdio", yesNo(e.AllowStdioAccess)},
		})
		p.envRules("env rules", e.EnvRules)
	}
	rows := [][]string{{"FEED", "MINIMUM SVN", "INCLUDES", "RECEIPTS", "PARAMETERS", "ISSUER"}}
	for _, f := range doc.Fragments {
		rows = append(rows, []string{
			f.Feed, f.MinimumSVN, strings.Join(f.Includes, ","), strings.Join(f.RequiredReceipts, ","), yesNo(f.Parameterized), f.Issuer,
		})
	}
	p.section("fragments", rows)
	for i, r := range doc.PlatformRules {
		p.line("")
		p.line("platform_rules[%d]", i)
		p.envRules("env rules", r.EnvRules)
		p.mounts("mounts", r.Mounts)
	}
	rows = [][]string{{"SUBJECT", "MINIMUM SVN", "LEDGERS", "ISSUER"}}
	for _, t := range doc.TrustLists {
		rows = append(rows, []string{t.Subject, strconv.FormatInt(t.MinimumSVN, 10), strings.Join(t.AllowedLedgers, ","), t.Issuer})
	}
	p.section("transparency trust lists", rows)
}

// layersText shortens root hashes: enough to tell them apart; --json has them whole.
func layersText(layers []string) string {
	short := make([]string, len(layers))
	for i, hash := range layers {
		if short[i] = hash; len(hash) > 12 {
			short[i] = hash[:12] + "..."
		}
	}
	return strings.TrimSuffix(fmt.Sprintf("%d: %s", len(layers), strings.Join(short, " ")), ": ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func numbers(list []int64) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, ", ")
}

func capabilitiesText(c *entry.Capabilities) string {
	if c == nil {
		return "the default ones"
	}
	return fmt.Sprintf("%d bounding, %d effective, %d inheritable, %d permitted, %d ambient",
		len(c.Bounding), len(c.Effective), len(c.Inheritable), len(c.Permitted), len(c.Ambient))
}
