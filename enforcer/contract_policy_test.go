package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// TestContractSpellings: section 3.1, the old and new names of the two versions, in any combination.
func TestContractSpellings(t *testing.T) {
	for _, api := range []string{"api_version", "api_svn"} {
		for _, framework := range []string{"framework_version", "framework_svn"} {
			t.Run(api+"-"+framework, func(t *testing.T) {
				text := replaceOnce(t, one(t, nil, "allow_dump_stacks"), "api_version", api)
				text = replaceOnce(t, text, "framework_version", framework)
				e := imaged(t, text)
				would(t, e, request(idA))
				would(t, e, enforcer.DumpStacksInput{})
				old := both(t, fmt.Sprintf("package policy\n%s := \"0.6.0\"\n%s := \"0.5.0\"\n", api, framework))
				would(t, old, enforcer.GetPropertiesInput{})
				refuse(t, old, share(), "rule for plan9_mount is missing from policy")
			})
		}
	}
	// Both names at once: the new one counts. Such a policy is not plain.
	text := replaceOnce(t, one(t, nil, "allow_host_network"), "package policy\n", "package policy\napi_svn := \"0.1.0\"\nframework_svn := \"0.1.0\"\n")
	would(t, custom(t, text), enforcer.HostNetworkInput{})
}

// TestContractFileShape: section 3.1. Imports, missing lists, the order of rules, and `=` for `:=` do not matter.
func TestContractFileShape(t *testing.T) {
	text := one(t, nil)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	backwards := slices.Clone(lines[1:])
	slices.Reverse(backwards)
	for name, text := range map[string]string{
		"imports":   replaceOnce(t, text, "package policy\n", "package policy\n\nimport future.keywords.every\nimport future.keywords.in\n\n"),
		"v1-import": replaceOnce(t, text, "package policy\n", "package policy\nimport rego.v1\n"),
		"backwards": lines[0] + "\n" + strings.Join(backwards, "\n") + "\n",
		"equals":    strings.ReplaceAll(text, " := ", " = "),
		"crlf":      strings.ReplaceAll(text, "\n", "\r\n"),
		"comments":  strings.ReplaceAll(text, "\n", "\n# containers := []\n"),
		"all-lists": text + "fragments := []\nexternal_processes := []\nplatform_rules := []\ntransparency_trust_lists := []\nallowed_log_providers := [\"x\"]\n",
		"all-flags": text + "allow_log_provider_dropping := true\nallow_unencrypted_scratch := false\nallow_environment_variable_dropping := false\nallow_capability_dropping := false\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := imaged(t, text)
			would(t, e, request(idA))
			refuse(t, e, create(func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" }), "invalid working directory")
			refuse(t, e, enforcer.ScratchMountInput{Target: "/s"}, "unencrypted scratch not allowed")
		})
	}
	bare := both(t, "package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\nmount_device := data.framework.mount_device\nexec_external := data.framework.exec_external\nreason := data.framework.reason\n")
	refuse(t, bare, layerOne(), "deviceHash not found")
	refuse(t, bare, enforcer.ExecExternalInput{ArgList: []string{"/x"}}, "invalid command", "invalid working directory")
}

// withRaw is a policy of web in which one field's JSON is replaced.
func withRaw(t testing.TB, old, with string) string {
	t.Helper()
	return replaceOnce(t, one(t, nil), old, with)
}

// TestContractUserStrategies: section 3.2, the user.
func TestContractUserStrategies(t *testing.T) {
	who := enforcer.User{ID: "1000", Name: "web"}
	cases := []struct {
		strategy, pattern string
		user              enforcer.User
		ok                bool
	}{
		{"any", "", who, true},
		{"any", "nobody", enforcer.User{}, true},
		{"id", "1000", who, true},
		{"id", "100", who, false},
		{"id", "web", who, false},
		{"id", "1000", enforcer.User{ID: "01000", Name: "web"}, false},
		{"id", ".*", who, false},
		{"name", "web", who, true},
		{"name", "we", who, false},
		{"name", "1000", who, false},
		{"name", "", enforcer.User{ID: "7"}, true},
		{"name", "w.b", who, false},
		{"re2", "w.b", who, true},
		{"re2", "1000", who, false}, // of the name only
		{"re2", "we", who, false},
		{"re2", "eb", who, false},
		{"re2", "adm|web", who, true},
		{"re2", "adm|eb", who, false},
		{"re2", "web|adm", enforcer.User{Name: "xadm"}, false},
		{"re2", "(", who, false},
		{"re2", "a)|(web", who, false},
		{"string", "web", who, false},
		{"", "", who, false},
		{"ANY", "", who, false},
	}
	// One policy for all: a container a case and kind, told apart by its command.
	var list []testContainer
	command := func(i int, kind string) []string { return []string{fmt.Sprintf("/%s-%d", kind, i)} }
	for i, c := range cases {
		rule := testPattern{Pattern: c.pattern, Strategy: c.strategy}
		user, group := web(), web()
		user.Command, user.User.UserIDName = command(i, "user"), rule
		group.Command, group.User.GroupIDNames = command(i, "group"), []testPattern{{Pattern: "no such group", Strategy: "name"}, rule}
		list = append(list, user, group)
	}
	e := imaged(t, policyText(t, list))
	for i, c := range cases {
		t.Run(fmt.Sprintf("%s-%s-%s", c.strategy, c.pattern, c.user.Name), func(t *testing.T) {
			judged(t, e, create(func(in *enforcer.CreateContainerInput) { in.ArgList, in.User = command(i, "user"), c.user }), c.ok)
			judged(t, e, create(func(in *enforcer.CreateContainerInput) {
				in.ArgList, in.Groups = command(i, "group"), []enforcer.User{c.user}
			}), c.ok)
		})
	}
}

// TestContractGroups: every group of the request, primary and additional, must match some entry.
func TestContractGroups(t *testing.T) {
	e := imaged(t, one(t, func(d *testContainer) {
		d.User.GroupIDNames = []testPattern{{Pattern: "10", Strategy: "id"}, {Pattern: "w.+", Strategy: "re2"}}
	}))
	none := imaged(t, one(t, func(d *testContainer) { d.User.GroupIDNames = []testPattern{} }))
	ten, web, other := enforcer.User{ID: "10"}, enforcer.User{ID: "20", Name: "web"}, enforcer.User{ID: "30", Name: "other"}
	for _, c := range []struct {
		name   string
		groups []enforcer.User
		ok     bool
	}{
		{"one", []enforcer.User{ten}, true},
		{"both", []enforcer.User{web, ten}, true},
		{"twice", []enforcer.User{ten, ten}, true},
		{"one-too-many", []enforcer.User{ten, web, other}, false},
		{"first-is-wrong", []enforcer.User{other, ten}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := create(func(in *enforcer.CreateContainerInput) { in.Groups = c.groups })
			if c.ok {
				would(t, e, in)
			} else {
				refuse(t, e, in, "invalid user")
			}
			refuse(t, none, in, "invalid user")
		})
	}
	would(t, none, create(func(in *enforcer.CreateContainerInput) { in.Groups = nil }))
}

// regexRows are how a RE2 pattern is held against a whole value: as a group between anchors, valid by itself.
var regexRows = []struct {
	pattern, value string
	ok             bool
}{
	{"A=a", "A=a", true},
	{"A=a", "xA=a", false},
	{"A=a", "A=ax", false},
	{"^A=a$", "A=a", true},
	{"^A=a", "A=ab", false},
	{"A=a$", "xA=a", false},
	{"A=a|A=b", "A=a", true},
	{"A=a|A=b", "A=b", true},
	{"A=a|A=b", "xA=b", false},
	{"A=a|A=b", "A=ax", false},
	{"^A=a|A=b$", "A=ax", false},
	{"^A=a|A=b$", "xA=b", false},
	{`A=1\$`, "A=1$", true},
	{`A=1\$`, "A=1$x", false}, // an escaped dollar is no anchor
	{`A=\^`, "A=^", true},
	{`\^A`, "x^A", false},
	{"A=.*", "A=", true},
	{"A=.+", "A=", false},
	{"A=.+", "A=a\nB", false}, // a dot is not a line's end
	{"(?s)A=.+", "A=a\nB", true},
	{"(?m)^A=a$", "x\nA=a\ny", false},
	{"(?m)A=a$", "A=a\ny", false},
	{"(?i)a=B", "A=b", true},
	{"A=[0-9]{2,3}", "A=12", true},
	{"A=[0-9]{2,3}", "A=1234", false},
	{"A=é", "A=é", true},
	{"A=.", "A=é", true},
	{"A=a*", "A=", true},
	{"A=a?", "A=", true},
	{"AB{0}", "A", true},
	{"AB?=x", "A=x", true},
	{`\QA=.\E`, "A=.", true},
	{`\QA=.\E`, "A=x", false},
	{"", "", true},
	{"", "A", false},
	{"(", "(", false},
	{"A=a)|(.*", "anything", false},
	{"A=a)(", "A=a", false},
	{"(?!x)A", "A", false},
	{"A=a#", "A=a#", true},
	{"(?x)A=a", "A=a", false}, // not RE2
}

// TestContractRegexIsAnchoredAsAGroup: environment patterns, names, values, mount sources and mount paths all go through one rule.
func TestContractRegexIsAnchoredAsAGroup(t *testing.T) {
	var list []testContainer
	var processes []string
	command := func(i int, kind string) []string { return []string{fmt.Sprintf("/%s-%d", kind, i)} }
	for i, c := range regexRows {
		definition := web()
		definition.Command, definition.EnvRules = command(i, "c"), []testEnv{{Pattern: c.pattern, Strategy: "re2"}}
		definition.Mounts = []aci.Mount{
			{Destination: "/s", Type: "bind", Source: "sandbox://" + c.pattern, Options: []string{}},
			{Destination: "/h", Type: "bind", Source: "hugepages://" + c.pattern, Options: []string{}},
		}
		list = append(list, definition)
		processes = append(processes, fmt.Sprintf(`{"command": [%q], "working_dir": "/", "env_rules": [{"name": %s, "name_strategy": "re2", "value": "v", "value_strategy": "string", "required": false}], "allow_stdio_access": true},
			{"command": [%q], "working_dir": "/", "env_rules": [{"name": "N", "name_strategy": "string", "value": %[2]s, "value_strategy": "re2", "required": false}], "allow_stdio_access": true}`,
			command(i, "n")[0], jsonText(t, c.pattern), command(i, "v")[0]))
	}
	e := imaged(t, policyText(t, list)+"external_processes := ["+strings.Join(processes, ",\n")+"]\n")
	for i, c := range regexRows {
		t.Run(fmt.Sprintf("%02d-%s", i, c.pattern), func(t *testing.T) {
			ask := create(func(in *enforcer.CreateContainerInput) {
				in.ArgList, in.EnvList, in.Mounts = command(i, "c"), []string{c.value}, nil
			})
			judged(t, e, ask, c.ok)
			// A directory in front of the pattern belongs to its first alternative, and what stands before an anchor fits nothing.
			if !strings.ContainsAny(c.pattern, "|^") && !strings.HasPrefix(c.pattern, "(?") {
				ask.EnvList = nil
				ask.Mounts = []enforcer.Mount{{Destination: "/s", Type: "bind", Source: ask.SandboxDir + c.value}}
				judged(t, e, ask, c.ok)
				ask.Mounts = []enforcer.Mount{{Destination: "/h", Type: "bind", Source: ask.HugePagesDir + c.value}}
				judged(t, e, ask, c.ok)
			}
			judged(t, e, changed(layerOne(), func(in *enforcer.MountDeviceInput) { in.Target, in.MountPathRegex = c.value, c.pattern }), c.ok)
			if !strings.Contains(c.value, "=") {
				judged(t, e, enforcer.ExecExternalInput{ArgList: command(i, "n"), WorkingDir: "/", EnvList: []string{c.value + "=v"}}, c.ok)
			}
			judged(t, e, enforcer.ExecExternalInput{ArgList: command(i, "v"), WorkingDir: "/", EnvList: []string{"N=" + c.value}}, c.ok)
		})
	}
}

func judged(t *testing.T, e *enforcer.Enforcer, in enforcer.Input, ok bool) {
	t.Helper()
	_, err := e.Decide(context.Background(), in)
	var denial *enforcer.Denial
	if ok && err != nil || !ok && !errors.As(err, &denial) {
		t.Errorf("%s: got %v, want allowed: %t", in.Point(), err, ok)
	}
}

// TestContractEnvRuleForms: the two spellings of a rule, and both in one.
func TestContractEnvRuleForms(t *testing.T) {
	const nameValue = `"name":%q,"name_strategy":%q,"value":%q,"value_strategy":%q`
	split := func(name, nameStrategy, value, valueStrategy string) string {
		return "{" + fmt.Sprintf(nameValue, name, nameStrategy, value, valueStrategy) + `,"required":false}`
	}
	cases := []struct {
		name, rule string
		good, bad  []string
	}{
		{"string", `{"pattern":"A=a.c","strategy":"string","required":false}`, []string{"A=a.c"}, []string{"A=abc", "A=a.c ", "a=a.c", "A"}},
		{"string-without-equals", `{"pattern":"A","strategy":"string","required":false}`, []string{"A"}, []string{"A=", "AA"}},
		{"re2", `{"pattern":"A=a.c","strategy":"re2","required":false}`, []string{"A=abc"}, []string{"A=ac"}},
		{"unknown-strategy", `{"pattern":"A=a","strategy":"glob","required":false}`, nil, []string{"A=a", "A"}},
		{"split-string", split("A", "string", "a=b", "string"), []string{"A=a=b"}, []string{"A=a", "A", "A=a=b=", "B=a=b"}},
		{"split-at-the-first-equals", split("A=a", "string", "b", "string"), nil, []string{"A=a=b"}},
		{"split-empty-value", split("A", "string", "", "string"), []string{"A="}, []string{"A", "A=x"}},
		{"split-empty-name", split("", "string", "x", "string"), []string{"=x"}, []string{"x", "A=x"}},
		{"split-re2", split("A[0-9]", "re2", "[a-c]+", "re2"), []string{"A1=abc"}, []string{"A=abc", "A1=abd", "A1="}},
		{"split-mixed", split("A|B", "re2", "x|y", "string"), []string{"A=x|y", "B=x|y"}, []string{"A=x"}},
		{"split-unknown-strategy", split("A", "string", "x", "any"), nil, []string{"A=x"}},
		{"both", `{"pattern":"P=1","strategy":"string",` + fmt.Sprintf(nameValue, "A", "string", "a", "string") + `,"required":false}`, []string{"P=1", "A=a"}, []string{"P=a", "A=1"}},
		{"required-absent", `{"pattern":"A=a","strategy":"string"}`, []string{"A=a"}, []string{"B=b"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := imaged(t, withRaw(t, `"env_rules":[{"pattern":"PATH=/bin","strategy":"string","required":true},{"pattern":"MODE=a|MODE=b","strategy":"re2","required":false}]`, `"env_rules":[`+c.rule+`]`))
			ask := func(env string) enforcer.Input {
				return create(func(in *enforcer.CreateContainerInput) { in.EnvList = []string{env} })
			}
			for _, env := range c.good {
				would(t, e, ask(env))
			}
			for _, env := range c.bad {
				name, _, _ := strings.Cut(env, "=")
				refuse(t, e, ask(env), "invalid env list", "invalid env list: "+name)
			}
			would(t, e, create(func(in *enforcer.CreateContainerInput) { in.EnvList = nil }))
		})
	}
}

// TestContractMountSources: section 3.3, by the prefix of the constraint's source.
func TestContractMountSources(t *testing.T) {
	const sandbox, huge = "/run/gcs/c/S/sandboxMounts", "/run/gcs/c/S/hugepages"
	cases := []struct {
		name, constraint string
		good, bad        []string
	}{
		{"sandbox", "sandbox:///tmp/atlas/emptydir/.+", []string{sandbox + "/tmp/atlas/emptydir/x", sandbox + "/tmp/atlas/emptydir/x/y"}, []string{
			sandbox + "/tmp/atlas/emptydir/", huge + "/tmp/atlas/emptydir/x", "/x" + sandbox + "/tmp/atlas/emptydir/x", "/tmp/atlas/emptydir/x",
			"sandbox:///tmp/atlas/emptydir/x", "sandbox:///tmp/atlas/emptydir/.+",
		}},
		{"sandbox-literal", "sandbox:///data", []string{sandbox + "/data"}, []string{sandbox + "/data/x", sandbox + "/datax", sandbox}},
		{"sandbox-alone", "sandbox://", []string{sandbox}, []string{sandbox + "/", "sandbox://"}},
		{"sandbox-alternative", "sandbox:///a|/b", []string{sandbox + "/a"}, []string{sandbox + "/ax", "/x/b"}},
		{"hugepages", "hugepages://2M/[a-z]+", nil, []string{huge + "2M/", sandbox + "2M/a", "hugepages://2M/a"}},
		{"hugepages-slash", "hugepages:///2M/[a-z]+", []string{huge + "/2M/ab"}, []string{huge + "/2M/A"}},
		{"literal", "/run/gcs/c/S/hosts", []string{"/run/gcs/c/S/hosts"}, []string{"/run/gcs/c/S/host", "/run/gcs/c/S/hosts/", "/runxgcs/c/S/hosts"}},
		{"literal-is-no-pattern", "/a.c", []string{"/a.c"}, []string{"/abc"}},
		{"grant", "cloister://attest", []string{"cloister://attest"}, []string{"cloister://attestx", "attest", "cloister://"}},
		{"uvm-is-literal", "uvm://x", []string{"uvm://x"}, []string{sandbox + "/x", "x"}},
		{"prefix-in-upper-case", "SANDBOX:///a", []string{"SANDBOX:///a"}, []string{sandbox + "/a"}},
		{"empty", "", []string{""}, []string{"/"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := imaged(t, one(t, func(d *testContainer) {
				d.Mounts = []aci.Mount{{Destination: "/m", Source: c.constraint, Type: "bind", Options: []string{"rbind", "rshared", "ro"}}}
			}))
			ask := func(source string) enforcer.Input {
				return create(func(in *enforcer.CreateContainerInput) {
					in.Mounts = []enforcer.Mount{{Destination: "/m", Source: source, Type: "bind", Options: []string{"ro", "rbind", "rshared"}}}
				})
			}
			for _, source := range c.good {
				would(t, e, ask(source))
			}
			for _, source := range c.bad {
				refuse(t, e, ask(source), "invalid mount list: /m")
			}
		})
	}
}

// TestContractMountOptions: equal as sets with equal count.
func TestContractMountOptions(t *testing.T) {
	for _, c := range []struct {
		name         string
		policy, asks []string
		ok           bool
	}{
		{"none", []string{}, nil, true},
		{"same", []string{"a", "b"}, []string{"a", "b"}, true},
		{"other-order", []string{"a", "b", "c"}, []string{"c", "a", "b"}, true},
		{"fewer", []string{"a", "b"}, []string{"a"}, false},
		{"more", []string{"a"}, []string{"a", "b"}, false},
		{"doubled-in-both", []string{"a", "a", "b"}, []string{"a", "b", "b"}, true},
		{"doubled-for-another", []string{"a", "b"}, []string{"a", "a"}, false},
		{"another-for-doubled", []string{"a", "a"}, []string{"a", "b"}, false},
		{"case", []string{"ro"}, []string{"RO"}, false},
		{"many", manyOptions(40, false), manyOptions(40, true), true},
		{"many-but-one", manyOptions(40, false), append(manyOptions(39, true), "x"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := imaged(t, one(t, func(d *testContainer) {
				d.Mounts = []aci.Mount{{Destination: "/m", Source: "s", Type: "t", Options: c.policy}}
			}))
			in := create(func(in *enforcer.CreateContainerInput) {
				in.Mounts = []enforcer.Mount{{Destination: "/m", Source: "s", Type: "t", Options: c.asks}}
			})
			if c.ok {
				would(t, e, in)
			} else {
				refuse(t, e, in, "invalid mount list: /m")
			}
		})
	}
	e := imaged(t, one(t, func(d *testContainer) { d.Mounts = []aci.Mount{{Source: "s", Type: "t", Options: []string{}}} }))
	refuse(t, e, create(func(in *enforcer.CreateContainerInput) { in.Mounts = []enforcer.Mount{{Source: "s", Type: "t"}} }), "invalid mount list: ")
}

func manyOptions(n int, backwards bool) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("o%d", i)
	}
	if backwards {
		slices.Reverse(list)
	}
	return list
}

// TestContractPlan9Sources: a plan9 constraint takes any share that was mounted for this container, and no other.
func TestContractPlan9Sources(t *testing.T) {
	e := imaged(t, one(t, func(d *testContainer) {
		d.Mounts = []aci.Mount{{Destination: "/m", Source: "plan9://whatever", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}}}
	}))
	allow(t, e, overlay(idB, 1))
	ask := func(id, source string) enforcer.CreateContainerInput {
		return changed(request(id), func(in *enforcer.CreateContainerInput) {
			in.Mounts = []enforcer.Mount{{Destination: "/m", Source: source, Type: "bind", Options: []string{"rbind", "rprivate", "ro"}}}
		})
	}
	refuse(t, e, ask(idA, shareA), "invalid mount list: /m")
	allow(t, e, share())
	would(t, e, ask(idA, shareA))
	refuse(t, e, ask(idB, shareA), "invalid mount list: /m")
	refuse(t, e, ask(idA, "plan9://whatever"), "invalid mount list: /m")
	allow(t, e, enforcer.Plan9UnmountInput{UnmountTarget: shareA})
	refuse(t, e, ask(idA, shareA), "invalid mount list: /m")
}

// TestContractBackCompatRows: section 3.4, each row at the version before it and at its own.
func TestContractBackCompatRows(t *testing.T) {
	rows := []struct {
		field, old, since string
		value             string // what the field asks for where it counts
		unlike            func(*enforcer.CreateContainerInput)
		reason            string
	}{
		{"no_new_privileges", "0.1.0", "0.2.0", "true", nil, "invalid noNewPrivileges"},
		{"user", "0.2.0", "0.2.1", `{"user_idname":{"pattern":"0","strategy":"id"},"group_idnames":[],"umask":"0022"}`, nil, "invalid user"},
		{"capabilities", "0.2.1", "0.2.2", `{"bounding":["CAP_BPF"],"effective":[],"inheritable":[],"permitted":[],"ambient":[]}`, nil, "capabilities don't match"},
		{"seccomp_profile_sha256", "0.2.2", "0.2.3", `"` + rootOne + `"`, nil, "invalid seccomp"},
	}
	// What fits every default of old times.
	ask := create(func(in *enforcer.CreateContainerInput) { in.Capabilities, in.EnvList = defaultCaps(unprivileged), nil })
	fits := map[string]string{
		"no_new_privileges": "false", "user": `{"user_idname":{"pattern":"","strategy":"any"},"group_idnames":[{"pattern":"","strategy":"any"}],"umask":"0022"}`,
		"capabilities": "null", "seccomp_profile_sha256": `""`,
	}
	policy := func(version, field, value string) string {
		var extra strings.Builder
		for _, row := range rows {
			v := fits[row.field]
			if row.field == field {
				v = value
			}
			if v != "" {
				fmt.Fprintf(&extra, ", %q: %s", row.field, v)
			}
		}
		return oldPolicy(version, extra.String())
	}
	for _, row := range rows {
		t.Run(row.field, func(t *testing.T) {
			// Before its version a field means nothing, there or not, of whatever type.
			for _, value := range []string{row.value, "", fits[row.field]} {
				would(t, imaged(t, policy(row.old, row.field, value)), ask)
			}
			refuse(t, imaged(t, policy(row.since, row.field, row.value)), ask, row.reason)
			would(t, imaged(t, policy(row.since, row.field, fits[row.field])), ask)
			// From its version on a container without it is none.
			refuse(t, both(t, policy(row.since, row.field, "")), layerOne(), "deviceHash not found")
		})
	}
}

// TestContractBackCompatSignals: policies before 0.4.1 have 9 and 15 added, once each, in containers' signals and nowhere else.
func TestContractBackCompatSignals(t *testing.T) {
	const fields = `, "no_new_privileges": false, "user": {"user_idname":{"pattern":"","strategy":"any"},"group_idnames":[{"pattern":"","strategy":"any"}],"umask":"0022"}, "capabilities": null, "seccomp_profile_sha256": ""`
	for version, added := range map[string]bool{"0.2.3": true, "0.3.0": true, "0.4.0": true, "0.4.1": false, "0.5.0": false} {
		t.Run(version, func(t *testing.T) {
			text := replaceOnce(t, oldPolicy(version, fields), `"exec_processes": []`, `"exec_processes": [{"command": ["/bin/ls"], "signals": []}]`)
			e := imaged(t, text)
			allow(t, e, create(func(in *enforcer.CreateContainerInput) { in.Capabilities = defaultCaps(unprivileged) }))
			for _, n := range []int{9, 15} {
				judged(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: n, IsInitProcess: true}, added)
				judged(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: n, ArgList: []string{"/bin/ls"}}, false)
			}
			judged(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 1, IsInitProcess: true}, true)
		})
	}
}

// TestContractBackCompatBaseFields: a missing base field makes the whole container disappear, in policies older than the framework; in
// those that are not, the container is there and what the field is needed for is refused.
func TestContractBackCompatBaseFields(t *testing.T) {
	for _, field := range []string{"command", "env_rules", "layers", "mounts", "exec_processes", "signals", "allow_elevated", "working_dir", "allow_stdio_access"} {
		t.Run(field, func(t *testing.T) {
			renamed := replaceOnce(t, oldPolicy("0.1.0", ""), fmt.Sprintf("%q:", field), `"id":`)
			renamed = strings.Replace(renamed, `"id": false`, `"id": "x"`, 1)
			renamed = strings.Replace(renamed, `"id": true`, `"id": "x"`, 1)
			for _, judge := range []enforcer.JudgeName{enforcer.JudgeOPA, enforcer.JudgeAuto, enforcer.JudgeBoth} {
				e := load(t, renamed, enforcer.Options{Judge: judge})
				refuse(t, e, layerOne(), "deviceHash not found")
			}
		})
	}
}

// TestContractBackCompatPlatformRules: ignored before 0.5.0; from then on one rule is taken whole, and several multiply the candidates.
func TestContractBackCompatPlatformRules(t *testing.T) {
	const rules = `platform_rules := [
  {"env_rules": [{"pattern": "P=1", "strategy": "string", "required": true}]},
  {"mounts": [{"destination": "/p", "source": "p", "type": "bind", "options": []}]},
  {}]
`
	p := create(func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "P=1") })
	m := create(func(in *enforcer.CreateContainerInput) {
		in.Mounts = append(in.Mounts, enforcer.Mount{Destination: "/p", Source: "p", Type: "bind"})
	})
	pm := changed(m, func(in *enforcer.CreateContainerInput) { in.EnvList = p.EnvList })
	for version, counts := range map[string]bool{"0.2.3": false, "0.4.1": false, "0.5.0": true} {
		t.Run(version, func(t *testing.T) {
			text := replaceOnce(t, one(t, nil), `framework_version := "0.5.0"`, fmt.Sprintf("framework_version := %q", version)) + rules
			e := imaged(t, text)
			judged(t, e, request(idA), true)
			judged(t, e, p, counts)
			judged(t, e, m, counts)
			judged(t, e, pm, false) // no mixing
		})
	}
	// Two rules that the request does not tell apart: both variants survive, and the next step decides which it is.
	e := imaged(t, one(t, nil)+strings.Replace(rules, "true", "false", 1))
	allow(t, e, request(idA))
	exec := func(env ...string) enforcer.Input {
		return changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = append(in.EnvList, env...) })
	}
	would(t, e, exec("P=1"))
	allow(t, e, exec())
	allow(t, e, exec("P=1"))
	refuse(t, e, exec("P=2"), "invalid env list: P")
}

// TestContractConfcomShapes: section 3.5. Every sample shape is plain, both judges agree about a pod of it, and what the template leaves
// out has the default of its time.
func TestContractConfcomShapes(t *testing.T) {
	for _, shape := range []struct {
		file           string
		debug, current bool
	}{
		{"confcom-0.10.0-0.2.3.rego", false, false},
		{"confcom-0.10.0-0.2.3-debug.rego", true, false},
		{"confcom-0.12.0-0.5.0.rego", false, true},
	} {
		t.Run(shape.file, func(t *testing.T) {
			e := both(t, familyPolicy(t, shape.file), withMounts())
			allow(t, e, enforcer.MountDeviceInput{Target: target(0), DeviceHash: pauseRoot, MountPathRegex: scsi})
			pause := changed(overlay(idB, 0), func(in *enforcer.MountOverlayInput) { in.LayerPaths = in.LayerPaths[1:] })
			allow(t, e, pause)
			ask := confcomRequest(idB)
			ask.ArgList, ask.IsSandboxContainer = []string{"/pause"}, true
			ask.Mounts = append(aci.DefaultMounts(), aci.PrivilegedMounts()[0])
			if d, _ := allow(t, e, ask); d.AllowStdio {
				t.Error("the pause container has stdio")
			}
			mountImage(t, e, idA, 1)
			app := confcomRequest(idA)
			app.Capabilities = defaultCaps(append([]string{"CAP_BPF"}, unprivileged...))
			d, _ := allow(t, e, app)
			kept := 5
			if shape.debug {
				kept = 6 // .+=.+ keeps everything
			}
			if len(d.Env) != kept || len(d.Capabilities.Bounding) != 14 {
				t.Errorf("got env %q and %d capabilities", d.Env, len(d.Capabilities.Bounding))
			}
			sh := changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) {
				in.ArgList, in.WorkingDir, in.EnvList, in.Capabilities = []string{"/bin/sh"}, "/", []string{"X=1", "TERM=xterm"}, app.Capabilities
			})
			judged(t, e, sh, shape.debug)
			judged(t, e, enforcer.DumpStacksInput{}, shape.debug)
			judged(t, e, enforcer.RuntimeLoggingInput{}, shape.debug)
			judged(t, e, enforcer.GetPropertiesInput{}, true)
			judged(t, e, enforcer.HostNetworkInput{}, false)
			// The older template has no rw_mount_device: the framework's rule is used.
			judged(t, e, disk(), true)
			judged(t, e, changed(disk(), func(in *enforcer.RWMountDeviceInput) { in.Encrypted = false }), false)
			judged(t, e, enforcer.MountBlockDevInput{Target: "/dev/x"}, false)
			// Windows' log providers had no refusal before 0.11.0; the newer template has no rule for them either.
			judged(t, e, enforcer.LogProviderInput{}, !shape.current)
			allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
			allow(t, e, enforcer.UnmountOverlayInput{UnmountTarget: rootfsA})
			if shape.debug {
				return
			}
			// A command that is null is loaded and never matched.
			allow(t, e, enforcer.MountDeviceInput{Target: target(9), DeviceHash: strings.Repeat("33", 32), MountPathRegex: scsi})
			allow(t, e, enforcer.MountOverlayInput{ContainerID: idC, LayerPaths: []string{target(9)}, Target: "/run/gcs/c/" + idC + "/rootfs"})
			for _, args := range [][]string{nil, {}, {""}, {"null"}} {
				in := confcomRequest(idC)
				in.ArgList = args
				judged(t, e, in, false)
			}
		})
	}
}
