package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// sample is what was measured in one way, a number a run.
type sample []float64

// at is a percentile, by the nearest rank; 50 is the median.
func (s sample) at(percent int) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// metric is one result, in the form of a BENCH line.
type metric struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Reference string  `json:"reference"`
	Target    string  `json:"target"` // "" when there is none
	OK        bool    `json:"ok"`
}

// target is what a value may be at most; without one it is there for information.
type target struct {
	bound float64
	set   bool
}

func atMost(v float64) target { return target{v, true} }

func (b *bench) add(name string, value float64, unit, reference string, t target) {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 4, 64), 64)
	if err != nil {
		rounded = value
	}
	m := metric{Metric: name, Value: rounded, Unit: unit, Reference: reference, OK: true}
	if t.set {
		m.Target, m.OK = fmt.Sprintf("<= %g", t.bound), value <= t.bound
	}
	b.metrics = append(b.metrics, m)
}

// ratio adds the ratio of two samples' medians.
func (b *bench) ratio(name string, of, to sample, reference string, t target) {
	b.add(name, of.at(50)/to.at(50), "ratio", reference, t)
}

func (b *bench) report(w io.Writer) {
	for _, m := range b.metrics {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(m); err != nil {
			fmt.Fprintf(w, "%s: %v\n", m.Metric, err) // a number that JSON does not have
			continue
		}
		fmt.Fprintf(w, "BENCH %s", text.Bytes())
	}
}
