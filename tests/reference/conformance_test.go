package reference

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/cases"
	"github.com/cloister-cc/cloister/tests/reference/peer"
)

// families are those the reference knows, the ones that tools wrote more often.
func families() []cases.Family {
	list := []cases.Family{
		{API: "0.10.0", Framework: "0.3.0"},
		{API: "0.10.0", Framework: "0.2.3"},
		{API: "0.10.0", Framework: "0.3.0"},
		{API: "0.10.0", Framework: "0.2.3"},
		{API: "0.10.0", Framework: "0.3.0", OldNames: true},
	}
	for _, framework := range []string{"0.1.0", "0.2.0", "0.2.1", "0.2.2", "0.2.3", "0.3.0"} {
		for _, api := range []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.9.0", "0.10.0"} {
			list = append(list, cases.Family{API: api, Framework: framework})
		}
	}
	return list
}

var caseCount = flag.Int("cases", 300, "generated cases to compare the enforcers over")

// TestConformance judges generated cases by the enforcer and by the reference.
func TestConformance(t *testing.T) {
	const workers = 4
	count := *caseCount
	for w := range workers {
		t.Run("part-"+string(rune('a'+w)), func(t *testing.T) {
			t.Parallel()
			var total tally
			for c := range cases.All(uint64(1+w*(count/workers)), count/workers, cases.Options{Families: families(), Grouped: true}) {
				compareCase(t, c, &total)
			}
			t.Logf("%d requests compared: %d allowed, %d refused; %d with a documented difference; %d cases cut short",
				total.compared, total.allowed, total.compared-total.allowed, total.documented, total.cut)
			if total.compared < 10*count/workers || total.allowed < total.compared/5 {
				t.Errorf("too little was compared to say anything")
			}
		})
	}
}

type tally struct{ compared, allowed, documented, cut int }

func compareCase(t *testing.T, c cases.Case, total *tally) {
	t.Helper()
	opts := c.LoadOptions()
	ours, err := enforcer.Load(t.Context(), []byte(c.Policy), opts)
	if err != nil {
		t.Fatalf("seed %d: %v", c.Seed, err)
	}
	theirs, err := peer.Load(c.Policy, opts.DefaultMounts, opts.PrivilegedMounts)
	if err != nil {
		t.Fatalf("seed %d: %v", c.Seed, err)
	}
	for i, cmd := range c.Commands {
		if !asked(cmd.Input) {
			continue
		}
		x, err := ask(t.Context(), ours, theirs, cmd.Input)
		if errors.Is(err, peer.ErrNotExpressible) {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d, command %d: %v", c.Seed, i, err)
		}
		total.compared++
		if halfApplied(x.theirs) && x.denial != nil {
			total.cut++
			return
		}
		documented, diff := compare(x)
		if diff != "" {
			text, _ := json.Marshal(c.Until(i))
			t.Errorf("seed %d, command %d, %s: (-reference +ours)\n%s\n%s", c.Seed, i, cmd.Point, diff, text)
			return
		}
		if documented {
			total.documented++
			if x.theirs.Allowed {
				return
			}
			continue
		}
		if x.ours == nil {
			continue
		}
		total.allowed++
		if _, asks := env(x.in); asks && len(x.ours.Env) == 0 {
			total.cut++ // both allow, but for different candidates: the reference's are those without rules
			return
		}
		if _, err := x.ours.Commit(); err != nil {
			t.Fatalf("seed %d, command %d: %v", c.Seed, i, err)
		}
	}
}

func ask(ctx context.Context, ours *enforcer.Enforcer, theirs *peer.Peer, in enforcer.Input) (x exchange, err error) {
	x.in = in
	if x.theirs, err = theirs.Decide(ctx, in); err != nil {
		return x, err
	}
	x.ours, err = ours.Decide(ctx, in)
	if errors.As(err, &x.denial) {
		err = nil
	}
	return x, err
}

// compare says how the answers differ, and whether a difference is a documented one of the verdict.
func compare(x exchange) (documented bool, diff string) {
	theirs := answer{Allowed: x.theirs.Allowed, Reasons: asSet(x.theirs.Reasons)}
	ours := answer{Allowed: x.ours != nil}
	if x.denial != nil {
		ours.Reasons = asSet(x.denial.Reasons)
	}
	switch {
	case ours.Allowed != theirs.Allowed:
		documented = slices.ContainsFunc(verdictDifferences, func(d verdictDifference) bool { return d.holds(x) })
		if documented {
			return true, ""
		}
	case ours.Allowed:
		theirs.fill(x, x.theirs.Env, x.theirs.Caps, x.theirs.Stdio)
		ours.fill(x, x.ours.Env, x.ours.Capabilities, x.ours.AllowStdio)
	case x.theirs.Broken != "":
		// What is no reason of the framework, the reference says as an error; it has to be the same text.
		theirs.Reasons = []string{x.theirs.Broken}
	default:
		point := x.in.Point()
		left, right := explained(point, theirs.Reasons, ours.Reasons, true), explained(point, ours.Reasons, theirs.Reasons, false)
		theirs.Reasons, ours.Reasons = asSet(left), asSet(right)
	}
	return false, cmp.Diff(theirs, ours)
}

// answer is what both say, in a form that compares.
type answer struct {
	Allowed bool
	Reasons []string
	Env     []string
	Caps    enforcer.Capabilities
	Stdio   bool
}

func (a *answer) fill(x exchange, env []string, caps *enforcer.Capabilities, stdio bool) {
	a.Env = asSet(env)
	if caps != nil {
		a.Caps = enforcer.Capabilities{
			Bounding: asSet(caps.Bounding), Effective: asSet(caps.Effective), Inheritable: asSet(caps.Inheritable),
			Permitted: asSet(caps.Permitted), Ambient: asSet(caps.Ambient),
		}
	}
	if x.in.Point() != enforcer.PointExecInContainer {
		a.Stdio = stdio
	}
}

func asSet(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
