package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"

	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/verify"
)

// printedVerdict is the JSON form: the verdict, and what this command knows besides.
type printedVerdict struct {
	*verify.Verdict
	ExitCode int              `json:"exit_code"`
	Format   verify.Format    `json:"format,omitempty"`
	Notes    []string         `json:"notes,omitempty"`
	Next     []string         `json:"what_to_do,omitempty"`
	Subject  *printedIdentity `json:"subject,omitempty"`
}

// printedIdentity says who the evidence is of. Entries are the policy's words, Claimed is the host's.
type printedIdentity struct {
	Entries []string `json:"entries"`
	// PodOnly says why the evidence is only the pod's.
	PodOnly string         `json:"pod_only,omitempty"`
	Claimed printedClaimed `json:"claimed"`
}

type printedClaimed struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Image string   `json:"image"`
}

func (o *judged) subject() *printedIdentity {
	if o.preimage == nil {
		return nil
	}
	c := o.preimage.Claimed
	s := &printedIdentity{Entries: o.policy.Names(o.preimage), Claimed: printedClaimed{c.ID, c.Names, c.Image}}
	_, s.PodOnly = o.policy.Identity()
	return s
}

func (a *attestVerify) print(w io.Writer, o *judged) error {
	if a.json {
		return encodeJSON(w, printedVerdict{Verdict: o.verdict, ExitCode: o.verdict.ExitCode(), Format: o.format, Notes: o.notes, Next: o.next, Subject: o.subject()})
	}
	var b strings.Builder
	if err := o.table(&b); err != nil {
		return err
	}
	o.summary(&b)
	text := b.String()
	if onTerminal(w) {
		text = coloured(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

// Marks begin the rows of people's table.
const (
	markPass = "ok"
	markFail = "FAIL"
)

func (o *judged) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tCHECK\tCODE\tWANT\tGOT")
	for _, c := range o.verdict.Checks {
		mark := markPass
		switch c.Status {
		case verify.StatusPass:
		case verify.StatusFail:
			mark = markFail
		default:
			continue // in the summary
		}
		got, want := abridge(c.Got, c.Want)
		if c.Status == verify.StatusPass {
			got, want = cut(got), cut(want)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", mark, c.Name, c.Code, want, got)
	}
	return t.Flush()
}

// summary says what was not asked, of whom the evidence is, and the verdict.
func (o *judged) summary(w io.Writer) {
	v := o.verdict
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%s: %s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	if names := named(v, verify.StatusNotJudged); len(names) > 0 {
		wrap(w, "not judged, because of what failed", names)
	}
	if names := named(v, verify.StatusNotAsked); len(names) > 0 {
		wrap(w, "not asked", names)
	}
	for _, n := range o.notes {
		line("note", "%s", n)
	}
	if o.format != "" {
		line("evidence", "%s", strings.Join(nonEmpty(string(o.format), v.Product, v.Signer), ", "))
	}
	if v.Identity != "" {
		o.identity(line)
	}
	for _, n := range o.next {
		line("what to do", "%s", n)
	}
	verdict := "REFUSED"
	if v.OK {
		verdict = "accepted"
	}
	if v.TestOnly {
		verdict += " (software SNP processor, TEST ONLY: says nothing about hardware)"
	}
	fmt.Fprintln(w, verdict)
}

// identity says who the evidence is of, and on what that rests.
func (o *judged) identity(line func(what, format string, args ...any)) {
	text := string(o.verdict.Identity)
	s := o.subject()
	if s == nil {
		line("identity", "%s: no policy text is at hand", text)
		return
	}
	text += ", " + strings.Join(s.Entries, alternatives) + map[bool]string{true: " by its own word"}[s.PodOnly != ""]
	line("identity", "%s", text)
	if s.PodOnly != "" {
		line("not the container's", "%s", s.PodOnly)
	}
	if x, err := eventlog.Parse(o.eventLog); err == nil {
		line("event log", "%d entries, from number %d on; attest inspect prints them", len(x.Entries), x.First)
	}
	line("the host calls it", "id %q, names %q, image %q", s.Claimed.ID, s.Claimed.Names, s.Claimed.Image)
}

func (o *judged) asked(name string) bool {
	return slices.ContainsFunc(o.verdict.Checks, func(c verify.Check) bool { return c.Name == name && c.Status != verify.StatusNotAsked })
}

func named(v *verify.Verdict, status verify.Status) (names []string) {
	for _, c := range v.Checks {
		if c.Status == status {
			names = append(names, c.Name)
		}
	}
	return names
}

func nonEmpty(texts ...string) (out []string) {
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
)

// coloured marks what failed, and the verdict.
func coloured(text string) string {
	var b strings.Builder
	last := ""
	for line := range strings.Lines(text) {
		colour := ""
		switch body := strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(body, markFail+" "), strings.HasPrefix(body, "REFUSED"):
			colour = red
		case strings.HasPrefix(body, "accepted ("):
			colour = yellow
		case body == "accepted":
			colour = green
		case strings.HasPrefix(body, "not "):
			colour = faint
		case last == faint && strings.HasPrefix(body, "  "): // the line goes on
			colour = faint
		}
		last = colour
		if colour == "" {
			b.WriteString(line)
			continue
		}
		b.WriteString(colour + strings.TrimSuffix(line, "\n") + plain + "\n")
	}
	return b.String()
}

// abridge shortens long hex for people, unless that would make two different values look the same.
func abridge(got, want string) (string, string) {
	g, w := shorten(got), shorten(want)
	if g == w && got != want {
		return printable(got), printable(want)
	}
	return printable(g), printable(w)
}

// alternatives is how a verdict joins values of which one is wanted.
const alternatives = " or "

// isPhrase tells a part of a sentence from a value.
func isPhrase(s string) bool { return s == "" || strings.ContainsFunc(s, unicode.IsSpace) }

// values takes a list apart that a verdict joined, and says how many the verdict itself left out. A sentence is no list.
func values(s string) (list []string, left int) {
	list = strings.Split(s, alternatives)
	if n, ok := strings.CutSuffix(list[len(list)-1], " more"); ok && len(list) > 1 {
		if count, err := strconv.Atoi(n); err == nil {
			list, left = list[:len(list)-1], count
		}
	}
	if len(list)+left < 2 || slices.ContainsFunc(list, isPhrase) {
		return nil, 0
	}
	return list, left
}

func shorten(s string) string {
	const longest, head, tail, most = 40, 16, 8, 3
	if list, left := values(s); list != nil {
		for i := range list {
			list[i] = shorten(list[i])
		}
		if len(list)+left > most {
			shown := min(most, len(list))
			left += len(list) - shown
			list = append(list[:shown], fmt.Sprintf("%d more", left))
		}
		return strings.Join(list, alternatives)
	}
	if len(s) <= longest || strings.Trim(s, "0123456789abcdef") != "" {
		return s
	}
	return s[:head] + "..." + s[len(s)-tail:]
}

// cut shortens what need not be compared: the row is right.
func cut(s string) string {
	const longest = 48
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}

// printable keeps what came with the evidence, such as a certificate's subject, from writing to the terminal what it likes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // controls, and what turns the direction of writing
			return '?'
		}
		return r
	}, s)
}
