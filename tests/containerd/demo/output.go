package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// output is what the demo prints: headings, notes, and what programs and the agent say, indented. Colour is for terminals.
type output struct {
	w      io.Writer
	colour bool
}

func newOutput(w io.Writer) *output {
	f, ok := w.(*os.File)
	return &output{w: w, colour: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

const (
	bold  = "\x1b[1m"
	faint = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

func (o *output) print(colour, text string) {
	if o.colour && colour != "" {
		text = colour + text + plain
	}
	fmt.Fprintln(o.w, text)
}

func (o *output) heading(n, of int, name string) {
	o.print(bold, fmt.Sprintf("\n[%d/%d] %s", n, of, name))
}

// command shows what is asked for, as a user would write it.
func (o *output) command(words ...string) { o.print(bold, "  $ "+strings.Join(words, " ")) }

// note is a sentence of the demo itself.
func (o *output) note(format string, args ...any) { o.print("", "  "+fmt.Sprintf(format, args...)) }

// theirs is what a program or the agent wrote. Containers write it too: what could drive a terminal is taken out.
func (o *output) theirs(text string) {
	for line := range strings.Lines(text) {
		clean := strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				return -1
			}
			return r
		}, line)
		o.print(faint, "    "+clean)
	}
}

func (o *output) outcome(r result, err error) {
	colour, text := green, fmt.Sprintf("  %s  %s", r.outcome, seconds(r.took))
	if err != nil {
		colour, text = red, fmt.Sprintf("  %s  %s: %v", r.outcome, seconds(r.took), err)
	}
	o.print(colour, text)
}

// summary is the table of all steps, and the one line that says whether all is well.
func (o *output) summary(results []result) {
	o.print(bold, "\nsummary")
	var total time.Duration
	for i, r := range results {
		total += r.took
		colour := ""
		if r.outcome != done {
			colour = red
		}
		o.print(colour, fmt.Sprintf("  %2d  %-46s  %-11s  %8s", i+1, r.name, r.outcome, seconds(r.took)))
	}
	o.print("", fmt.Sprintf("      %-46s  %-11s  %8s", "all steps", "", seconds(total)))
	colour := green
	if count(results) < len(results) {
		colour = red
	}
	o.print(colour, fmt.Sprintf("demo-containerd: %d of %d steps did what they should", count(results), len(results)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
