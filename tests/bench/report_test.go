package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name string
		in   sample
		want float64
	}{
		{"none", nil, 0},
		{"one", sample{3}, 3},
		{"odd", sample{9, 1, 5}, 5},
		{"even", sample{4, 1, 2, 100}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.in.median(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestReportSaysWhatWasMissed(t *testing.T) {
	var b bench
	b.addRatio("slow", sample{30, 40, 20}, sample{10, 10, 10}, "the other 10 ms", atMost(1.5))
	b.add("big", sample{26.5}, "MB", "", atMost(27))
	b.add("known", sample{12}, "ms", "a < b & c", target{})
	var out bytes.Buffer
	b.report(&out)
	want := []benchLine{
		{"slow", 3, "ratio", "the other 10 ms", "<= 1.5", false},
		{"big", 26.5, "MB", "", "<= 27", true},
		{"known", 12, "ms", "a < b & c", "", true},
	}
	var got []benchLine
	for line := range strings.Lines(out.String()) {
		text, found := strings.CutPrefix(line, "BENCH ")
		if !found {
			continue
		}
		var l benchLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		got = append(got, l)
	}
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%s", len(got), len(want), out.String())
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if !strings.Contains(out.String(), `"target":"<= 1.5"`) {
		t.Errorf("the lines are escaped as for a web page:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "2..4") {
		t.Errorf("the range is not that of the ratios run by run:\n%s", out.String())
	}
}
