package cases_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tests/cases"
)

func TestSizedAdmission(t *testing.T) {
	reasons := map[string][]string{
		"unknown-hash": {"deviceHash not found"}, "layer-order": {"no matching containers for overlay"},
		"env-value": {"invalid env list", "invalid env list: LEVEL"}, "command": {"invalid command"}, "exec-command": {"invalid command"},
	}
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%t", shared), func(t *testing.T) {
			policy, admission := cases.Sized(5, shared)
			e, err := enforcer.Load(context.Background(), []byte(policy), enforcer.Options{DefaultMounts: aci.DefaultMounts()})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 8 {
				steps, refusals := admission(i), cases.SizedRefusals(5, i, shared)
				if len(steps) != 9 {
					t.Fatalf("got %d steps, want 9", len(steps))
				}
				for n, in := range steps {
					for _, r := range refusals {
						if r.After != n {
							continue
						}
						_, err := e.Decide(context.Background(), r.Input)
						denial, ok := err.(*enforcer.Denial)
						if !ok || !slices.Equal(denial.Reasons, reasons[r.Name]) {
							t.Errorf("container %d, %s: got %v, want a denial for %q", i, r.Name, err, reasons[r.Name])
						}
					}
					d, err := e.Decide(context.Background(), in)
					if err != nil {
						t.Fatalf("container %d, step %d: %v", i, n, err)
					}
					if _, err := d.Commit(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func TestSizedIsOfTheSizeSaid(t *testing.T) {
	small, _ := cases.Sized(1, false)
	big, _ := cases.Sized(101, false)
	if each := (len(big) - len(small)) / 100; each < 3000 || each > 4500 {
		t.Errorf("got %d bytes a container, want about 3.5 KB as the tools write", each)
	}
}
