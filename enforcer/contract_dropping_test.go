package enforcer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

const (
	envFlag  = "allow_environment_variable_dropping"
	capsFlag = "allow_capability_dropping"
)

// literal are rules that allow exactly these variables; one that begins with "!" is required.
func literal(list ...string) []testEnv {
	rules := make([]testEnv, len(list))
	for i, pattern := range list {
		pattern, required := strings.CutPrefix(pattern, "!")
		rules[i] = testEnv{Pattern: pattern, Strategy: "string", Required: required}
	}
	return rules
}

// withEnv is web with other rules; withExec the same with a command of its own to run, so that the definitions can be told apart.
func withEnv(rules ...string) testContainer {
	c := web()
	c.EnvRules = literal(rules...)
	return c
}

func withCaps(caps *enforcer.Capabilities) testContainer {
	c := web()
	c.Capabilities = caps
	return c
}

// TestContractEnvironmentDropping: section 2.4 for create_container, exec_in_container and exec_external alike.
func TestContractEnvironmentDropping(t *testing.T) {
	const missing = "missing required environment variable"
	cases := []struct {
		name       string
		containers [][]string // the rules of each candidate
		off        bool
		env        []string
		kept       []string // nil: refused
		reasons    []string // of create
		exec       []string // of exec, which never says the bare "invalid env list"
	}{
		{name: "nothing-to-drop", containers: [][]string{{"A=1", "B=2"}}, env: []string{"B=2", "A=1"}, kept: []string{"B=2", "A=1"}},
		{name: "unknown-dropped", containers: [][]string{{"A=1"}}, env: []string{"X=1", "A=1", "Y"}, kept: []string{"A=1"}},
		{name: "all-dropped", containers: [][]string{{"A=1"}}, env: []string{"X=1"}, kept: []string{}},
		{name: "none-asked", containers: [][]string{{"A=1"}}, kept: []string{}},
		{name: "no-rules", containers: [][]string{{}}, env: []string{"X=1"}, kept: []string{}},
		{name: "order-and-duplicates", containers: [][]string{{"A=1", "B=2"}}, env: []string{"B=2", "X", "A=1", "B=2", "A=1"}, kept: []string{"B=2", "A=1", "B=2", "A=1"}},
		{name: "largest-wins", containers: [][]string{{"A=1"}, {"A=1", "B=2"}}, env: []string{"A=1", "B=2", "X=1"}, kept: []string{"A=1", "B=2"}},
		{name: "largest-is-last", containers: [][]string{{"A=1"}, {"C=3"}, {"A=1", "B=2", "C=3"}}, env: []string{"C=3", "A=1", "B=2"}, kept: []string{"C=3", "A=1", "B=2"}},
		{name: "tie-of-equals", containers: [][]string{{"A=1", "B=2"}, {"B=2", "A=1", "Z=9"}}, env: []string{"A=1", "X", "B=2"}, kept: []string{"A=1", "B=2"}},
		{name: "tie-of-nothing", containers: [][]string{{"A=1"}, {"B=2"}}, env: []string{"X=1"}, kept: []string{}},
		{
			name: "tie-undecidable", containers: [][]string{{"A=1"}, {"B=2"}}, env: []string{"A=1", "B=2"},
			reasons: []string{"invalid env list"},
		},
		{
			name: "tie-below-the-largest", containers: [][]string{{"A=1"}, {"B=2"}, {"A=1", "B=2"}},
			env: []string{"A=1", "B=2"}, kept: []string{"A=1", "B=2"},
		},
		// A set is as large as it has different members: saying a variable twice does not make its candidate win.
		{
			name: "duplicates-do-not-count", containers: [][]string{{"A=1"}, {"B=2", "C=3"}},
			env: []string{"A=1", "A=1", "A=1", "B=2", "C=3"}, kept: []string{"B=2", "C=3"},
		},
		{name: "required-there", containers: [][]string{{"!A=1", "B=2"}}, env: []string{"A=1", "X"}, kept: []string{"A=1"}},
		{
			name: "required-missing", containers: [][]string{{"!A=1", "B=2"}}, env: []string{"B=2", "X=1"},
			reasons: []string{"invalid env list", "invalid env list: X", missing}, exec: []string{"invalid env list: X", missing},
		},
		// The largest set is chosen before required rules are looked at; the smaller candidate is not tried again.
		{
			name: "required-after-largest", containers: [][]string{{"!Q=0", "A=1", "B=2"}, {"A=1"}}, env: []string{"A=1", "B=2"},
			reasons: []string{"invalid env list", missing}, exec: []string{missing},
		},
		{name: "required-of-the-loser", containers: [][]string{{"!Q=0", "A=1"}, {"A=1", "B=2"}}, env: []string{"A=1", "B=2"}, kept: []string{"A=1", "B=2"}},
		{name: "off-as-is", off: true, containers: [][]string{{"A=1"}}, env: []string{"A=1", "A=1"}, kept: []string{"A=1", "A=1"}},
		{
			name: "off-unknown", off: true, containers: [][]string{{"A=1"}}, env: []string{"A=1", "X=1"},
			reasons: []string{"invalid env list", "invalid env list: X"}, exec: []string{"invalid env list: X"},
		},
		{
			name: "off-union-of-candidates", off: true, containers: [][]string{{"A=1"}, {"B=2"}}, env: []string{"A=1", "B=2"},
			reasons: []string{"invalid env list"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var flags []string
			if !c.off {
				flags = []string{envFlag}
			}
			// A variable of its own for create, so that the candidates are all left for the exec.
			var list []testContainer
			var processes []string
			for _, rules := range c.containers {
				list = append(list, withEnv(rules...))
				processes = append(processes, fmt.Sprintf(`{"command": ["/bin/df"], "working_dir": "/", "env_rules": %s, "allow_stdio_access": true}`, jsonText(t, literal(rules...))))
			}
			e := imaged(t, policyText(t, list, flags...)+"external_processes := ["+strings.Join(processes, ",")+"]\n")
			keptOrRefused(t, e, create(func(in *enforcer.CreateContainerInput) { in.EnvList = c.env }), c.kept, c.reasons...)
			keptOrRefused(t, e, enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, WorkingDir: "/", EnvList: c.env}, c.kept, c.exec...)
			if keptOfNothing := allNotRequired(c.containers); keptOfNothing {
				allow(t, e, create(func(in *enforcer.CreateContainerInput) { in.EnvList = nil }))
				keptOrRefused(t, e, changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = c.env }), c.kept, c.exec...)
			}
		})
	}
}

func allNotRequired(containers [][]string) bool {
	return !slices.ContainsFunc(slices.Concat(containers...), func(s string) bool { return strings.HasPrefix(s, "!") })
}

func keptOrRefused(t *testing.T, e *enforcer.Enforcer, in enforcer.Input, kept []string, reasons ...string) {
	t.Helper()
	if kept == nil {
		refuse(t, e, in, reasons...)
		return
	}
	if d := would(t, e, in); !slices.Equal(d.Env, kept) || d.Env == nil {
		t.Errorf("%s: got env %q, want %q", in.Point(), d.Env, kept)
	}
}

// TestContractKeptEnvironmentNarrows: with dropping the candidates that do not allow all that is kept are out from then on.
func TestContractKeptEnvironmentNarrows(t *testing.T) {
	small, large := withEnv("A=1"), withEnv("A=1", "B=2")
	small.ExecProcesses = []testProcess{{Command: []string{"/bin/small"}, Signals: []int{}}}
	large.ExecProcesses = []testProcess{{Command: []string{"/bin/large"}, Signals: []int{}}}
	e := imaged(t, policyText(t, []testContainer{small, large}, envFlag))
	allow(t, e, create(func(in *enforcer.CreateContainerInput) { in.EnvList = []string{"A=1", "B=2", "C=3"} }))
	exec := func(command string) enforcer.ExecInContainerInput {
		return changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.ArgList, in.EnvList = []string{command}, nil })
	}
	refuse(t, e, exec("/bin/small"), "invalid command")
	allow(t, e, exec("/bin/large"))
}

func caps(bounding string, rest ...string) enforcer.Capabilities {
	set := func(text string) []string { return strings.Fields(strings.ReplaceAll(text, "+", " ")) }
	c := enforcer.Capabilities{Bounding: set(bounding)}
	for i, to := range []*[]string{&c.Effective, &c.Inheritable, &c.Permitted, &c.Ambient} {
		if i < len(rest) {
			*to = set(rest[i])
		}
	}
	return c
}

// TestContractCapabilityDropping: section 2.4, capabilities.
func TestContractCapabilityDropping(t *testing.T) {
	const (
		mismatch    = "capabilities don't match"
		undecidable = "containers only distinguishable by capabilties"
	)
	null := func() *enforcer.Capabilities { return nil }
	some := func(bounding string, rest ...string) *enforcer.Capabilities {
		c := caps(bounding, rest...)
		return &c
	}
	more := func(list []string) []string { return append([]string{"CAP_NEW"}, list...) }
	cases := []struct {
		name     string
		policy   []*enforcer.Capabilities
		elevated bool
		off      bool
		asked    enforcer.Capabilities
		kept     *enforcer.Capabilities
		reason   string
	}{
		{name: "as-asked", policy: []*enforcer.Capabilities{some("A B", "A")}, asked: caps("B A", "A"), kept: some("B A", "A")},
		{name: "unknown-dropped", policy: []*enforcer.Capabilities{some("A")}, asked: caps("X A Y"), kept: some("A")},
		{name: "each-set-by-itself", policy: []*enforcer.Capabilities{some("A", "B", "C", "D", "E")}, asked: caps("A B", "A B", "B C", "C D", "D E"), kept: some("A", "B", "C", "D", "E")},
		{name: "order-and-duplicates", policy: []*enforcer.Capabilities{some("A B")}, asked: caps("B A X B"), kept: some("B A B")},
		// What is left must be exactly what the policy lists: dropping takes away, it does not excuse what is missing.
		{name: "fewer-than-listed", policy: []*enforcer.Capabilities{some("A B")}, asked: caps("A X"), reason: mismatch},
		{name: "set-left-out", policy: []*enforcer.Capabilities{some("A", "A")}, asked: caps("A"), reason: mismatch},
		{name: "largest-wins", policy: []*enforcer.Capabilities{some("A"), some("A B")}, asked: caps("A B C"), kept: some("A B")},
		{name: "largest-in-total", policy: []*enforcer.Capabilities{some("A B"), some("A", "A", "A")}, asked: caps("A B", "A", "A"), kept: some("A", "A", "A")},
		{name: "tie-of-equals", policy: []*enforcer.Capabilities{some("A B"), some("B A")}, asked: caps("A B X"), kept: some("A B")},
		{name: "tie-undecidable", policy: []*enforcer.Capabilities{some("A"), some("B")}, asked: caps("A B"), reason: undecidable},
		{name: "tie-across-sets", policy: []*enforcer.Capabilities{some("A"), some("", "A")}, asked: caps("A", "A"), reason: undecidable},
		{name: "tie-below-the-largest", policy: []*enforcer.Capabilities{some("A"), some("B"), some("A B")}, asked: caps("A B"), kept: some("A B")},
		{name: "duplicates-do-not-count", policy: []*enforcer.Capabilities{some("A"), some("B C")}, asked: caps("A A A B C"), kept: some("B C")},
		{name: "nothing-left", policy: []*enforcer.Capabilities{some("")}, asked: caps("A B", "C"), kept: some("")},
		{name: "null-unprivileged", policy: []*enforcer.Capabilities{null()}, asked: defaultCaps(more(unprivileged)), kept: ptr(defaultCaps(unprivileged))},
		{name: "null-more-is-dropped-to-14", policy: []*enforcer.Capabilities{null()}, asked: defaultCaps(privileged), kept: ptr(defaultCaps(in(privileged, unprivileged)))},
		{name: "null-inheritable-and-ambient-are-empty", policy: []*enforcer.Capabilities{null()}, asked: filled(unprivileged), kept: ptr(defaultCaps(unprivileged))},
		{name: "null-privileged", policy: []*enforcer.Capabilities{null()}, elevated: true, asked: privilegedCaps(more(privileged)), kept: ptr(privilegedCaps(privileged))},
		{name: "null-too-few", policy: []*enforcer.Capabilities{null()}, asked: defaultCaps(unprivileged[1:]), reason: mismatch},
		{name: "null-privileged-inherits-none", policy: []*enforcer.Capabilities{null()}, elevated: true, asked: defaultCaps(privileged), reason: mismatch},
		{name: "null-privileged-too-few", policy: []*enforcer.Capabilities{null()}, elevated: true, asked: defaultCaps(unprivileged), reason: mismatch},
		{name: "off-as-listed", off: true, policy: []*enforcer.Capabilities{some("A B")}, asked: caps("B A"), kept: some("B A")},
		{name: "off-more", off: true, policy: []*enforcer.Capabilities{some("A")}, asked: caps("A X"), reason: mismatch},
		{name: "off-fewer", off: true, policy: []*enforcer.Capabilities{some("A B")}, asked: caps("A"), reason: mismatch},
		{name: "off-null-unprivileged", off: true, policy: []*enforcer.Capabilities{null()}, asked: defaultCaps(unprivileged), kept: ptr(defaultCaps(unprivileged))},
		{name: "off-null-privileged", off: true, policy: []*enforcer.Capabilities{null()}, elevated: true, asked: privilegedCaps(privileged), kept: ptr(privilegedCaps(privileged))},
		{name: "off-null-more", off: true, policy: []*enforcer.Capabilities{null()}, asked: defaultCaps(privileged), reason: mismatch},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var flags []string
			if !c.off {
				flags = []string{capsFlag}
			}
			var list []testContainer
			for _, allowed := range c.policy {
				definition := withCaps(allowed)
				definition.AllowElevated = c.elevated
				list = append(list, definition)
			}
			e := imaged(t, policyText(t, list, flags...))
			ask := create(func(in *enforcer.CreateContainerInput) { in.Capabilities, in.Privileged = c.asked, c.elevated })
			if c.kept == nil {
				refuse(t, e, ask, c.reason)
				return
			}
			if d := would(t, e, ask); !sameCaps(*d.Capabilities, *c.kept) {
				t.Errorf("got %+v, want %+v", *d.Capabilities, *c.kept)
			}
			allow(t, e, ask)
			exec := changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.Capabilities = c.asked })
			if d := would(t, e, exec); !sameCaps(*d.Capabilities, *c.kept) {
				t.Errorf("exec: got %+v, want %+v", *d.Capabilities, *c.kept)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// in are the entries of list that are among some, in the order of list.
func in(list, some []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(some, s) })
}

func filled(list []string) enforcer.Capabilities {
	return enforcer.Capabilities{Bounding: list, Effective: list, Inheritable: list, Permitted: list, Ambient: list}
}

// TestContractCapabilityDroppingByVersion: before framework 0.2.2 the flag has no meaning.
func TestContractCapabilityDroppingByVersion(t *testing.T) {
	for version, drops := range map[string]bool{"0.1.0": false, "0.2.0": false, "0.2.1": false, "0.2.2": true, "0.2.3": true, "0.4.1": true, "0.5.0": true} {
		text := policyText(t, []testContainer{withCaps(nil)}, capsFlag)
		text = replaceOnce(t, text, `framework_version := "0.5.0"`, fmt.Sprintf("framework_version := %q", version))
		e := imaged(t, text)
		ask := create(func(in *enforcer.CreateContainerInput) {
			in.Capabilities = defaultCaps(append([]string{"CAP_BPF"}, unprivileged...))
		})
		if drops {
			would(t, e, ask)
			continue
		}
		refuse(t, e, ask, "capabilities don't match")
	}
}

// TestContractAnswerOnlyTakesAway: what a custom rule lists is intersected with the request, in the request's order.
func TestContractAnswerOnlyTakesAway(t *testing.T) {
	ask := create(func(in *enforcer.CreateContainerInput) {
		in.EnvList, in.Capabilities = []string{"C=3", "A=1", "C=3", "B=2"}, caps("A B A", "A", "B", "C", "D")
	})
	cases := []struct {
		name, answer string
		env          []string
		caps         enforcer.Capabilities
	}{
		{"nothing-said", ``, ask.EnvList, ask.Capabilities},
		{"null", `, "env_list": null, "caps_list": null`, ask.EnvList, ask.Capabilities},
		{"empty", `, "env_list": [], "caps_list": {}`, nil, enforcer.Capabilities{}},
		{"other-order", `, "env_list": ["B=2", "C=3", "A=1"], "caps_list": {"bounding": ["B", "A"]}`, ask.EnvList, caps("A B A")},
		{"sets", `, "env_list": {"C=3"}, "caps_list": {"bounding": {"B"}, "ambient": {"D"}}`, []string{"C=3", "C=3"}, caps("B", "", "", "", "D")},
		{"more-than-asked", `, "env_list": ["A=1", "LD_PRELOAD=/x"], "caps_list": {"permitted": ["C", "CAP_SYS_ADMIN"], "effective": ["B"]}`, []string{"A=1"}, caps("", "", "", "C")},
		{"a-set-is-null", `, "caps_list": {"bounding": null, "effective": ["A"]}`, ask.EnvList, caps("", "A")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := would(t, custom(t, "package policy\napi_version := \"0.12.0\"\ncreate_container := {\"allowed\": true"+c.answer+"}\n"), ask)
			if !slices.Equal(d.Env, c.env) || !sameCaps(*d.Capabilities, c.caps) {
				t.Errorf("got %q and %+v, want %q and %+v", d.Env, *d.Capabilities, c.env, c.caps)
			}
		})
	}
}

// TestContractStdio: all survivors agree, else the answer would be somebody's guess. An exec has the answer of its create.
func TestContractStdio(t *testing.T) {
	const undecidable = "containers only distinguishable by allow_stdio_access"
	for _, c := range []struct {
		name      string
		one, two  bool
		different bool // in something that the request decides
		want      bool
		refused   bool
	}{
		{name: "both", one: true, two: true, want: true},
		{name: "neither"},
		{name: "differ", one: true, refused: true},
		{name: "differ-the-other-way", two: true, refused: true},
		{name: "differ-but-decided-yes", one: true, different: true, want: true},
		{name: "differ-but-decided-no", two: true, different: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second := web(), web()
			first.AllowStdio, second.AllowStdio = c.one, c.two
			if c.different {
				second.Command = []string{"/bin/other"}
			}
			e := imaged(t, policyText(t, []testContainer{first, second}))
			if c.refused {
				refuse(t, e, request(idA), undecidable)
				return
			}
			if d := would(t, e, request(idA)); d.AllowStdio != c.want {
				t.Errorf("got %t, want %t", d.AllowStdio, c.want)
			}
		})
	}
}
