package cases_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/cases"
)

func TestSameSeedSameCase(t *testing.T) {
	for name, opt := range map[string]cases.Options{"plain": {}, "odd": {Odd: true, Own: true}, "grouped": {Grouped: true}} {
		t.Run(name, func(t *testing.T) {
			n := 200
			if raceEnabled {
				n = 20
			}
			for c := range cases.All(1, n, opt) {
				again := cases.Generate(c.Seed, opt)
				if diff := cmp.Diff(c, again); diff != "" {
					t.Fatalf("seed %d: (-first +second)\n%s", c.Seed, diff)
				}
				if c.Policy == cases.Generate(c.Seed+1000, opt).Policy {
					t.Errorf("seed %d: another seed gives the same policy", c.Seed)
				}
				if len(c.Commands) == 0 {
					t.Errorf("seed %d: no commands", c.Seed)
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	old := cases.Family{API: "0.10.0", Framework: "0.2.3"}
	for c := range cases.All(1, 100, cases.Options{Families: []cases.Family{old}, Commands: 9, Grouped: true}) {
		if len(c.Commands) > 9 {
			t.Fatalf("seed %d: got %d commands, want at most 9", c.Seed, len(c.Commands))
		}
		if !strings.Contains(c.Policy, `framework_version := "0.2.3"`) && !strings.Contains(c.Policy, `framework_version = "0.2.3"`) {
			t.Fatalf("seed %d: not of the family asked for\n%s", c.Seed, c.Policy)
		}
		if strings.Contains(c.Policy, `"MODE=a|MODE=b"`) {
			t.Fatalf("seed %d: a pattern that is not grouped", c.Seed)
		}
	}
}

func TestCaseAsJSON(t *testing.T) {
	for c := range cases.All(1, 50, cases.Options{Grouped: true}) {
		text, err := json.Marshal(c.Until(len(c.Commands) / 2))
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Policy   string
			Commands []struct {
				Name  enforcer.Point
				Input json.RawMessage
			}
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Policy != c.Policy || len(doc.Commands) != len(c.Commands)/2+1 {
			t.Fatalf("seed %d: the text does not have the policy and %d commands", c.Seed, len(c.Commands)/2+1)
		}
		for i, cmd := range doc.Commands {
			in, err := enforcer.DecodeInput(cmd.Name, cmd.Input)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.Commands[i].Input, in); diff != "" {
				t.Fatalf("seed %d, command %d: (-made +read)\n%s", c.Seed, i, diff)
			}
		}
	}
}

// listed are the reasons of the policy contract, section 2.5, but those of fragments and of an absent framework version.
var listed = []string{
	"deviceHash not found",
	"device already mounted at path",
	"mountpoint invalid",
	"no device at path to unmount",
	"received read-only unmount request, but device provided is read-write",
	"received read-write unmount request, but device provided is read-only",
	"unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption",
	"ensureFilesystem must be set on rw device mounts",
	"rw device mounts uses a filesystem that is not allowed",
	"blockdev mounts are not supported",
	"overlay has already been mounted",
	"no matching containers for overlay",
	"no overlay at path to unmount",
	"container already started",
	"container not started",
	"privileged escalation not allowed",
	"invalid command",
	"invalid env list",
	"missing required environment variable",
	"invalid working directory",
	"invalid mount list",
	"invalid noNewPrivileges",
	"invalid user",
	"invalid seccomp",
	"devices not supported",
	"capabilities don't match",
	"containers only distinguishable by capabilties",
	"containers only distinguishable by allow_stdio_access",
	"external processes only distinguishable by allow_stdio_access",
	"target isn't allowed to receive the signal",
	"scratch already mounted at path",
	"unencrypted scratch not allowed",
	"no scratch at path to unmount",
	"framework_version is ahead of the current version",
	"framework_version is missing",
}

// TestDistribution judges cases until every point was both asked and every reason given.
func TestDistribution(t *testing.T) {
	if raceEnabled {
		t.Skip("judges hundreds of cases, one after the other: run without -race")
	}
	const most, least = 2000, 60
	missing := map[string]bool{}
	for _, info := range enforcer.Points() {
		missing["point "+string(info.Point)] = true
	}
	for _, reason := range listed {
		missing[reason] = true
	}
	total, allowed, count := 0, 0, 0
	creates := map[bool]int{}
	for c := range cases.All(1, most, cases.Options{}) {
		if count++; count > least && len(missing) == 0 {
			break
		}
		judge(t, c, func(cmd cases.Command, reasons []string, ok bool) {
			total++
			if ok {
				allowed++
			}
			if cmd.Point == enforcer.PointCreateContainer {
				creates[ok]++
			}
			delete(missing, "point "+string(cmd.Point))
			for _, reason := range reasons {
				text, _, _ := strings.Cut(reason, ": ")
				delete(missing, text)
			}
		})
	}
	t.Logf("%d cases, %d of %d requests allowed; create_container: %d allowed, %d refused", count, allowed, total, creates[true], creates[false])
	if len(missing) > 0 {
		t.Errorf("did not occur within %d cases: %q", most, slices.Sorted(maps.Keys(missing)))
	}
	if share := 100 * allowed / total; share < 35 || share > 65 {
		t.Errorf("got %d %% allowed, want about half", share)
	}
	if share := 100 * creates[true] / (creates[true] + creates[false]); share < 15 || share > 65 {
		t.Errorf("got %d %% of create_container allowed, want a quarter to a half", share)
	}
}

// judge runs a case and tells the answers.
func judge(t *testing.T, c cases.Case, answer func(cmd cases.Command, reasons []string, ok bool)) {
	t.Helper()
	ctx := context.Background()
	e, err := enforcer.Load(ctx, []byte(c.Policy), c.LoadOptions())
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", c.Seed, err, c.Policy)
	}
	for i, cmd := range c.Commands {
		d, err := e.Decide(ctx, cmd.Input)
		var denial *enforcer.Denial
		switch {
		case errors.As(err, &denial):
			answer(cmd, denial.Reasons, false)
		case err != nil:
			t.Fatalf("seed %d, command %d: %v", c.Seed, i, err)
		default:
			answer(cmd, nil, true)
			if _, err := d.Commit(); err != nil {
				t.Fatalf("seed %d, command %d: %v", c.Seed, i, err)
			}
		}
	}
}

// TestOddPolicies holds that whatever odd makes is loaded or refused as a whole, and judged without an error of the judge's own
// making a request pass.
func TestOddPolicies(t *testing.T) {
	n := 150
	if raceEnabled {
		n = 20
	}
	loaded, refused := 0, 0
	for c := range cases.All(1, n, cases.Options{Odd: true, Own: true, Commands: 6}) {
		e, err := enforcer.Load(context.Background(), []byte(c.Policy), c.LoadOptions())
		if err != nil {
			refused++
			continue
		}
		loaded++
		for _, cmd := range c.Commands {
			if d, err := e.Decide(context.Background(), cmd.Input); (d == nil) == (err == nil) {
				t.Errorf("seed %d: %s: got decision %v and error %v", c.Seed, cmd.Point, d, err)
			}
		}
	}
	if loaded < n/2 || refused > n/2 {
		t.Errorf("got %d loaded and %d refused, want most loaded", loaded, refused)
	}
}
