package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// metric is one result, in the form of the other measurements of this repository.
type metric struct {
	name      string
	value     float64
	unit      string
	reference string
	target    target
}

// target is what a value must reach; without one it is there for information.
type target struct {
	op    string // "<=", ">=" or ""
	bound float64
}

func atMost(v float64) target  { return target{"<=", v} }
func atLeast(v float64) target { return target{">=", v} }

func (t target) String() string {
	if t.op == "" {
		return ""
	}
	return fmt.Sprintf("%s %g", t.op, t.bound)
}

func (t target) met(v float64) bool {
	switch t.op {
	case "<=":
		return v <= t.bound
	case ">=":
		return v >= t.bound
	}
	return true
}

// sample is what was measured in one way, a number a run.
type sample []float64

func (s *sample) add(d time.Duration) { *s = append(*s, float64(d)/float64(time.Microsecond)) }

func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func report(w io.Writer, metrics []metric) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "metric\tvalue\tunit\treference\ttarget\t")
	for _, m := range metrics {
		verdict := ""
		if m.target.op != "" {
			verdict = "met"
			if !m.target.met(m.value) {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(t, "%s\t%.4g\t%s\t%s\t%s\t%s\n", m.name, m.value, m.unit, m.reference, m.target, verdict)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, m := range metrics {
		fmt.Fprintln(w, m.line())
	}
}

// line is the metric as programs read it.
func (m metric) line() string {
	text, err := json.Marshal(struct {
		Metric    string  `json:"metric"`
		Value     float64 `json:"value"`
		Unit      string  `json:"unit"`
		Reference string  `json:"reference"`
		Target    string  `json:"target"` // "" when there is none
		OK        bool    `json:"ok"`
	}{m.name, round(m.value), m.unit, m.reference, m.target.String(), m.target.met(m.value)})
	if err != nil {
		return "BENCH " + err.Error() // a number that JSON does not have
	}
	return "BENCH " + strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}

// round keeps four digits.
func round(v float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return out
}

// brief writes microseconds for people.
func brief(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.3g s", us/1e6)
	case us >= 1e3:
		return fmt.Sprintf("%.3g ms", us/1e3)
	}
	return fmt.Sprintf("%.3g us", us)
}
