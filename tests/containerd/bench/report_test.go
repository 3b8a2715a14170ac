package main

import (
	"strings"
	"testing"
)

func TestPercentiles(t *testing.T) {
	var s sample
	for i := 100; i >= 1; i-- {
		s = append(s, float64(i))
	}
	for percent, want := range map[int]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := s.at(percent); got != want {
			t.Errorf("p%d: got %g, want %g", percent, got, want)
		}
	}
	if got := (sample{7}).at(99); got != 7 {
		t.Errorf("p99 of one: got %g", got)
	}
}

func TestReport(t *testing.T) {
	var b bench
	b.add("a_ratio", 1.23456, "ratio", "x < y", atMost(1.2))
	b.add("b_ms", 12, "ms", "", target{})
	var out strings.Builder
	b.report(&out)
	want := `BENCH {"metric":"a_ratio","value":1.235,"unit":"ratio","reference":"x < y","target":"<= 1.2","ok":false}
BENCH {"metric":"b_ms","value":12,"unit":"ms","reference":"","target":"","ok":true}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
