package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// output is what the demo prints: headings, the command lines it runs, and what they say, indented. Colour is for terminals.
type output struct {
	mu     sync.Mutex
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.colour && colour != "" {
		text = colour + text + plain
	}
	fmt.Fprintln(o.w, text)
}

func (o *output) heading(n, of int, name string) {
	o.print(bold, fmt.Sprintf("\n[%d/%d] %s", n, of, name))
}

// command shows a command line in a form that can be pasted into a shell.
func (o *output) command(args []string) {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	o.print(bold, "  $ "+strings.Join(quoted, " "))
}

// note is a sentence of the demo itself.
func (o *output) note(format string, args ...any) { o.print("", "  "+fmt.Sprintf(format, args...)) }

// theirs is a line that a program or the agent wrote.
func (o *output) theirs(line string) { o.print(faint, "    "+abridge(line)) }

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
		o.print(colour, fmt.Sprintf("  %2d  %-42s  %-11s  %8s", i+1, r.name, r.outcome, seconds(r.took)))
	}
	o.print("", fmt.Sprintf("      %-42s  %-11s  %8s", "all steps", "", seconds(total)))
	colour := green
	if count(results) < len(results) {
		colour = red
	}
	o.print(colour, fmt.Sprintf("demo: %d of %d steps did what they should", count(results), len(results)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// quote leaves plain words as they are.
func quote(s string) string {
	const plainBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%"
	if s != "" && strings.Trim(s, plainBytes) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// abridge cuts lines that would fill a screen, such as the evidence, and takes out what could drive a terminal: containers
// write these lines.
func abridge(line string) string {
	const longest, head = 400, 120
	cut := ""
	if len(line) > longest {
		end := head
		for end > 0 && !utf8.RuneStart(line[end]) {
			end--
		}
		cut = fmt.Sprintf("... (%d bytes in all)", len(line))
		line = line[:end]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, line) + cut
}

// lines calls a function for each line written to it.
type lines struct {
	each func(line string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.each(string(line))
		l.rest = rest
	}
}

// flush passes on a last line that has no end.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.each(string(l.rest))
		l.rest = nil
	}
}
