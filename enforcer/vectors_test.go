package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
)

// vector is one labelled case; tests/vectors/aci/README.md says where they come from.
type vector struct {
	Policy   string `json:"policy"`
	Commands []struct {
		Name  enforcer.Point  `json:"name"`
		Input json.RawMessage `json:"input"`
	} `json:"commands"`
	Expected []vectorAnswer `json:"expected"`
}

type vectorAnswer struct {
	Name       enforcer.Point         `json:"name"`
	Allowed    bool                   `json:"allowed"`
	EnvList    []string               `json:"env_list"`
	CapsList   *enforcer.Capabilities `json:"caps_list"`
	AllowStdio *bool                  `json:"allow_stdio_access"`
	Errors     []string               `json:"errors"`
}

// falseExecReasons are what the reference adds to every refused exec: its rules look at fields exec entries do not have.
var falseExecReasons = []string{"invalid noNewPrivileges", "invalid user"}

func TestReplayRecordedCases(t *testing.T) {
	files, err := filepath.Glob("../tests/vectors/aci/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v vector
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			if len(v.Commands) == 0 || len(v.Commands) != len(v.Expected) {
				t.Fatalf("got %d commands and %d answers", len(v.Commands), len(v.Expected))
			}
			replay(t, v)
		})
	}
}

func replay(t *testing.T, v vector) {
	ctx := context.Background()
	e, err := enforcer.Load(ctx, []byte(v.Policy), enforcer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, cmd := range v.Commands {
		in, err := enforcer.DecodeInput(cmd.Name, cmd.Input)
		if err != nil {
			t.Fatal(err)
		}
		got := vectorAnswer{Name: cmd.Name}
		d, err := e.Decide(ctx, in)
		var denial *enforcer.Denial
		switch {
		case errors.As(err, &denial):
			got.Errors = denial.Reasons
		case err != nil:
			t.Fatalf("command %d: %v", i, err)
		default:
			got.Allowed, got.EnvList, got.CapsList = true, d.Env, d.Capabilities
			if v.Expected[i].AllowStdio != nil {
				got.AllowStdio = &d.AllowStdio
			}
			if _, err := d.Commit(); err != nil {
				t.Fatalf("command %d: %v", i, err)
			}
		}
		compareAnswers(t, i, got, v.Expected[i])
	}
}

func compareAnswers(t *testing.T, i int, got, want vectorAnswer) {
	t.Helper()
	if got.Name == enforcer.PointExecInContainer && !got.Allowed {
		for _, reason := range falseExecReasons {
			if !slices.Contains(got.Errors, reason) {
				want.Errors = slices.DeleteFunc(slices.Clone(want.Errors), func(s string) bool { return s == reason })
			}
		}
	}
	for _, a := range []*vectorAnswer{&got, &want} {
		a.EnvList, a.Errors = asSet(a.EnvList), asSet(a.Errors)
		if c := a.CapsList; c != nil {
			a.CapsList = &enforcer.Capabilities{
				Bounding: asSet(c.Bounding), Effective: asSet(c.Effective), Inheritable: asSet(c.Inheritable),
				Permitted: asSet(c.Permitted), Ambient: asSet(c.Ambient),
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command %d: %s (-want +got)\n%s", i, got.Name, diff)
	}
}

func asSet(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
