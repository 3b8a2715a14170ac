package enforcer_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tests/cases"
)

// caseCount is how many generated cases the judges are compared over; `make fuzz-long` asks for more.
var (
	caseCount = flag.Int("cases", 5000, "generated cases to compare the judges over")
	caseSeed  = flag.Uint64("case-seed", 1, "seed of the first generated case")
)

// TestJudgesAgree holds the compiled rules to the engine's evaluation of the framework's text: verdicts, reasons and states.
func TestJudgesAgree(t *testing.T) {
	n := *caseCount
	if testing.Short() || raceEnabled {
		n = min(n, 80)
	}
	const parts = 8
	for _, family := range []struct {
		name string
		opt  cases.Options
		n    int
	}{
		{"well-formed", cases.Options{}, n * 7 / 10},
		{"odd", cases.Options{Odd: true}, n * 2 / 10},
		{"rules-of-its-own", cases.Options{Own: true}, n / 10},
	} {
		for part := range parts {
			t.Run(fmt.Sprintf("%s-%d", family.name, part), func(t *testing.T) {
				t.Parallel()
				plain, size := 0, family.n/parts
				for c := range cases.All(*caseSeed+uint64(part*size), size, family.opt) {
					if compareJudges(t, c) {
						plain++
					}
					if t.Failed() {
						return
					}
				}
				if size >= 50 && plain < size/5 && !family.opt.Own {
					t.Errorf("got %d plain policies of %d: what is compared is not what tools write", plain, size)
				}
			})
		}
	}
}

func compareJudges(t *testing.T, c cases.Case) (plain bool) {
	t.Helper()
	opts := c.LoadOptions()
	opts.Judge = enforcer.JudgeBoth
	e, err := enforcer.Load(t.Context(), []byte(c.Policy), opts)
	if err != nil {
		opts.Judge = enforcer.JudgeCompiled
		if _, plainErr := enforcer.Load(t.Context(), []byte(c.Policy), opts); plainErr == nil {
			t.Errorf("seed %d: the engine does not load what the compiled rules do: %v", c.Seed, err)
		}
		return false
	}
	name, _ := e.Judge()
	if err := replayBoth(t.Context(), e, c.Commands, c.Seed); err != nil {
		t.Errorf("seed %d: %v", c.Seed, err)
	}
	return name == enforcer.JudgeBoth
}

// replayBoth runs the commands; every third committed change is taken back and made again, every seventh stays taken back.
func replayBoth(ctx context.Context, e *enforcer.Enforcer, commands []cases.Command, seed uint64) error {
	entries := map[string][]enforcer.PolicyEntry{}
	for i, cmd := range commands {
		d, err := e.Decide(ctx, cmd.Input)
		if errors.Is(err, enforcer.ErrJudgesDisagree) {
			return fmt.Errorf("command %d, %s: %w", i, cmd.Point, err)
		}
		if err != nil {
			continue
		}
		undo, err := d.Commit()
		if err != nil {
			return fmt.Errorf("command %d, %s: %w", i, cmd.Point, err)
		}
		switch (seed + uint64(i)) % 7 {
		case 0:
			undo()
		case 1, 4:
			undo()
			if d, err = e.Decide(ctx, cmd.Input); err != nil {
				return fmt.Errorf("command %d, %s: refused after it was taken back: %w", i, cmd.Point, err)
			}
			if _, err := d.Commit(); err != nil {
				return fmt.Errorf("command %d, %s: %w", i, cmd.Point, err)
			}
		}
		if id, ok := point.ContainerOf(cmd.Input); ok {
			if err := checkSurviving(e, id, entries, (seed+uint64(i))%7 == 0); err != nil {
				return fmt.Errorf("command %d, %s: %w", i, cmd.Point, err)
			}
		}
		if _, err := e.Decide(ctx, enforcer.RuntimeLoggingInput{}); errors.Is(err, enforcer.ErrInconsistent) {
			return fmt.Errorf("command %d, %s: the states of the judges differ after an undo", i, cmd.Point)
		}
	}
	return nil
}
