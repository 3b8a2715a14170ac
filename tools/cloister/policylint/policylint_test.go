package policylint_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tools/cloister/policylint"
)

type object = map[string]any

// sample is a policy with nothing to find, as JSON and rules that a case changes.
type sample struct {
	head       string
	containers []object
	lists      object
	rules      map[string]string
}

func container(layer string) object {
	return object{
		"command": []any{"/bin/app", "-v"}, "layers": []any{strings.Repeat(layer, 64)}, "working_dir": "/", "allow_elevated": false,
		"allow_stdio_access": false, "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": []any{9, 15}, "capabilities": nil,
		"env_rules": []any{envRule("string", "MODE=fast")}, "exec_processes": []any{object{"command": []any{"/bin/check"}, "signals": []any{}}},
		"mounts": []any{object{"destination": "/data", "source": "sandbox:///tmp/data/.+", "type": "bind", "options": []any{"rbind"}}},
		"user": object{
			"user_idname": object{"pattern": "7", "strategy": "id"}, "group_idnames": []any{object{"pattern": "g.*", "strategy": "re2"}},
			"umask": "0022",
		},
		"name": "app-" + layer, "id": "app-" + layer,
	}
}

func envRule(strategy, pattern string) object {
	return object{"strategy": strategy, "pattern": pattern, "required": false}
}

func splitRule(nameStrategy, name, valueStrategy, value string) object {
	return object{"name": name, "name_strategy": nameStrategy, "value": value, "value_strategy": valueStrategy, "required": false}
}

func newSample() *sample {
	s := &sample{
		head: "package policy\n\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\n", lists: object{},
		containers: []object{container("a"), container("b")}, rules: map[string]string{"reason": `{"errors": data.framework.errors}`},
	}
	for _, p := range enforcer.Points() {
		s.rules[string(p.Point)] = "data.framework." + string(p.Point)
	}
	return s
}

func (s *sample) text(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	b.WriteString(s.head)
	lists := maps.Clone(s.lists)
	if lists["containers"] == nil {
		lists["containers"] = s.containers
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		data, err := json.Marshal(lists[name])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s := %s\n", name, data)
	}
	for _, name := range slices.Sorted(maps.Keys(s.rules)) {
		fmt.Fprintf(&b, "%s := %s\n", name, s.rules[name])
	}
	return []byte(b.String())
}

func lint(t *testing.T, text []byte) []policylint.Finding {
	t.Helper()
	found, err := policylint.Lint(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLintFindsNothingInTheSample(t *testing.T) {
	if found := lint(t, newSample().text(t)); len(found) > 0 {
		t.Errorf("got %+v", found)
	}
}

// first changes the first container, env sets its env rules, and so on.
func first(key string, value any) func(*sample) {
	return func(s *sample) { s.containers[0][key] = value }
}

func without(key string) func(*sample) { return func(s *sample) { delete(s.containers[0], key) } }

func env(rules ...any) func(*sample) { return first("env_rules", rules) }

func rule(name, text string) func(*sample) { return func(s *sample) { s.rules[name] = text } }

func list(name string, entries ...any) func(*sample) {
	return func(s *sample) { s.lists[name] = entries }
}

func versions(api, framework string) func(*sample) {
	return func(s *sample) {
		s.head = fmt.Sprintf("package policy\n\napi_version := %q\nframework_version := %q\n", api, framework)
	}
}

func all(changes ...func(*sample)) func(*sample) {
	return func(s *sample) {
		for _, change := range changes {
			change(s)
		}
	}
}

func noRule(name string) func(*sample) { return func(s *sample) { delete(s.rules, name) } }

func user(part string, value any) func(*sample) {
	return func(s *sample) { s.containers[0]["user"].(object)[part] = value }
}

func mount(key, value string) func(*sample) {
	return func(s *sample) { s.containers[0]["mounts"].([]any)[0].(object)[key] = value }
}

func capabilities(effective ...any) func(*sample) {
	return first("capabilities", object{
		"bounding": []any{}, "effective": effective, "inheritable": []any{}, "permitted": []any{}, "ambient": []any{},
	})
}

func twin(change func(object)) func(*sample) {
	return func(s *sample) {
		c := container("a")
		c["name"] = "twin"
		change(c)
		s.containers = append(s.containers, c)
	}
}

func fragment(key string, value any) func(*sample) {
	f := object{"issuer": "did:x509:0:sha256:x::eku:1.2", "feed": "f", "minimum_svn": "1", "includes": []any{"containers"}}
	if key != "" {
		f[key] = value
	}
	return list("fragments", f)
}

func trustList(key string, value any) func(*sample) {
	f := object{"issuer": "did:x509:0:sha256:x::eku:1.2", "subject": "s", "minimum_svn": 1, "allowed_ledgers": []any{"l"}}
	if key != "" {
		f[key] = value
	}
	return list("transparency_trust_lists", f)
}

func nothing(*sample) {}

// Every code has a policy in which it is found, and where, and one next to it in which it is not.
func TestLintCodes(t *testing.T) {
	env0 := "containers[0].env_rules[0]"
	cases := []struct {
		code, path string
		bad, good  func(*sample)
	}{
		{"CLP001", "", rule("x", "http.send({})"), rule("x", "1")},
		{
			"CLP002", "", func(s *sample) { s.head += "#" + strings.Repeat("x", enforcer.DefaultPolicyLimit) + "\n" },
			func(s *sample) { s.head += "#" + strings.Repeat("x", enforcer.DefaultPolicyLimit/2) + "\n" },
		},
		{"CLP003", "", func(s *sample) { s.head = "package policy\nframework_version := \"0.5.0\"\n" }, nothing},
		{"CLP004", "", func(s *sample) { s.head = "package policy\napi_version := \"0.12.0\"\n" }, nothing},
		{"CLP004", "framework_version", versions("0.12.0", "0.5"), nothing},
		{"CLP005", "framework_version", versions("0.12.0", "0.5.1"), versions("0.12.0", "0.4.1")},
		{"CLP006", "api_version", versions("0.13.0", "0.5.0"), versions("0.11.9", "0.5.0")},
		{"CLP007", "api_svn", func(s *sample) { s.head = strings.ReplaceAll(s.head, "api_version", "api_svn") }, nothing},
		{"CLP007", "framework_svn", func(s *sample) { s.head = strings.ReplaceAll(s.head, "framework_version", "framework_svn") }, nothing},
		{
			"CLP008", "", func(s *sample) { s.head += "other = x { x := 1 }\n" },
			func(s *sample) { s.head += "other = x if { x := 1 }\n" },
		},
		{"CLP009", "", noRule("reason"), rule("reason", "data.framework.reason")},
		{"CLP010", "containers[0].working_dir", first("working_dir", 3), first("working_dir", "3")},
		{"CLP010", "containers[0].command[1]", first("command", []any{"/bin/x", 1}), first("command", []any{"/bin/x", "1"})},
		{"CLP010", "containers[0].user", first("user", "root"), nothing},
		{"CLP010", "containers", func(s *sample) { s.lists["containers"] = "none" }, func(s *sample) { s.lists["containers"] = []any{} }},
		{"CLP010", "allow_log_provider_dropping", rule("allow_log_provider_dropping", "1"), rule("allow_log_provider_dropping", "true")},
		{"CLP011", "containers[0].ALLOW_ELEVATED", first("ALLOW_ELEVATED", true), first("allow_elevated", false)},
		{"CLP011", env0 + ".patern", env(object{"pattern": "A=1", "strategy": "string", "patern": "A=2"}), nothing},
		{"CLP012", "containers[0]", without("user"), all(without("user"), versions("0.12.0", "0.2.0"))},
		{"CLP012", "containers[0]", without("signals"), nothing},
		{"CLP012", env0, env(object{"required": true}), nothing},
		{"CLP013", "containers", func(s *sample) {
			s.head += "containers := input.containers\n"
			s.lists["containers"] = ""
		}, nothing},
		{"CLP101", "log_provider", all(versions("0.10.0", "0.5.0"), noRule("log_provider")), versions("0.10.0", "0.5.0")},
		{"CLP101", "exec_in_container", all(versions("0.1.0", "0.5.0"), noRule("exec_in_container")), noRule("exec_in_container")},
		{"CLP102", "rw_mount_device", all(versions("0.10.0", "0.5.0"), noRule("rw_mount_device")), noRule("rw_mount_device")},
		{"CLP102", "host_network", all(versions("0.11.1", "0.5.0"), noRule("host_network")), noRule("host_network")},
		{"CLP014", "fragments[0].feed", rule("fragments", `[{"feed": "f", "feed": "g"}]`), rule("fragments", `[{"feed": "f"}]`)},
		{"CLP014", "external_processes[0].env_rules[1].name", rule("external_processes", `[{"env_rules": [{}, {"name": "A", "name": "A"}]}]`), rule("external_processes", `[{"env_rules": [{}, {"name": "A"}]}]`)},
		{"CLP108", "create_container", noRule("create_container"), noRule("mount_cims")},
		{"CLP103", "dump_stacks", noRule("dump_stacks"), noRule("log_provider")},
		{"CLP104", "exec_external", rule("exec_external", `{"allowed": true, "env_list": null}`), rule("exec_external", `{"allowed": false}`)},
		{"CLP105", "mount_devise", rule("mount_devise", "data.framework.mount_device"), nothing},
		{"CLP106", "dump_stacks", rule("dump_stacks", "data.framework.get_properties"), nothing},
		{"CLP107", "dump_stacks", rule("dump_stacks", `{"allowed": input.x}`), nothing},
		{"CLP107", "mine", rule("mine", "3"), nothing},
		{"CLP201", "allow_runtime_logging", rule("allow_runtime_logging", "true"), rule("allow_runtime_logging", "false")},
		{"CLP202", "allow_dump_stacks", rule("allow_dump_stacks", "true"), rule("allow_dump_stacks", "false")},
		{"CLP203", "allow_unencrypted_scratch", rule("allow_unencrypted_scratch", "true"), rule("allow_unencrypted_scratch", "false")},
		{"CLP204", "allow_host_network", rule("allow_host_network", "true"), rule("allow_host_network", "false")},
		{"CLP205", "allow_properties_access", rule("allow_properties_access", "true"), nothing},
		{"CLP206", "allow_environment_variable_dropping", rule("allow_environment_variable_dropping", "true"), nothing},
		{"CLP207", "allow_capability_dropping", rule("allow_capability_dropping", "true"), nothing},
		{
			"CLP208", "allow_host_network", all(versions("0.12.0", "0.4.1"), rule("allow_host_network", "true")),
			rule("allow_host_network", "true"),
		},
		{"CLP209", "allow_dumps", rule("allow_dumps", "true"), rule("allow_dump_stacks", "true")},
		{"CLP301", "containers[0].command", first("command", nil), first("command", []any{"/x"})},
		{"CLP301", "containers[0].command", first("command", []any{}), nothing},
		{
			"CLP301", "containers[0].exec_processes[0].command",
			first("exec_processes", []any{object{"command": []any{}, "signals": []any{}}}), first("exec_processes", []any{}),
		},
		{"CLP302", "containers[0].layers", first("layers", []any{}), nothing},
		{"CLP303", "containers[0].layers[0]", first("layers", []any{strings.Repeat("A", 64)}), first("layers", []any{strings.Repeat("1", 64)})},
		{"CLP303", "containers[0].layers[1]", first("layers", []any{strings.Repeat("1", 64), "1"}), nothing},
		{"CLP304", "containers[0].allow_elevated", first("allow_elevated", true), nothing},
		{"CLP305", "containers[2]", twin(func(c object) {}), twin(func(c object) { c["working_dir"] = "/x" })},
		{
			"CLP306", "containers[2]", twin(func(c object) { c["allow_stdio_access"] = true }),
			twin(func(c object) { c["allow_stdio_access"], c["working_dir"] = true, "/x" }),
		},
		{
			"CLP307", "containers[2]",
			all(rule("allow_environment_variable_dropping", "true"), twin(func(c object) { c["env_rules"] = []any{} })),
			twin(func(c object) { c["env_rules"] = []any{} }),
		},
		{
			"CLP307", "containers[2]",
			all(rule("allow_capability_dropping", "true"), all(capabilities(), twin(func(c object) {}))),
			all(capabilities(), twin(func(c object) {})),
		},
		{"CLP308", "containers[0].allow_stdio_access", first("allow_stdio_access", true), nothing},
		{
			"CLP309", "containers[0].exec_processes[0].command",
			first("exec_processes", []any{object{"command": []any{"/bin/bash"}, "signals": []any{}}}),
			first("exec_processes", []any{object{"command": []any{"/bin/bashful"}, "signals": []any{}}}),
		},
		{"CLP310", "containers[0].user.umask", user("umask", "22"), user("umask", "0077")},
		{"CLP310", "containers[0].user.user_idname.pattern", user("user_idname", object{"pattern": "root", "strategy": "id"}), user("user_idname", object{"pattern": "root", "strategy": "name"})},
		{"CLP310", "containers[0].user.user_idname.strategy", user("user_idname", object{"pattern": "7", "strategy": "uid"}), nothing},
		{"CLP310", "containers[0].user.group_idnames", user("group_idnames", []any{}), nothing},
		{"CLP311", "containers[0].capabilities.effective[0]", capabilities("CAP_KILLER"), capabilities("CAP_KILL")},
		{"CLP312", "containers[0].capabilities.effective[0]", capabilities("CAP_SYS_ADMIN"), capabilities("CAP_CHOWN")},
		{"CLP313", "containers[0].mounts[0].destination", mount("destination", ""), nothing},
		{"CLP313", "containers[0].mounts[0].source", mount("source", "uvm:///x"), mount("source", "/x")},
		{"CLP313", "containers[0].mounts[0].source", mount("source", ""), nothing},
		{"CLP314", "containers[0].user.user_idname", user("user_idname", object{"pattern": "", "strategy": "any"}), nothing},
		{
			"CLP315", "containers[1]", func(s *sample) { s.containers[1]["name"] = "app-a" },
			func(s *sample) { s.containers[1]["name"] = "other" },
		},
		{"CLP401", env0 + ".pattern", env(envRule("re2", "A=(")), env(envRule("string", "A=("))},
		{"CLP401", env0 + ".pattern", env(envRule("re2", `A=(?!x)`)), env(envRule("re2", `A=[^x]`))},
		{"CLP401", "containers[0].mounts[0].source", mount("source", "sandbox:///a)|(b"), mount("source", "/a)|(b")},
		{"CLP401", "containers[0].user.group_idnames[0].pattern", user("group_idnames", []any{object{"pattern": "*", "strategy": "re2"}}), nothing},
		{"CLP402", env0 + ".pattern", env(envRule("re2", "MODE=a|MODE=b")), env(envRule("re2", "(?:MODE=a|MODE=b)"))},
		{"CLP402", env0 + ".pattern", env(envRule("re2", "(?i)A=a|A=b")), env(envRule("re2", `A=a[|]b\|c\Q|\E`))},
		{"CLP402", env0 + ".value", env(splitRule("string", "A", "re2", "a|b")), env(splitRule("string", "A", "re2", "(a|b)"))},
		{"CLP402", env0 + ".pattern", env(envRule("re2", "A=[]|]|A=c")), env(envRule("re2", "A=[]|]"))},
		{"CLP403", env0 + ".pattern", env(envRule("re2", "HOST=[a-z]+.example.com")), env(envRule("re2", `HOST=[a-z]+\.example\.com`))},
		{"CLP403", env0 + ".pattern", env(envRule("re2", "IP=10.0.0.[0-9]+")), env(envRule("re2", "IP=a.*b"))},
		{"CLP404", env0 + ".pattern", env(envRule("re2", "A=.*")), env(envRule("re2", "A=[a-z]*"))},
		{"CLP404", env0 + ".pattern", env(envRule("re2", `(?:A=[\s\S]+)`)), env(envRule("re2", `(?:A=\S+)`))},
		{"CLP404", env0 + ".value", env(splitRule("string", "A", "re2", ".+")), env(splitRule("string", "A", "re2", "[0-9]+"))},
		{"CLP411", "containers[0].env_rules", env(envRule("re2", "HOSTNAME=.+"), envRule("re2", "IDENTITY_HEADER=.+")), env(envRule("re2", "HOSTNAME=[a-z]+"))},
		{"CLP405", env0 + ".pattern", env(envRule("re2", ".+=.+")), env(envRule("re2", "(?i)(FABRIC)_.+=.+"))},
		{"CLP405", env0 + ".pattern", env(envRule("re2", ".*")), nothing},
		{"CLP405", env0 + ".pattern", env(envRule("re2", "LD_.+=.+")), env(envRule("re2", "APP_.+=[0-9]"))},
		{"CLP405", env0 + ".name", env(splitRule("re2", "[A-Z_]+", "string", "1")), env(splitRule("re2", "APP_[A-Z]+", "string", "1"))},
		{"CLP406", env0 + ".pattern", env(envRule("string", "DB_PASSWORD=hunter2")), env(envRule("string", "DB_PASSWORD_FILE=/run/x"))},
		{"CLP406", env0 + ".pattern", env(envRule("re2", "API_KEY=hunter2")), env(envRule("re2", "API_KEY=[a-z]+"))},
		{"CLP406", env0 + ".pattern", env(envRule("string", "URL=https://me:hunter2@host/")), env(envRule("string", "URL=https://host:80/@x"))},
		{"CLP406", env0 + ".pattern", env(envRule("string", "X=-----BEGIN PRIVATE KEY-----hunter2")), env(envRule("string", "TOKEN=/var/run/token"))},
		{"CLP406", env0 + ".value", env(splitRule("string", "TOKEN", "string", "hunter2")), env(splitRule("string", "TOKEN", "string", ""))},
		{"CLP406", "containers[0].command[1]", first("command", []any{"/x", "--password=hunter2"}), first("command", []any{"/x", "--password-file=/x"})},
		{"CLP406", "containers[0].command[2]", first("command", []any{"/x", "--token", "hunter2"}), first("command", []any{"/x", "--token", "-v"})},
		{"CLP407", env0 + ".strategy", env(envRule("regex", "A=1")), nothing},
		{"CLP407", env0 + ".name_strategy", env(splitRule("", "A", "string", "1")), env(splitRule("string", "A", "string", "1"))},
		{"CLP408", env0 + ".pattern", env(envRule("string", "HOME")), env(envRule("string", "HOME="))},
		{"CLP408", env0 + ".pattern", env(envRule("re2", "MODE=a|b")), env(envRule("re2", "MODE=(a|b)"))},
		{"CLP409", env0 + ".pattern", env(envRule("string", "A=.*")), env(envRule("string", "A=a.b c*"))},
		{"CLP409", env0 + ".value", env(splitRule("string", "A", "string", "[0-9]+")), env(splitRule("string", "A", "string", "[x]"))},
		{"CLP410", "containers[0].mounts[0].source", mount("source", "sandbox://.*"), mount("source", "sandbox:///x/.*")},
		{
			"CLP501", "external_processes[0]",
			list("external_processes", object{"command": []any{"/x"}, "env_rules": []any{}, "working_dir": "/", "allow_stdio_access": false}),
			list("external_processes"),
		},
		{"CLP502", "fragments[0].minimum_svn", fragment("minimum_svn", "0"), fragment("", nil)},
		{"CLP502", "fragments[0].minimum_svn", fragment("minimum_svn", 0), fragment("minimum_svn", 1)},
		{"CLP502", "fragments[0].minimum_svn", fragment("minimum_svn", "0.0.0"), fragment("minimum_svn", "0.0.1")},
		{"CLP503", "fragments[0].issuer", fragment("issuer", "did:web:x"), fragment("", nil)},
		{"CLP503", "transparency_trust_lists[0].issuer", trustList("issuer", "x"), trustList("", nil)},
		{"CLP504", "fragments[0].includes", fragment("includes", []any{}), fragment("includes", []any{"namespace", "fragments"})},
		{"CLP504", "fragments[0].includes[0]", fragment("includes", []any{"container"}), nothing},
		{"CLP505", "transparency_trust_lists[0].allowed_ledgers", trustList("allowed_ledgers", []any{"*"}), trustList("", nil)},
	}
	covered := map[string]bool{}
	for i, c := range cases {
		covered[c.code] = true
		t.Run(fmt.Sprintf("%s-%d", c.code, i), func(t *testing.T) {
			at := func(change func(*sample)) (paths []string, messages string) {
				s := newSample()
				change(s)
				text := s.text(t)
				if c.code == "CLP013" && s.lists["containers"] == "" {
					text = []byte(strings.Replace(string(text), "containers := \"\"\n", "", 1))
				}
				for _, f := range lint(t, text) {
					messages += f.Message + f.Fix + "\n"
					if f.Code == c.code {
						paths = append(paths, f.Path)
					}
				}
				return paths, messages
			}
			paths, messages := at(c.bad)
			if !slices.Contains(paths, c.path) {
				t.Errorf("got %q, want %q; all:\n%s", paths, c.path, messages)
			}
			if strings.Contains(messages, "hunter2") {
				t.Errorf("a secret is repeated:\n%s", messages)
			}
			if paths, messages := at(c.good); slices.Contains(paths, c.path) {
				t.Errorf("the neighbour has it, too:\n%s", messages)
			}
		})
	}
	for _, c := range policylint.Codes() {
		if !covered[c.Code] {
			t.Errorf("no case for %s (%s)", c.Code, c.What)
		}
		if c.What == "" || c.Fix == "" || c.Severity == "" {
			t.Errorf("%s is not described", c.Code)
		}
	}
}

// What an old policy leaves to defaults is named point by point.
func TestLintNamesEveryAbsentPoint(t *testing.T) {
	s := newSample()
	s.rules = map[string]string{}
	versions("0.1.0", "0.5.0")(s)
	got := map[string]string{}
	for _, f := range lint(t, s.text(t)) {
		got[f.Path] = f.Code
	}
	want := map[string]string{"allow": "CLP101", "framework": "CLP102", "deny": "CLP102"}
	for _, p := range enforcer.Points() {
		code := want[p.Default]
		if p.Since == "0.1.0" {
			code = "CLP108"
		}
		if got[string(p.Point)] != code {
			t.Errorf("%s: got %q, want %q", p.Point, got[string(p.Point)], code)
		}
	}
}

// What tools write today has no errors but those it is known for.
func TestLintPoliciesOfTools(t *testing.T) {
	files, err := filepath.Glob("../../../enforcer/testdata/policies/*.rego")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range lint(t, text) {
			if f.Severity == policylint.Error && f.Code != "CLP301" {
				t.Errorf("%s: %+v", filepath.Base(file), f)
			}
		}
	}
}

// FuzzLint: there are findings for every text, on printable lines, and the text is never repeated at length.
func FuzzLint(f *testing.F) {
	f.Add("package policy\n")
	f.Add("package policy\napi_version := \"0.10.0\"\nframework_version := \"0.2.3\"\ncontainers := [{\"command\": null, \"env_rules\": [{\"pattern\": \"(?:A=.|B)\", \"strategy\": \"re2\"}]}]")
	f.Add("package policy\ncontainers := [1, {\"layers\": {}}]\nfragments := {}\nexternal_processes := [{\"command\": [1]}]\nmount_device := data.framework.mount_devices")
	f.Add("package policy\ncontainers[x] { x := 1 }\nallow_x = true")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := policylint.Lint(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Code == "" || f.Message == "" || f.Fix == "" || len(f.Message) > 2048 {
				t.Errorf("got %+v", f)
			}
		}
	})
}

// The table of docs/policy.md is the code's.
func TestLintCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `CLP") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	for _, c := range policylint.Codes() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", c.Code, c.Severity, c.What))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table of docs/policy.md is not the code's; it should read:\n%s", strings.Join(want, "\n"))
	}
}
