package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/cloister-cc/cloister/tests/cases"
)

// key names one sample.
type key struct {
	who    string // "ours" or "reference"
	n      int
	shared bool
	what   string // "load", a point, "refused <name>", or "admission"
}

// samples are all that was measured, in microseconds.
type samples map[key]sample

func (s samples) median(k key) float64 { return s[k].median() }

// ratio is how many times longer the reference takes.
func (s samples) ratio(n int, shared bool, what string) float64 {
	return s.median(key{"reference", n, shared, what}) / s.median(key{"ours", n, shared, what})
}

// effort is how often things are done at a size: at 10,000 containers the reference takes half a minute for one admission.
type effort struct{ rounds, admissions int }

func effortAt(n int) effort {
	switch {
	case n <= 10:
		return effort{9, 8}
	case n <= 100:
		return effort{5, 8}
	case n <= 1000:
		return effort{3, 6}
	}
	return effort{2, 3}
}

// measureAdmissions loads policies of n containers into both in turn, and starts some of their containers.
func measureAdmissions(s samples, n int, shared bool) error {
	policy, _ := cases.Sized(n, shared)
	e := effortAt(n)
	for range e.rounds {
		for _, subject := range []struct {
			who  string
			load func(string) (judge, error)
		}{{"ours", loadOurs}, {"reference", loadTheirs}} {
			runtime.GC()
			start := time.Now()
			j, err := subject.load(policy)
			if err != nil {
				return fmt.Errorf("%s, %d containers: %w", subject.who, n, err)
			}
			s.add(key{subject.who, n, shared, "load"}, time.Since(start))
			runtime.GC()
			for k := range e.admissions {
				if err := admit(s, key{who: subject.who, n: n, shared: shared}, j, k*(n/e.admissions+1)); err != nil {
					return fmt.Errorf("%s, %d containers, admission %d: %w", subject.who, n, k, err)
				}
			}
		}
	}
	return nil
}

func (s samples) add(k key, d time.Duration) {
	list := s[k]
	list.add(d)
	s[k] = list
}

// admit starts one container, and tries what is refused on the way.
func admit(s samples, k key, j judge, i int) error {
	_, admission := cases.Sized(k.n, k.shared)
	refusals := cases.SizedRefusals(k.n, i, k.shared)
	var whole time.Duration
	for step, in := range admission(i) {
		for _, r := range refusals {
			if r.After != step {
				continue
			}
			took, err := timed(decide(j, r.Input, false))
			if err != nil {
				return err
			}
			k.what = "refused " + r.Name
			s.add(k, took)
		}
		took, err := timed(decide(j, in, true))
		if err != nil {
			return err
		}
		k.what = string(in.Point())
		s.add(k, took)
		whole += took
	}
	k.what = "admission"
	s.add(k, whole)
	return nil
}

func timed(ask func() error, err error) (time.Duration, error) {
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = ask()
	return time.Since(start), err
}

var columns = []string{
	"load", "mount_device", "mount_overlay", "create_container", "exec_in_container", "admission",
	"refused unknown-hash", "refused layer-order", "refused env-value", "refused command", "refused exec-command",
}

// table prints one line a size and measurement.
func (s samples) table(w io.Writer, sizes []int) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "containers\timages\twhat\tours\treference\ttimes faster\t")
	for _, n := range sizes {
		for _, shared := range []bool{false, true} {
			for _, what := range columns {
				fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%.4g\t\n", n, images(shared), what,
					brief(s.median(key{"ours", n, shared, what})), brief(s.median(key{"reference", n, shared, what})), s.ratio(n, shared, what))
			}
		}
	}
	t.Flush()
	fmt.Fprintln(w)
}

func images(shared bool) string {
	if shared {
		return "shared"
	}
	return "distinct"
}
