package entry

import (
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

const base = `package policy

import future.keywords.every
import future.keywords.in

api_version := "0.12.0"
framework_version := "0.5.0"

fragments := [{"issuer":"did:x509:0:sha256:x::eku:1","feed":"f","minimum_svn":"4","includes":["containers"]}]

containers := [{"id":"a","command":["/bin/a"],"signals":[9]}]

external_processes := [{"command":["bash"],"env_rules":[],"working_dir":"/","allow_stdio_access":true}]

allow_dump_stacks := true

create_container := data.framework.create_container
mount_device := data.framework.mount_device

reason := {"errors": data.framework.errors}
`

// TestNotPlain has a text for every reason.
func TestNotPlain(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	add := func(line string) func(string) string {
		return func(text string) string { return text + line + "\n" }
	}
	container := func(c string) func(string) string {
		return replace(`{"id":"a","command":["/bin/a"],"signals":[9]}`, c)
	}
	cases := []struct {
		name string
		edit func(string) string
		want string
	}{
		{"syntax-error", add("x := "), "the text does not parse"},
		{"empty", func(string) string { return "" }, "the text does not parse"},
		{"no-rego", func(string) string { return "\x00\xff" }, "the text does not parse"},
		{"nul", add("# \x00"), "the text does not parse"},
		{"byte-order-mark-inside", add("# \ufeff"), "the text does not parse"},
		{"deep-nesting", add("x := " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000)), "brackets nest deeper than 1000"},
		{"other-package", replace("package policy", "package framework"), "the package is not policy"},
		{"package-below", replace("package policy", "package policy.x"), "the package is not policy"},
		{"import-data", replace("import future.keywords.in", "import data.x"), "it imports data.x (line 4)"},
		{"import-input", replace("import future.keywords.in", "import input.x as y"), "it imports input.x (line 4)"},
		{"import-twice", replace("import future.keywords.in", "import future.keywords.every"), "it imports future.keywords.every twice (line 4)"},
		{"rule-of-its-own", add("helper := 1"), "rule helper (line 21) is none that the framework asks for"},
		{"unknown-flag", add("allow_everything := true"), "rule allow_everything (line 21) is none"},
		{"flag-in-capitals", add("ALLOW_RUNTIME_LOGGING := true"), "rule ALLOW_RUNTIME_LOGGING (line 21) is none"},
		{"flag-no-boolean", add(`allow_runtime_logging := "true"`), "rule allow_runtime_logging (line 21) is not a boolean"},
		{"flag-computed", add("allow_runtime_logging := 1 == 1"), "is not a boolean"},
		{"flag-by-body", add("allow_runtime_logging { input.x }"), "rule allow_runtime_logging (line 21) has a body of its own"},
		{"flag-by-if", add("allow_runtime_logging if input.x"), "has a body of its own"},
		{"flag-with-body-false", add("allow_runtime_logging := true if false"), "has a body of its own"},
		{"flag-with-two-expressions", add("allow_runtime_logging := true { true; true }"), "has a body of its own"},
		{"flag-with-negation", add("allow_runtime_logging := true { not true }"), "has a body of its own"},
		{"flag-with-with", add("allow_runtime_logging := true { true with input as 1 }"), "has a body of its own"},
		{"twice", add("allow_dump_stacks := true"), "rule allow_dump_stacks (line 21) is defined twice"},
		{"twice-other", add("allow_dump_stacks := false"), "defined twice"},
		{"default", add("default allow_runtime_logging := true"), "rule allow_runtime_logging (line 21) is a default"},
		{"function", add("allow_runtime_logging(x) := true"), "is a function"},
		{"else", add("allow_runtime_logging := true { true } else := false { true }"), "has an else"},
		{"chained-bodies", add("allow_runtime_logging := true { true } { true }"), "defined twice"},
		{"partial-set", add("allow_runtime_logging contains 1"), "is a partial rule"},
		{"partial-object", add("allow_runtime_logging[1] := true"), "is a partial rule"},
		{"nested-name", add("fragments.x := []"), "rule fragments.x (line 21) is a partial rule"},
		{"under-containers", add("containers.x := []"), "is a partial rule"},
		{"api-twice", add(`api_svn := "0.12.0"`), "rule api_svn (line 21) is there under its old and its new name"},
		{"framework-twice", add(`framework_svn := "0.5.0"`), "under its old and its new name"},
		{"version-number", replace(`api_version := "0.12.0"`, "api_version := 12"), "rule api_version (line 6) is not a version"},
		{"version-short", replace(`"0.12.0"`, `"0.12"`), "is not a version MAJOR.MINOR.PATCH"},
		{"version-prerelease", replace(`"0.12.0"`, `"0.12.0-rc1"`), "is not a version"},
		{"version-leading-zero", replace(`"0.12.0"`, `"0.012.0"`), "is not a version"},
		{"version-newline", replace(`"0.12.0"`, `"0.12.0\n"`), "is not a version"},
		{"other-delegation", replace("data.framework.mount_device", "data.framework.unmount_device"), "rule mount_device (line 18) is not data.framework.mount_device"},
		{"delegation-elsewhere", replace("data.framework.mount_device", "data.frameworks.mount_device"), "is not data.framework.mount_device"},
		{"delegation-below", replace("data.framework.mount_device", "data.framework.mount_device.allowed"), "is not data.framework.mount_device"},
		{"delegation-to-input", replace("data.framework.mount_device", "input.framework.mount_device"), "is not data.framework.mount_device"},
		{"open-door", replace("data.framework.mount_device", `{"allowed": true}`), "is not data.framework.mount_device"},
		{"with-on-delegation", replace("data.framework.mount_device", "data.framework.mount_device with input.x as 1"), "does not parse"},
		{"body-on-the-next-line", replace("data.framework.create_container\n", "data.framework.create_container\n{ input.x }\n"), "rule create_container (line 17) has a body of its own"},
		{"reason-own", replace("data.framework.errors}", "data.framework.error_objects}"), "rule reason (line 20) is not the framework's"},
		{"reason-more", replace("data.framework.errors}", `data.framework.errors, "x": 1}`), "is not the framework's"},
		{"reason-text", replace(`{"errors": data.framework.errors}`, `"no"`), "is not the framework's"},
		{"log-providers-computed", add("allowed_log_providers := [input.x]"), "is not a constant"},
		{"containers-computed", replace("containers := [", "containers := [input.x, "), "rule containers (line 11) 0: is ref, not an object"},
		{"containers-comprehension", add("platform_rules := [x | x := 1]"), "is arraycomprehension, not an array"},
		{"containers-object", replace(`[{"id":"a","command":["/bin/a"],"signals":[9]}]`, `{"id":"a"}`), "is object, not an array"},
		{"containers-set", replace(`[{"id":"a","command":["/bin/a"],"signals":[9]}]`, `{{"id":"a"}}`), "is set, not an array"},
		{"containers-plus", replace(`"signals":[9]}]`, `"signals":[9]}] | []`), "is call, not an array"},
		{"containers-plus-on-the-next-line", replace(`"signals":[9]}]`, "\"signals\":[9]}]\n| []"), "is call, not an array"},
		{"containers-with-body", replace(`"signals":[9]}]`, "\"signals\":[9]}]\n{ input.x }"), "rule containers (line 11) has a body of its own"},
		{"containers-index", replace(`"signals":[9]}]`, `"signals":[9]}][0]`), "is ref, not an array"},
		{"statement-behind", replace(`"signals":[9]}]`, "\"signals\":[9]}]; # x"), "the text does not parse"},
		{"containers-twice", add("containers := []"), "rule containers (line 21) is defined twice"},
		{"containers-twice-indented", add(" containers := []"), "rule containers (line 21) is defined twice"},
		{"containers-default", replace("containers := [", "default\ncontainers := ["), "rule containers (line 11) is a default"},
		{"spelling-attack", container(`{"allow_elevated":false,"ALLOW_ELEVATED":true}`), `rule containers (line 11) 0: "ALLOW_ELEVATED" is not known`},
		{"double-key", container(`{"id":"a","id":"b"}`), `rule containers (line 11) 0: "id" is there twice`},
		{"double-key-same", container(`{"id":"a","id":"a"}`), `"id" is there twice`},
		{"double-key-escaped", container(`{"id":"a","\u0069d":"b"}`), `"id" is there twice`},
		{"double-key-in-a-mount", container(`{"mounts":[{"source":"a","source":"b","destination":"c","options":[],"type":"d"}]}`), `"source" is there twice`},
		{"double-key-in-env-rule", container(`{"env_rules":[{"required":false,"required":true}]}`), `"required" is there twice`},
		{"double-key-in-parameters", replace(`"feed":"f"`, `"feed":"f","parameters":{"x":[{"y":1,"y":2}]}`), `"parameters" has a key that is there twice`},
		{"double-key-in-an-external", replace(`"working_dir":"/"`, `"working_dir":"/","working_dir":"/x"`), `"working_dir" is there twice`},
		{"unknown-key", container(`{"commands":[]}`), `"commands" is not known`},
		{"key-no-string", container(`{1:2}`), `has a key that is not a string`},
		{"no-object", container(`"x"`), "0: is string, not an object"},
		{"null-container", container(`null`), "0: is null, not an object"},
		{"null-layers", container(`{"layers":null}`), `"layers" is null, not an array`},
		{"null-id", container(`{"id":null}`), `"id" is null, not a string`},
		{"null-user", container(`{"user":null}`), `"user" is null, not an object`},
		{"null-flag", container(`{"allow_elevated":null}`), `"allow_elevated" is null, not a boolean`},
		{"string-for-flag", container(`{"allow_elevated":"true"}`), `"allow_elevated" is string, not a boolean`},
		{"number-for-string", container(`{"working_dir":1}`), `"working_dir" is number, not a string`},
		{"command-of-numbers", container(`{"command":[1]}`), `"command" 0: is number, not a string`},
		{"layers-as-set", container(`{"layers":{"a"}}`), `"layers" is set, not an array`},
		{"signal-fraction", container(`{"signals":[9.5]}`), `"signals" 0: is not an integer`},
		{"signal-exponent", container(`{"signals":[9e0]}`), "is not an integer"},
		{"signal-minus-zero", container(`{"signals":[-0]}`), "is not an integer"},
		{"signal-too-big", container(`{"signals":[9223372036854775808]}`), "is not an integer"},
		{"signal-text", container(`{"signals":["9"]}`), "is string, not a number"},
		{"env-rule-half", container(`{"env_rules":[{"pattern":"A=b"}]}`), `"env_rules" 0: half a constraint`},
		{"env-rule-half-split", container(`{"env_rules":[{"name":"A","name_strategy":"string","value":"b"}]}`), "half a constraint"},
		{"env-rule-key", container(`{"env_rules":[{"pattern":"A=b","strategy":"string","Required":true}]}`), `"Required" is not known`},
		{"mount-short", container(`{"mounts":[{"source":"a"}]}`), `"mounts" 0: lacks 3 of its keys`},
		{"exec-short", container(`{"exec_processes":[{"command":["a"]}]}`), "lacks 1 of its keys"},
		{"user-short", container(`{"user":{"umask":"0022"}}`), "lacks 2 of its keys"},
		{"idname-short", container(`{"user":{"umask":"0022","group_idnames":[],"user_idname":{"strategy":"any"}}}`), "lacks 1 of its keys"},
		{"capabilities-short", container(`{"capabilities":{"bounding":[]}}`), "lacks 4 of its keys"},
		{"external-key", replace(`"working_dir":"/"`, `"workingdir":"/"`), `rule external_processes (line 13) 0: "workingdir" is not known`},
		{"fragment-key", replace(`"feed":"f"`, `"feed":"f","Feed":"g"`), `rule fragments (line 9) 0: "Feed" is not known`},
		{"fragment-short", replace(`"feed":"f",`, ""), "lacks 1 of its keys"},
		{"fragment-svn", replace(`"minimum_svn":"4"`, `"minimum_svn":4.5`), `"minimum_svn" is not an integer`},
		{"fragment-parameters", replace(`"feed":"f"`, `"feed":"f","parameters":{"x":input.x}`), `"parameters" is not a constant object`},
		{"trust-list-svn", add(`transparency_trust_lists := [{"issuer":"i","subject":"s","minimum_svn":"1","allowed_ledgers":[]}]`), "is string, not a number"},
		{"platform-rule-key", add(`platform_rules := [{"env":[]}]`), `"env" is not known`},
	}
	if got := why(t, base); got != "" {
		t.Fatalf("the policy to start from is not plain: %s", got)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := c.edit(base)
			if text == base {
				t.Fatal("the case changes nothing")
			}
			if got := why(t, text); got == "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

type plainCase struct {
	name, text string
	// fast is set when both lists are read fast all the same.
	fast bool
}

// plainCases are policies that are written differently and mean the same.
func plainCases() []plainCase {
	replace := strings.Replace
	return []plainCase{
		{"base", base, true},
		{"crlf", strings.ReplaceAll(base, "\n", "\r\n"), true},
		{"byte-order-mark", "\ufeff" + base, true},
		{"no-newline-at-end", strings.TrimRight(base, "\n"), true},
		{"tabs", replace(base, "containers := [", "containers\t:=\t[\t", 1), true},
		{"no-blanks", strings.ReplaceAll(base, " := ", ":="), true},
		{"many-lines", strings.NewReplacer(`{"id"`, "\r\n\t{ \"id\"", `"signals":[9]`, "\"signals\" : [\n9 ]\n").Replace(base), true},
		{"comment-behind", replace(base, `"signals":[9]}]`, `"signals":[9]}] # containers := [{}]`, 1), true},
		{"comment-before", "# containers := [{\"id\":\"x\"}]\n# \"\n#`\n" + base, true},
		{"comment-with-annotations", replace(base, "api_version", "# METADATA\n# scope: package\napi_version", 1), true},
		{"name-in-a-string", replace(base, `"feed":"f"`, `"feed":"containers := [{}] # \" [ {"`, 1), true},
		{"name-in-a-list", replace(base, `"includes":["containers"]`, "\"includes\":[\n\"containers\"]", 1), true},
		{"old-names", strings.NewReplacer("api_version", "api_svn", "framework_version", "framework_svn").Replace(base), true},
		{"equals-sign", strings.ReplaceAll(base, " := ", " = "), false},
		{"indented", replace(base, "\ncontainers", "\n containers", 1), false},
		{"bracket-on-the-next-line", replace(base, "containers := [", "containers :=\n[", 1), false},
		{"comment-inside", replace(base, `"signals":[9]`, "\"signals\":[9] # \"id\":\"b\"\n", 1), false},
		{"raw-string", replace(base, `"/bin/a"`, "`/bin/a`", 1), false},
		{"raw-string-elsewhere", replace(base, `"f"`, "`f`", 1), false},
		{"template-string-in-a-comment", base + "# $`x`\n", true},
		{"trailing-comma", replace(base, `"signals":[9]`, `"signals":[9,]`, 1), false},
		{"leading-comma", replace(base, `"signals":[9]`, `"signals":[,9]`, 1), false},
		{"escaped-key", replace(base, `"id":"a"`, `"\u0069d":"a"`, 1), false},
		{"surrogates", replace(base, `"id":"a"`, `"id":"\ud83d\ude00"`, 1), false},
		{"tab-in-a-string", replace(base, `"id":"a"`, "\"id\":\"\t\"", 1), false},
		{"escapes", replace(base, `"id":"a"`, `"id":"\"\\\/\b\f\n\r\tä\u00E4\u0000"`, 1), true},
		{"null-command", replace(base, `"command":["/bin/a"]`, `"command":null`, 1), true},
		{"null-capabilities", replace(base, `"id":"a"`, `"capabilities":null`, 1), true},
		{"empty-env-rule", replace(base, `"id":"a"`, `"env_rules":[{},{"required":true}]`, 1), true},
		{"both-env-rule", replace(base, `"id":"a"`, `"env_rules":[{"pattern":"A=b","strategy":"re2","name":"a","name_strategy":"b","value":"c","value_strategy":"d"}]`, 1), true},
		{"negative-signal", replace(base, "[9]", "[-9, 0, 123456789012345678]", 1), true},
		{"nineteen-digits", replace(base, "[9]", "[1234567890123456789]", 1), false},
		{"body-if-true", base + "get_properties := data.framework.get_properties if true\n", true},
		{"rego-v0-body", replace(base, "import future.keywords.in", "", 1) + "allow_runtime_logging = true { true }\n", true},
		{"rego-v0-bare-body", base + "allow_runtime_logging { true }\n", true},
		{"rego-v1-import", "package policy\nimport rego.v1\ncontainers := []\nexternal_processes := []\n", true},
		{"log-providers", base + `allowed_log_providers := [{"x": null}]` + "\n", true},
		{"delegation-in-brackets", replace(base, "data.framework.mount_device", `data["framework"]["mount_device"]`, 1), true},
		{"fragment-extras", replace(base, `"feed":"f"`, `"feed":"f","required_receipts":["*"],"parameters":{"a":[1,{"b":null}]}`, 1), true},
		{"fragment-number", replace(base, `"minimum_svn":"4"`, `"minimum_svn":4`, 1), true},
		{"platform-rules", base + `platform_rules := [{},{"env_rules":[]},{"mounts":[]}]` + "\n", true},
		{"trust-lists", base + `transparency_trust_lists := [{"issuer":"i","subject":"s","minimum_svn":1,"allowed_ledgers":["*"]}]` + "\n", true},
		{"no-lists", "package policy\n", true},
	}
}

func TestPlain(t *testing.T) {
	for _, c := range plainCases() {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "base" && c.text == base {
				t.Fatal("the case changes nothing")
			}
			p := mustRead(t, c.text)
			sameData(t, p.Data, rules(t, c.text))
			left := strings.Contains(p.Skeleton, "/bin/a") || strings.Contains(p.Skeleton, `"bash"`)
			if left == c.fast {
				t.Errorf("read fast: got %v, want %v; skeleton:\n%s", !left, c.fast, p.Skeleton)
			}
		})
	}
}

func TestReadRules(t *testing.T) {
	p := mustRead(t, base+"allow_properties_access := true\nallow_runtime_logging := true\n"+
		"allow_environment_variable_dropping := true\nallow_capability_dropping := true\nallow_unencrypted_scratch := true\n"+
		"allow_host_network := true\nallow_log_provider_dropping := true\n")
	if want := (Flags{true, true, true, true, true, true, true, true}); p.Flags != want {
		t.Errorf("flags got %+v", p.Flags)
	}
	if p.APIVersion != "0.12.0" || p.FrameworkVersion != "0.5.0" || p.Reason != ReasonErrors {
		t.Errorf("got %+v", p)
	}
	if len(p.Delegated) != 2 || !p.Delegated["create_container"] || !p.Delegated["mount_device"] {
		t.Errorf("delegated got %v", p.Delegated)
	}
	if p := mustRead(t, "package policy\nallow_dump_stacks := false\nreason := data.framework.reason\n"); p.Flags.DumpStacks || p.Reason != ReasonFull {
		t.Errorf("got %+v", p)
	}
	if p := mustRead(t, "package policy\n"); p.Reason != ReasonNone || p.APIVersion != "" || p.Flags != (Flags{}) {
		t.Errorf("got %+v", p)
	}
}

// TestFlagsOneByOne holds each flag to its own place.
func TestFlagsOneByOne(t *testing.T) {
	for name, want := range map[string]Flags{
		"allow_properties_access":             {PropertiesAccess: true},
		"allow_dump_stacks":                   {DumpStacks: true},
		"allow_runtime_logging":               {RuntimeLogging: true},
		"allow_environment_variable_dropping": {EnvironmentVariableDropping: true},
		"allow_capability_dropping":           {CapabilityDropping: true},
		"allow_unencrypted_scratch":           {UnencryptedScratch: true},
		"allow_host_network":                  {HostNetwork: true},
		"allow_log_provider_dropping":         {LogProviderDropping: true},
	} {
		if p := mustRead(t, "package policy\n"+name+" := true\n"); p.Flags != want {
			t.Errorf("%s got %+v", name, p.Flags)
		}
	}
}

// TestFrameworkReadsNoLogProviders is why a policy may have allowed_log_providers and be plain: the framework's text names
// what it reads of a policy, and that is not among it.
func TestFrameworkReadsNoLogProviders(t *testing.T) {
	policy := ast.MustParseRef("data.policy")
	for _, m := range aci.Modules() {
		module := ast.MustParseModuleWithOpts(m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			if !ref.HasPrefix(policy) {
				if ref.Equal(ast.DefaultRootRef) {
					t.Errorf("%s reads all of data", m.Name)
				}
				return false
			}
			name, ok := ast.String(""), false
			if len(ref) > 2 {
				name, ok = ref[2].Value.(ast.String)
			}
			if !ok || name == "allowed_log_providers" {
				t.Errorf("%s reads %v", m.Name, ref)
			}
			return false
		})
	}
}

// TestAttemptsAreFew: an attempt to read a list may go over the whole text, so a text of nothing but attempts must not
// take one for each.
func TestAttemptsAreFew(t *testing.T) {
	line := "containers := [{\"user\":{)))#\"\n"
	if lists := findLists([]byte(strings.Repeat(line, 1<<20))); lists != nil {
		t.Errorf("found %d lists", len(lists))
	}
}

func TestStringsDoNotKeepTheText(t *testing.T) {
	text := []byte(base)
	p, err := Read(text, points)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'x'
	}
	sameData(t, p.Data, rules(t, base))
	if p.Skeleton[:14] != "package policy" {
		t.Error("the skeleton is the text")
	}
}

func TestEqualPartsAreShared(t *testing.T) {
	const one = `{"id":"a","user":{"user_idname":{"pattern":"","strategy":"any"},"group_idnames":[],"umask":"0022"},` +
		`"capabilities":{"bounding":["A"],"effective":[],"inheritable":[],"permitted":[],"ambient":[]},` +
		`"env_rules":[{"pattern":"A=b","strategy":"string"}],"mounts":[{"source":"a","destination":"c","options":[],"type":"d"}],` +
		`"exec_processes":[{"command":["a"],"signals":[9]}]}`
	for _, assign := range []string{":=", "="} {
		p := mustRead(t, "package policy\ncontainers "+assign+" ["+one+","+strings.Replace(one, `"id":"a"`, `"id":"b"`, 1)+"]\n")
		a, b := p.Data.Containers[0], p.Data.Containers[1]
		if a.User != b.User || a.Capabilities != b.Capabilities || a.EnvRules[0] != b.EnvRules[0] || a.Mounts[0] != b.Mounts[0] ||
			a.ExecProcesses[0] != b.ExecProcesses[0] || a.ID == b.ID || a.Index != 0 || b.Index != 1 {
			t.Errorf("%s: %+v, %+v", assign, a, b)
		}
	}
}
