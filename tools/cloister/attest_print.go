package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/cloister-cc/cloister/snp/verify"
)

func (a *attestVerify) print(w io.Writer, v *verify.Verdict) error {
	if a.json {
		return encodeJSON(w, v)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tFIELD\tGOT\tWANT")
	for _, f := range v.Checks {
		got, want := abridge(f.Got, f.Want)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", map[verify.Status]string{verify.StatusPass: "ok", verify.StatusFail: "NO", verify.StatusNotAsked: "-", verify.StatusNotJudged: "?"}[f.Status], f.Name, got, want)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	verdict := "REFUSED"
	if v.OK {
		verdict = "accepted"
	}
	if v.TestOnly {
		verdict += " (software SNP processor, TEST ONLY: says nothing about hardware)"
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}

// abridge shortens long hex for people, unless that would make two different values look the same.
func abridge(got, want string) (string, string) {
	g, w := shorten(got), shorten(want)
	if g == w && got != want {
		return printable(got), printable(want)
	}
	return printable(g), printable(w)
}

func shorten(s string) string {
	const longest, head, tail = 40, 16, 8
	if len(s) <= longest || strings.Trim(s, "0123456789abcdef") != "" {
		return s
	}
	return s[:head] + "..." + s[len(s)-tail:]
}

// printable keeps what came with the evidence, such as a certificate's subject, from writing to the terminal what it likes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
