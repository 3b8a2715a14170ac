package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// metric is one result.
type metric struct {
	name      string
	value     float64
	unit      string
	low, high float64
	runs      int
	reference string // what value was compared with, and its own median
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

func (s sample) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (s sample) low() float64  { return slices.Min(s) }
func (s sample) high() float64 { return slices.Max(s) }

// addDuration appends milliseconds.
func (s *sample) addDuration(d time.Duration) { *s = append(*s, milliseconds(d)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// add records a metric of one sample.
func (b *bench) add(name string, s sample, unit, reference string, t target) {
	b.metrics = append(b.metrics, metric{
		name: name, value: s.median(), unit: unit, low: s.low(), high: s.high(), runs: len(s), reference: reference, target: t,
	})
}

// addRatio records the ratio of two samples' medians; its range is that of the ratios run by run, each of two neighbours in time.
func (b *bench) addRatio(name string, of, to sample, reference string, t target) {
	var each sample
	for i := range min(len(of), len(to)) {
		each = append(each, of[i]/to[i])
	}
	b.metrics = append(b.metrics, metric{
		name: name, value: of.median() / to.median(), unit: "ratio", low: each.low(), high: each.high(), runs: len(each),
		reference: reference, target: t,
	})
}

// brief prints milliseconds.
func brief(v float64) string { return fmt.Sprintf("%.4g ms", v) }

// report prints the table and the lines.
func (b *bench) report(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "metric\tmedian\tmin..max\tunit\truns\treference\ttarget\t")
	for _, m := range b.metrics {
		verdict := ""
		if m.target.op != "" {
			verdict = "met"
			if !m.target.met(m.value) {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(t, "%s\t%.4g\t%.4g..%.4g\t%s\t%d\t%s\t%s\t%s\n",
			m.name, m.value, m.low, m.high, m.unit, m.runs, m.reference, cmp.Or(m.target.String(), "-"), verdict)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, m := range b.metrics {
		fmt.Fprintln(w, m.line())
	}
}

// benchLine is the form of a BENCH line.
type benchLine struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Reference string  `json:"reference"`
	Target    string  `json:"target"` // "" when there is none
	OK        bool    `json:"ok"`
}

func (m metric) line() string {
	text, err := json.Marshal(benchLine{m.name, round(m.value), m.unit, m.reference, m.target.String(), m.target.met(m.value)})
	if err != nil {
		return "BENCH " + err.Error() // a number that JSON does not have
	}
	return "BENCH " + plain(text)
}

// plain undoes the escaping that is meant for web pages.
func plain(text []byte) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}

// round keeps four digits.
func round(v float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return out
}
