package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/cases"
)

const (
	growthAdmissions = 48
	growthAsks       = 16
)

// growth is how a decision of ours slows down from 1 to n containers: the worst of all points, allowed and refused.
type growth struct {
	worst float64
	what  string
	each  map[string]float64
}

// measureGrowth asks policies of 1 and of n containers in turn. Each question is asked several times without a change of state,
// so that what is compared is the work, not what the caches held.
func measureGrowth(n int, shared bool) (growth, error) {
	g := growth{each: map[string]float64{}}
	var enforcers [2]*enforcer.Enforcer
	sizes := [2]int{1, n}
	for i, size := range sizes {
		policy, _ := cases.Sized(size, shared)
		e, err := enforcer.Load(context.Background(), []byte(policy), options())
		if err != nil {
			return g, err
		}
		enforcers[i] = e
	}
	runtime.GC()
	var took [2]map[string]sample
	took[0], took[1] = map[string]sample{}, map[string]sample{}
	for k := range growthAdmissions {
		for i, e := range enforcers {
			if err := growthAdmission(took[i], e, sizes[i], shared, k*(sizes[i]/growthAdmissions+1)); err != nil {
				return g, fmt.Errorf("%d containers: %w", sizes[i], err)
			}
		}
	}
	for what, small := range took[0] {
		ratio := took[1][what].median() / small.median()
		g.each[what] = ratio
		if ratio > g.worst {
			g.worst, g.what = ratio, what
		}
	}
	return g, nil
}

func growthAdmission(took map[string]sample, e *enforcer.Enforcer, n int, shared bool, i int) error {
	_, admission := cases.Sized(n, shared)
	refusals := cases.SizedRefusals(n, i, shared)
	for step, in := range admission(i) {
		for _, r := range refusals {
			if r.After == step {
				if _, err := askOften(took, "refused "+r.Name, e, r.Input, false); err != nil {
					return err
				}
			}
		}
		d, err := askOften(took, string(in.Point()), e, in, true)
		if err != nil {
			return err
		}
		if _, err := d.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func askOften(took map[string]sample, what string, e *enforcer.Enforcer, in enforcer.Input, want bool) (d *enforcer.Decision, err error) {
	ctx := context.Background()
	if _, err = e.Decide(ctx, in); (err == nil) != want {
		return nil, fmt.Errorf("%s: got %v, want allowed %t", what, err, want)
	}
	start := time.Now()
	for range growthAsks {
		d, err = e.Decide(ctx, in)
	}
	list := took[what]
	list.add(time.Since(start) / growthAsks)
	took[what] = list
	if (err == nil) != want {
		return nil, fmt.Errorf("%s: got %v, want allowed %t", what, err, want)
	}
	return d, nil
}
