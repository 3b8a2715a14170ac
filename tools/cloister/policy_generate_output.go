package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// groupResult is what --json prints of one policy.
type groupResult struct {
	Group            string `json:"group,omitempty"`
	SHA256           string `json:"sha256"`    // of the text, in hex: HOST_DATA
	HostData         string `json:"host_data"` // base64
	Compat           string `json:"compat"`
	Defaults         string `json:"defaults"`
	APIVersion       string `json:"api_version"`
	FrameworkVersion string `json:"framework_version"`
	Bytes            int    `json:"bytes"`
	Output           string `json:"output,omitempty"`
	Policy           string `json:"policy,omitempty"` // base64, when it was not written to a file

	LeftOut   []string      `json:"left_out,omitempty"` // containers that an included fragment has
	Notes     []string      `json:"notes,omitempty"`
	Wildcards []acigen.Rule `json:"wildcards,omitempty"`
	Rules     []acigen.Rule `json:"rules,omitempty"` // with --explain
}

// write puts the policies where the flags say: a file, standard output, or the document.
func (g *groupGenerate) write(cmd *cobra.Command, doc *document, policies []generated) error {
	u := newUI(cmd.ErrOrStderr())
	for _, p := range policies {
		for _, n := range p.Notes {
			u.warn("%s", printable(n))
		}
		for _, name := range p.LeftOut {
			u.note("container %s is left out: an included fragment has it", printable(name))
		}
	}
	if g.out != "" && len(policies) > 1 {
		return fmt.Errorf("the document has %d groups, and --output is one file: choose one with --group", len(policies))
	}
	toStdout := g.outraw || g.pretty || g.base64 || g.json
	if g.explain && !g.json {
		// The table is the output unless there is another.
		w := cmd.OutOrStdout()
		other := toStdout || g.out != ""
		if other {
			w = cmd.ErrOrStderr()
		}
		if err := printRules(w, policies, isTerminal(w)); err != nil || !other {
			return err
		}
	}
	switch {
	case g.json:
		return g.writeJSON(cmd, policies)
	case g.out != "" || toStdout || doc.insert == nil:
		return g.writeText(cmd, policies)
	}
	return g.writeInPlace(cmd, doc, policies)
}

func (g *groupGenerate) encoded(p *acigen.Policy) []byte {
	text := p.Rego(g.pretty)
	if g.base64 {
		return []byte(base64.StdEncoding.EncodeToString(text) + "\n")
	}
	return text
}

// writeText writes each policy as it is. Between several there is an empty line, which is part of none.
func (g *groupGenerate) writeText(cmd *cobra.Command, policies []generated) error {
	for i, p := range policies {
		text := g.encoded(p.Policy)
		if g.out != "" {
			if err := os.WriteFile(g.out, text, 0o644); err != nil {
				return err
			}
		} else {
			if i > 0 {
				text = append([]byte("\n\n"), text...)
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return err
			}
		}
	}
	return g.hostData(cmd, policies)
}

// hostData prints the digest of each text, as it was written.
func (g *groupGenerate) hostData(cmd *cobra.Command, policies []generated) error {
	for _, p := range policies {
		name := ""
		if len(policies) > 1 {
			name = " " + printable(p.of.Name)
		}
		sum := sha256.Sum256(p.Rego(g.pretty))
		if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "HOST_DATA %x%s\n", sum, name); err != nil {
			return err
		}
	}
	return nil
}

func (g *groupGenerate) writeJSON(cmd *cobra.Command, policies []generated) error {
	var results []groupResult
	for _, p := range policies {
		text := p.Rego(false)
		sum := p.SHA256()
		r := groupResult{
			Group: p.of.Name, SHA256: hex.EncodeToString(sum[:]), HostData: base64.StdEncoding.EncodeToString(sum[:]),
			Compat: p.Level.Name, Defaults: p.Defaults, APIVersion: p.Level.APIVersion, FrameworkVersion: p.Level.FrameworkVersion,
			Bytes: len(text), Output: g.out, LeftOut: p.LeftOut, Notes: p.Notes, Wildcards: p.Wildcards(),
		}
		if g.explain {
			r.Rules = p.Explain()
		}
		if g.out == "" {
			r.Policy = base64.StdEncoding.EncodeToString(text)
		} else if err := os.WriteFile(g.out, text, 0o644); err != nil {
			return err
		}
		results = append(results, r)
	}
	return encodeJSON(cmd.OutOrStdout(), struct {
		Policies []groupResult `json:"policies"`
	}{results})
}

// writeInPlace puts each policy into its group of the document, and the document into its file at once.
func (g *groupGenerate) writeInPlace(cmd *cobra.Command, doc *document, policies []generated) error {
	if doc.name == "-" {
		return errors.New("the document is standard input, so no policy can be written into it: choose --outraw, --base64 or --output")
	}
	text := doc.text
	for _, p := range policies {
		encoded := base64.StdEncoding.EncodeToString(p.Rego(false))
		err := g.mayReplace(cmd, p.of, encoded)
		if err == nil {
			err = g.mayReplaceExpression(cmd, doc, p.group)
		}
		if err != nil {
			return err
		}
		if text, err = doc.insert(cmd, text, p.group, encoded); err != nil {
			return err
		}
	}
	if err := rewrite(cmd, doc.name, doc.text, text); err != nil {
		return err
	}
	return g.hostData(cmd, policies)
}

// mayReplace asks before a policy that somebody wrote is lost.
func (g *groupGenerate) mayReplace(cmd *cobra.Command, group *workload.Group, policy string) error {
	if g.yes || group.Existing == nil || group.Existing.Value == "" || group.Existing.Value == policy {
		return nil
	}
	return confirmReplace(cmd, group.Existing.Origin.String(), `see in what they differ with "cloister policy diff"`)
}

// confirmReplace asks whether the policy that is there may be replaced; other is what else can be done.
func confirmReplace(cmd *cobra.Command, at, other string) error {
	ok, err := askUser(cmd, at+" has another policy. Replace it?")
	if errors.Is(err, errNobody) {
		return fmt.Errorf("%s has another policy; replace it with --yes, or %s", at, other)
	}
	if err == nil && !ok {
		err = errors.New("nothing was written")
	}
	return err
}

// rewrite puts a changed text in a file's place, and says whether it did.
func rewrite(cmd *cobra.Command, name string, old, text []byte) error {
	u := newUI(cmd.ErrOrStderr())
	if bytes.Equal(text, old) {
		u.note("%s has this policy already: nothing was written", printable(name))
		return nil
	}
	if err := replaceFile(name, text); err != nil {
		return err
	}
	u.note("wrote %s", printable(name))
	return nil
}

// writeLock writes the lock file, and says whether there was something to write.
func writeLock(cmd *cobra.Command, found *images.Resolver, name string) error {
	old, oldErr := os.ReadFile(name)
	if err := found.WriteLock(name); err != nil {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	u := newUI(cmd.ErrOrStderr())
	if oldErr == nil && bytes.Equal(text, old) {
		u.note("%s has these images already: nothing was written", printable(name))
	} else {
		u.note("wrote %s", printable(name))
	}
	return nil
}

// mayReplaceExpression asks before an expression is lost that gives the policy at deployment time. A reader does not know its
// value, but a document in which an empty policy takes its place is shorter, by more than a null is long.
func (g *groupGenerate) mayReplaceExpression(cmd *cobra.Command, doc *document, group int) error {
	if g.yes || doc.groups[group].Existing != nil {
		return nil
	}
	without, err := doc.insert(cmd, doc.text, group, "")
	if err != nil || len(doc.text)-len(without) <= len("null")-len(`""`) {
		return err
	}
	about := fmt.Sprintf("%s: group %.80q takes its policy from an expression", doc.name, doc.groups[group].Name)
	ok, err := askUser(cmd, about+". Replace it?")
	if errors.Is(err, errNobody) {
		return fmt.Errorf("%s; replace that with --yes, or print the policy with --base64", about)
	}
	if err == nil && !ok {
		err = errors.New("nothing was written")
	}
	return err
}

// replaceFile writes a file anew and keeps its permissions: a reader sees the old text or the new one.
func replaceFile(name string, text []byte) error {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".cloister-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(text); err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	return err
}

// printRules prints where each rule comes from. For a terminal, long values are cut.
func printRules(out io.Writer, policies []generated, short bool) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CONTAINER\tRULE\tVALUE\tSOURCE\tPLACE")
	for _, p := range policies {
		for _, r := range p.Explain() {
			name := r.Container
			if name == "" {
				name = "-"
			}
			value := r.Value
			if short {
				value = cut(value)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(name), r.Field, printable(value), r.Source, printable(r.Place))
		}
	}
	return w.Flush()
}

// printExisting prints the policies that are in the document now.
func (g *groupGenerate) printExisting(cmd *cobra.Command, doc *document) error {
	first := true
	for i := range doc.groups {
		if !doc.chosen(i) {
			continue
		}
		text, err := existing(&doc.groups[i])
		if err != nil {
			return err
		}
		if !first {
			text = append([]byte("\n\n"), text...)
		}
		first = false
		if _, err := cmd.OutOrStdout().Write(text); err != nil {
			return err
		}
	}
	return nil
}

// existing is the policy's text that a group has in its document.
func existing(g *workload.Group) ([]byte, error) {
	if g.Existing == nil || g.Existing.Value == "" {
		return nil, fmt.Errorf("group %.80q (%s) has no policy in its document", g.Name, g.Origin)
	}
	text, err := base64.StdEncoding.DecodeString(g.Existing.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: the policy is not base64: %w", g.Existing.Origin, err)
	}
	return text, nil
}
