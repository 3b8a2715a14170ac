package policydoc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tests/cases"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

func read(t *testing.T, text string) *policydoc.Policy {
	t.Helper()
	p, err := policydoc.Read(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pointNames() []string {
	var names []string
	for _, p := range enforcer.Points() {
		names = append(names, string(p.Point))
	}
	return names
}

// Of a plain policy, this package reads what the enforcer's own reader reads.
func TestReadAgreesWithEntry(t *testing.T) {
	plain := 0
	for c := range cases.All(1, 400, cases.Options{Odd: true, Own: true}) {
		want, err := entry.Read([]byte(c.Policy), pointNames())
		if err != nil {
			continue
		}
		plain++
		got := read(t, c.Policy)
		// A plain policy of a version that nobody knows is left to the engine.
		version, known := point.ParseVersion(got.FrameworkVersion)
		known = known && !(point.Version{0, 5, 0}).Less(version)
		if compiled := got.Judge == "compiled"; compiled != (got.NotPlain == "") || !compiled && known {
			t.Errorf("seed %d: judge %s because of %q", c.Seed, got.Judge, got.NotPlain)
		}
		opts := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(entry.EnvRule{}, "HasRequired")}
		if diff := cmp.Diff(entry.Complete(want.Data.Containers, want.FrameworkVersion), entry.Complete(got.Containers, got.FrameworkVersion), opts); diff != "" {
			t.Errorf("seed %d: containers (-entry +policydoc)\n%s", c.Seed, diff)
		}
		if diff := cmp.Diff(want.Data.ExternalProcesses, got.ExternalProcesses, opts); diff != "" {
			t.Errorf("seed %d: external processes (-entry +policydoc)\n%s", c.Seed, diff)
		}
		if want.APIVersion != got.APIVersion || want.FrameworkVersion != got.FrameworkVersion {
			t.Errorf("seed %d: versions %s, %s, want %s, %s", c.Seed, got.APIVersion, got.FrameworkVersion, want.APIVersion, want.FrameworkVersion)
		}
		for _, r := range got.Points {
			if want.Delegated[string(r.Point)] != (r.Rule == policydoc.Framework) {
				t.Errorf("seed %d: %s is %s", c.Seed, r.Point, r.Rule)
			}
		}
		if t.Failed() {
			return
		}
	}
	if plain < 50 {
		t.Errorf("%d policies were plain", plain)
	}
}

// What MissingFields names is what makes a container vanish.
func TestMissingFieldsAreThoseThatCount(t *testing.T) {
	fields := []string{
		"command", "env_rules", "layers", "mounts", "exec_processes", "signals", "allow_elevated", "working_dir", "allow_stdio_access",
		"no_new_privileges", "user", "capabilities", "seccomp_profile_sha256",
	}
	const every = entry.FieldNoNewPrivileges<<1 - 1
	for _, version := range []string{"0.1.0", "0.2.0", "0.2.1", "0.2.2", "0.2.3", "0.3.0", "0.4.1"} {
		seen := 0
		for bit := entry.FieldID; bit <= every; bit <<= 1 {
			c := &entry.Container{Present: every &^ bit}
			missing := policydoc.MissingFields(c, version)
			if vanishes := len(entry.Complete([]*entry.Container{c}, version)) == 0; vanishes != (len(missing) == 1) {
				t.Errorf("%s without %b: vanishes %v, missing %v", version, bit, vanishes, missing)
			}
			for _, name := range missing {
				if !slices.Contains(fields, name) {
					t.Errorf("%s: %q is no field", version, name)
				}
				seen++
			}
		}
		if seen < 9 {
			t.Errorf("%s: %d fields count", version, seen)
		}
	}
}

func TestReadRules(t *testing.T) {
	p := read(t, `package policy
import data.framework as f
import rego.v1

api_version := "0.10.0"
framework_svn := "0.5.0"
allow_dump_stacks := true

mount_device := data.framework.mount_device
mount_overlay := f.mount_overlay
create_container := {"allowed": true, "env_list": null}
exec_external := {"allowed": false}
dump_stacks := {"allowed": true, "metadata": []}
get_properties := {"allowed": true} if input.x
exec_in_container := data.framework.exec_external
mount_devise := data.framework.mount_device
mine := 1
reason := {"errors": f.errors}
`)
	rules := map[string]policydoc.Way{}
	effects := map[string]string{}
	for _, r := range p.Points {
		rules[string(r.Point)], effects[string(r.Point)] = r.Rule, r.Effect()
	}
	for name, want := range map[string]policydoc.Way{
		"mount_device": policydoc.Framework, "mount_overlay": policydoc.Framework, "create_container": policydoc.Allowed,
		"exec_external": policydoc.Refused, "dump_stacks": policydoc.Own, "get_properties": policydoc.Own,
		"exec_in_container": policydoc.Own, "log_provider": policydoc.Absent, "runtime_logging": policydoc.Absent,
	} {
		if rules[name] != want {
			t.Errorf("%s: got %s, want %s", name, rules[name], want)
		}
	}
	for name, want := range map[string]string{
		"mount_device": "framework", "create_container": "allowed", "exec_external": "refused", "dump_stacks": "own rule",
		"log_provider": "allowed", "rw_mount_device": "framework", "host_network": "refused", "runtime_logging": "refused",
	} {
		if effects[name] != want {
			t.Errorf("%s: got %s, want %s", name, effects[name], want)
		}
	}
	if diff := cmp.Diff(map[string]string{"exec_in_container": "exec_external", "mount_devise": "mount_device"}, p.Misdelegated); diff != "" {
		t.Errorf("misdelegated (-want +got)\n%s", diff)
	}
	if !slices.Equal(p.OwnRules, []string{"mine", "mount_devise"}) || p.Custom["reason"] != "" || !p.HasReason {
		t.Errorf("own rules %v, reason %q", p.OwnRules, p.Custom["reason"])
	}
	if !p.LegacyFrameworkVersion || p.LegacyAPIVersion || !p.Flag("allow_dump_stacks") || p.Flag("allow_runtime_logging") {
		t.Errorf("got %+v", p.Flags)
	}
	if p.Judge != "opa" || p.NotPlain == "" {
		t.Errorf("judge %s because of %q", p.Judge, p.NotPlain)
	}
}

// Lists that are computed are what they come to, with the framework's rules at hand.
func TestReadComputedLists(t *testing.T) {
	p := read(t, `package policy
import rego.v1
api_version := "0.12.0"
framework_version := data.framework.version
commands := [["/a"], ["/b"]]
containers := [{"command": c} | some c in commands]
external_processes := [p | some p in input.processes]
fragments := input.fragments
`)
	if len(p.Containers) != 2 || p.Containers[1].Command[0] != "/b" || p.Containers[1].Index != 1 || p.FrameworkVersion != "0.5.0" {
		t.Errorf("got %+v, framework %q", p.Containers, p.FrameworkVersion)
	}
	// No request has processes: there are none. What is not defined without a request cannot be known.
	if len(p.ExternalProcesses) != 0 || !slices.Equal(p.Unread, []string{"fragments"}) {
		t.Errorf("got %v, unread %v", p.ExternalProcesses, p.Unread)
	}
}

func TestReadRefusesWhatNoEnforcerLoads(t *testing.T) {
	for _, text := range []string{"", "package policy\nx := http.send({})", "package framework\n", "package agent_policy\n", "package policy\n" + strings.Repeat("(", 2000)} {
		if p, err := policydoc.Read(t.Context(), []byte(text)); err == nil {
			t.Errorf("%.40q: got %+v", text, p)
		}
	}
}

func TestDiffSeesWhatMatters(t *testing.T) {
	texts := map[string]string{}
	files, err := filepath.Glob("../../../enforcer/testdata/policies/*.rego")
	if err != nil || len(files) < 2 {
		t.Fatalf("no policies: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(text)
		same := read(t, string(text)+"\n# a comment\n")
		if d := policydoc.Diff(read(t, string(text)), same); len(d) != 0 {
			t.Errorf("%s: a comment makes %v", f, d)
		}
	}
	base := `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := [
	{"name": "a", "command": ["x"], "layers": ["1", "2"], "signals": [1, 2], "mounts": [{"destination": "/m", "type": "t", "source": "s", "options": ["a", "b"]}]},
	{"name": "b", "command": ["x"], "layers": ["1", "2"], "signals": []},
	{"name": "b", "command": ["y"], "layers": ["3"], "signals": []},
]
fragments := [{"issuer": "i", "feed": "f", "minimum_svn": "1", "includes": ["containers", "fragments"]}]
platform_rules := [{"env_rules": [{"pattern": "A=1", "strategy": "string"}], "mounts": []}]
transparency_trust_lists := [{"issuer": "i", "subject": "s", "minimum_svn": 1, "allowed_ledgers": ["l", "m"]}]
own := 1
`
	cases := []struct {
		name, from, to string
		want           []string // kind and path
	}{
		{"order-of-sets", `"options": ["a", "b"]`, `"options": ["b", "a"]`, nil},
		{"order-of-signals", "[1, 2]", "[2, 1]", nil},
		{"order-of-includes", `["containers", "fragments"]`, `["fragments", "containers"]`, nil},
		{"id", `"name": "a",`, `"name": "a", "id": "new",`, nil},
		{"absent-flag", "own := 1", "own := 1\nallow_dump_stacks := false", nil},
		{"name", `"name": "a"`, `"name": "c"`, nil},
		{"signal", "[1, 2]", "[1, 3]", []string{"removed containers[\"a\"].signals", "added containers[\"a\"].signals"}},
		{"layer", `["1", "2"], "signals": [1`, `["1", "4"], "signals": [1`, []string{"changed containers[\"a\"].layers[1]"}},
		{"order-of-layers", `["1", "2"], "signals": [1`, `["2", "1"], "signals": [1`, []string{"changed containers[\"a\"].layers[0]", "changed containers[\"a\"].layers[1]"}},
		{"more-layers", `["1", "2"], "signals": [1`, `["1", "2", "5"], "signals": [1`, []string{"added containers[\"a\"].layers"}},
		{"same-name-by-layers", `"layers": ["3"]`, `"working_dir": "/", "layers": ["3"]`, []string{"changed containers[\"b\"].working_dir"}},
		{"another", `"layers": ["3"]`, `"layers": ["6"]`, []string{"removed containers[\"b\"]", "added containers[\"b\"]"}},
		{"command-null", `"command": ["x"], "layers": ["1", "2"], "signals": [1`, `"command": null, "layers": ["1", "2"], "signals": [1`, []string{"changed containers[\"a\"].command"}},
		{"svn", `"minimum_svn": "1"`, `"minimum_svn": "2"`, []string{"changed fragments[f i]"}},
		{"feed", `"feed": "f"`, `"feed": "g"`, []string{"removed fragments[f i]", "added fragments[g i]"}},
		{"ledger", `"m"]`, `"n"]`, []string{"changed transparency_trust_lists[s i]"}},
		{"platform", "A=1", "A=2", []string{"removed platform_rules", "added platform_rules"}},
		{"version", `"0.12.0"`, `"0.13.0"`, []string{"changed api_version"}},
		{"own-rule", "own := 1", "own := 2", []string{"changed own"}},
		{"flag", "own := 1", "own := 1\nallow_dump_stacks := true", []string{"changed allow_dump_stacks"}},
		{"rule", "own := 1", "own := 1\ndump_stacks := data.framework.dump_stacks", []string{"changed dump_stacks"}},
		{"reason", "own := 1", "own := 1\nreason := data.framework.reason", []string{"changed reason"}},
	}
	a := read(t, base)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(base, c.from) {
				t.Fatalf("no %q in the policy", c.from)
			}
			var got []string
			for _, d := range policydoc.Diff(a, read(t, strings.Replace(base, c.from, c.to, 1))) {
				got = append(got, string(d.Kind)+" "+d.Path)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// FuzzRead: whatever an enforcer loads is read without a panic, and differs in nothing from itself.
func FuzzRead(f *testing.F) {
	f.Add("package policy\napi_version := \"0.10.0\"\ncontainers := [{\"command\": null, \"user\": 1, \"layers\": [1]}]\nfragments := {\"a\": 1}")
	f.Add("package policy\nframework_version := \"0.2.3\"\ncontainers[x] { x := {\"signals\": [1.5, 1e99]} }\nallow_dump_stacks = 1")
	f.Add("package policy\ntransparency_trust_lists := [{\"minimum_svn\": -1}]\nplatform_rules := [[]]\nexternal_processes := null")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := policydoc.Read(t.Context(), []byte(text))
		if err != nil {
			return
		}
		if d := policydoc.Diff(p, p); len(d) != 0 {
			t.Errorf("differs from itself in %v", d)
		}
		p.Candidates()
		for _, c := range p.Containers {
			policydoc.IdentityOf(c)
		}
	})
}
