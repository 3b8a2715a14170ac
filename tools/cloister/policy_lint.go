package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/policylint"
)

// shownFindings is what --json prints.
type shownFindings struct {
	Findings []policylint.Finding `json:"findings"`
	Errors   int                  `json:"errors"`
	Warnings int                  `json:"warnings"`
	Infos    int                  `json:"infos"`
}

func newPolicyLintCommand() *cobra.Command {
	var asJSON, strict, codes bool
	cmd := &cobra.Command{
		Use:   "lint POLICY",
		Short: "Find what can never match, what is wider than it looks, and what opens the guest",
		Long: `Lint reads a policy ("-" is standard input) and prints findings: a stable code, a severity (error: it cannot do what it says;
warning: it may do more than you want; info), the place, a sentence, and what to do. Values that look like secrets are not
printed. A policy without findings is not thereby safe.

Exit codes: 0 no errors, 1 errors (with --strict, warnings too) or an unreadable file, 2 usage.`,
		Example: `  cloister policy lint policy.rego
  cloister policy lint --strict --json policy.rego | jq -r '.findings[] | .code + " " + .path'
  cloister policy lint --codes`,
		Args: func(cmd *cobra.Command, args []string) error {
			if codes {
				return noArguments(cmd, args)
			}
			return exactly("POLICY")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if codes {
				return printCodes(cmd.OutOrStdout(), asJSON)
			}
			return lintPolicy(cmd, args[0], asJSON, strict)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings, too")
	cmd.Flags().BoolVar(&codes, "codes", false, "print every code there is, instead of reading a policy")
	return cmd
}

func lintPolicy(cmd *cobra.Command, name string, asJSON, strict bool) error {
	text, err := readPolicy(cmd, name)
	if err != nil {
		return fmt.Errorf("policy lint: %w", err)
	}
	findings, err := policylint.Lint(cmd.Context(), text)
	if err != nil {
		return fmt.Errorf("policy lint %q: %w", name, err)
	}
	result := shownFindings{Findings: findings}
	if findings == nil {
		result.Findings = []policylint.Finding{}
	}
	for _, f := range findings {
		switch f.Severity {
		case policylint.Error:
			result.Errors++
		case policylint.Warning:
			result.Warnings++
		default:
			result.Infos++
		}
	}
	if asJSON {
		err = encodeJSON(cmd.OutOrStdout(), result)
	} else {
		err = result.print(cmd.OutOrStdout())
	}
	if err == nil && (result.Errors > 0 || strict && result.Warnings > 0) {
		// The output says it all.
		return &exitError{code: exitFailed, err: errors.New("")}
	}
	return err
}

func (r *shownFindings) counts() string {
	return fmt.Sprintf("%s, %s, %s", several(r.Errors, "error"), several(r.Warnings, "warning"), several(r.Infos, "note"))
}

func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (r *shownFindings) print(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		place := f.Path
		if place == "" {
			place = "policy"
		}
		fmt.Fprintf(&b, "%s %-7s %s\n  %s\n  fix: %s\n", f.Code, f.Severity, printable(place), printable(f.Message), f.Fix)
	}
	fmt.Fprintln(&b, r.counts())
	_, err := io.WriteString(w, b.String())
	return err
}

func printCodes(w io.Writer, asJSON bool) error {
	if asJSON {
		return encodeJSON(w, policylint.Codes())
	}
	p := &printer{w: w}
	rows := [][]string{{"CODE", "SEVERITY", "WHAT"}}
	for _, c := range policylint.Codes() {
		rows = append(rows, []string{c.Code, string(c.Severity), strings.ReplaceAll(c.What, "`", "")})
	}
	p.rows("", rows)
	return p.err
}
