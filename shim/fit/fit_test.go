package fit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var (
	rootA = strings.Repeat("aa", 32)
	rootB = strings.Repeat("bb", 32)
	roots = []string{rootA, rootB}
)

// rule is one container of a policy that a test writes.
type rule struct {
	Name       string           `json:"name"`
	Command    []string         `json:"command"`
	WorkingDir string           `json:"working_dir"`
	Layers     []string         `json:"layers"`
	EnvRules   []map[string]any `json:"env_rules"`
	Mounts     []map[string]any `json:"mounts"`
	Seccomp    string           `json:"seccomp_profile_sha256"`
	NNP        bool             `json:"no_new_privileges"`
}

func (r rule) json() string {
	text, _ := json.Marshal(struct {
		rule
		Exec     []any          `json:"exec_processes"`
		Signals  []int          `json:"signals"`
		Elevated bool           `json:"allow_elevated"`
		Stdio    bool           `json:"allow_stdio_access"`
		Caps     any            `json:"capabilities"`
		User     map[string]any `json:"user"`
	}{r, []any{}, []int{9, 15}, false, true, nil, map[string]any{
		"user_idname": map[string]string{"pattern": "", "strategy": "any"}, "group_idnames": []map[string]string{{"pattern": "", "strategy": "any"}}, "umask": "0022",
	}})
	return string(text)
}

func env(pattern, strategy string, required bool) map[string]any {
	return map[string]any{"pattern": pattern, "strategy": strategy, "required": required}
}

func mount(destination, source string, options ...string) map[string]any {
	if len(options) == 0 {
		options = []string{"rbind", "rprivate", "rw"}
	}
	return map[string]any{"destination": destination, "source": source, "type": "bind", "options": options}
}

// web is what a policy's author writes for the pod of kubelet(): nothing of what kubelet adds.
func web(mounts ...map[string]any) rule {
	return rule{
		Name: "web", Command: []string{"/bin/web", "--listen", ":8080"}, WorkingDir: "/srv", Layers: roots,
		EnvRules: []map[string]any{env("PATH=.+", "re2", true), env("MODE=fast", "string", false)}, Mounts: append([]map[string]any{}, mounts...),
	}
}

const delegations = `
mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
reason := {"errors": data.framework.errors}
`

func policyOf(dropping bool, rules ...rule) string {
	return versioned("0.12.0", "0.5.0", dropping, rules...)
}

func versioned(api, framework string, dropping bool, rules ...rule) string {
	var list []string
	for _, r := range rules {
		list = append(list, r.json())
	}
	return fmt.Sprintf("package policy\n\napi_version := %q\nframework_version := %q\n\ncontainers := [%s]\nallow_environment_variable_dropping := %t\n%s",
		api, framework, strings.Join(list, ",\n"), dropping, delegations)
}

func sourceAt(s *specs.Spec, destination string) string {
	for _, m := range s.Mounts {
		if m.Destination == destination {
			return m.Source
		}
	}
	return ""
}

const (
	noteLog   = "Mounts[/dev/termination-log]"
	noteToken = "Mounts[/var/run/secrets/kubernetes.io/serviceaccount]"
)

func TestFitNamesDirectories(t *testing.T) {
	cases := []struct{ name, source, want string }{
		{"our-own", "sandbox:///emptydir/cache", "sandbox:///emptydir/cache"},
		{"another-literal", "sandbox:///emptydir/data", "sandbox:///emptydir/data"},
		{"confcom", "sandbox:///tmp/atlas/emptydir/.+", "sandbox:///tmp/atlas/emptydir/cache"},
		{"anything", "sandbox://.*", "sandbox:///emptydir/cache"},
		{"escaped", `sandbox:///vol\.umes/cache\-[0-9]+`, ""},
		{"class", "sandbox:///d/[a-z]{5}", "sandbox:///d/cache"},
		{"alternatives", "sandbox:///(?:b|emptydir/cache)", "sandbox:///emptydir/cache"},
		{"first-alternative", "sandbox:///(?:one|two)", "sandbox:///one"},
		{"optional", "sandbox:///x(?:/y)?", "sandbox:///x"},
		{"repeated", "sandbox:///(?:ab){2}/.{3}", ""},
		{"anchored", "sandbox:///data$", "sandbox:///data"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := kubelet(t)
			without(s, "/etc/config")
			_, _, err := judge(t, policyOf(true, web(mount("/cache", c.source))), s, roots)
			mustAllow(t, err)
			got := sourceAt(s, "/cache")
			if c.want != "" && got != c.want || !strings.HasPrefix(got, "sandbox:///") {
				t.Errorf("got source %q, want %q", got, c.want)
			}
		})
	}
}

// TestFitRefusesWhatNoNameFits: a rule without any name that the agent takes leaves the mount as it is, and the refusal names it.
func TestFitRefusesWhatNoNameFits(t *testing.T) {
	for name, source := range map[string]string{
		"climbs":     `sandbox:///\.\./x`,
		"hugepages":  "hugepages://2M/x",
		"plan9":      "plan9://x",
		"host":       "/run/x",
		"not-valid":  "sandbox:///a)|(b",
		"no-match":   `sandbox:///a\bb`,
		"double":     "sandbox:////x//y",
		"dot":        `sandbox:///\./x`,
		"zero-bytes": "sandbox:///\x00",
	} {
		t.Run(name, func(t *testing.T) {
			s := kubelet(t)
			without(s, "/etc/config")
			_, _, err := judge(t, policyOf(true, web(mount("/cache", source))), s, roots)
			if err == nil {
				t.Errorf("allowed with source %q", sourceAt(s, "/cache"))
			}
			if got := sourceAt(s, "/cache"); got != podVolumes+"kubernetes.io~empty-dir/cache" {
				t.Errorf("got source %q, want the one of kubelet", got)
			}
		})
	}
}

func TestFitSharesOneDirectoryBetweenContainers(t *testing.T) {
	policy := policyOf(true, web(mount("/cache", "sandbox:///tmp/atlas/emptydir/.+"), mount("/other", "sandbox:///tmp/atlas/emptydir/.+")))
	s := kubelet(t)
	without(s, "/etc/config")
	s.Mounts = append(s.Mounts, bind("/other", podVolumes+"kubernetes.io~empty-dir/second", "rw"))
	second := kubelet(t)
	without(second, "/etc/config", "/cache")
	second.Mounts = append(second.Mounts, bind("/other", podVolumes+"kubernetes.io~empty-dir/cache", "rw"))
	p := read(t, policy)
	p.Fit(s, roots)
	p.Fit(second, roots)
	if one, two := sourceAt(s, "/cache"), sourceAt(second, "/other"); one != two {
		t.Errorf("one volume is %q here and %q there", one, two)
	}
	if one, two := sourceAt(s, "/cache"), sourceAt(s, "/other"); one == two {
		t.Errorf("two volumes are both %q", one)
	}
}

func TestFitCopiedFiles(t *testing.T) {
	listed := web(
		mount("/cache", "sandbox:///emptydir/cache", "rbind", "rshared", "rw"), mount("/etc/config", "sandbox:///shared/config", "rbind", "rprivate", "ro"),
		mount("/dev/termination-log", "sandbox:///shared/termination-log", "rbind", "rshared", "rw"),
		mount("/var/run/secrets/kubernetes.io/serviceaccount", "sandbox:///shared/.+", "rbind", "rprivate", "ro"),
	)
	s := kubelet(t)
	notes, _, err := judge(t, policyOf(true, listed), s, roots)
	mustAllow(t, err)
	if len(notes) != 0 {
		t.Errorf("got notes %v, want none: the policy lists everything", notes)
	}
	for _, m := range s.Mounts {
		if m.Destination == "/dev/termination-log" && !slices.Contains(m.Options, "rshared") {
			t.Errorf("got options %q, want those of the rule", m.Options)
		}
	}
	if got := sourceAt(s, "/etc/config"); got != podVolumes+"kubernetes.io~configmap/settings" {
		t.Errorf("got source %q, want the files to be copied", got)
	}
}

func TestFitKeepsTheAuthorsMounts(t *testing.T) {
	for name, c := range map[string]struct {
		rules []map[string]any
		field string
	}{
		"unlisted-configmap":  {[]map[string]any{mount("/cache", "sandbox:///emptydir/cache")}, "/etc/config"},
		"unlisted-emptydir":   {[]map[string]any{mount("/etc/config", "sandbox:///shared/config", "rbind", "rprivate", "ro")}, "/cache"},
		"wants-it-read-only":  {[]map[string]any{mount("/cache", "sandbox:///emptydir/cache", "rbind", "rprivate", "ro"), mount("/etc/config", "sandbox:///shared/config", "rbind", "ro")}, "/cache"},
		"another-destination": {[]map[string]any{mount("/cache2", "sandbox:///emptydir/cache"), mount("/etc/config", "sandbox:///shared/config", "rbind", "ro")}, "/cache"},
		"files-as-directory":  {[]map[string]any{mount("/cache", "sandbox:///emptydir/cache"), mount("/etc/config", "sandbox:///tmp/atlas/secretsVolume/.+", "rbind", "ro")}, "/etc/config"},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubelet(t)
			notes, _, err := judge(t, policyOf(true, web(c.rules...)), s, roots)
			if err == nil || !strings.Contains(err.Error(), c.field) {
				t.Errorf("got %v, want a refusal that names %s", err, c.field)
			}
			if sourceAt(s, c.field) == "" {
				t.Errorf("the mount was left out: %v", notes)
			}
		})
	}
}

func TestFitEnvironment(t *testing.T) {
	emptydir := mount("/cache", "sandbox:///emptydir/cache")
	prepare := func() *specs.Spec {
		s := kubelet(t)
		without(s, "/etc/config")
		return s
	}
	t.Run("left-out", func(t *testing.T) {
		s := prepare()
		notes, d, err := judge(t, policyOf(false, web(emptydir)), s, roots)
		mustAllow(t, err)
		if want := []string{"MODE=fast"}; !slices.Equal(s.Process.Env[1:], want) {
			t.Errorf("got %q, want PATH and %q", s.Process.Env, want)
		}
		if len(notes) != 2+13 || !slices.Contains(fieldsOf(notes), "Process.Env[WEB_PORT_80_TCP]") {
			t.Errorf("got notes %q", fieldsOf(notes))
		}
		if strings.Contains(fmt.Sprint(notes), "10.96") {
			t.Errorf("a note repeats a value: %v", notes)
		}
		if len(d.Env) != 2 {
			t.Errorf("the enforcer keeps %q", d.Env)
		}
	})
	t.Run("agent-drops", func(t *testing.T) {
		s := prepare()
		notes, d, err := judge(t, policyOf(true, web(emptydir)), s, roots)
		mustAllow(t, err)
		if len(s.Process.Env) != 15 || len(notes) != 2 || len(d.Env) != 2 {
			t.Errorf("got %q, notes %v, kept %q", s.Process.Env, fieldsOf(notes), d.Env)
		}
	})
	t.Run("authors-variable", func(t *testing.T) {
		s := prepare()
		s.Process.Env = append(s.Process.Env, "VERIFY=off")
		_, _, err := judge(t, policyOf(false, web(emptydir)), s, roots)
		if err == nil || !strings.Contains(err.Error(), "VERIFY") {
			t.Errorf("got %v, want a refusal that names VERIFY", err)
		}
	})
	t.Run("named-with-another-value", func(t *testing.T) {
		s := prepare()
		c := web(emptydir)
		c.EnvRules = append(c.EnvRules, env("HOSTNAME=db", "string", false))
		_, _, err := judge(t, policyOf(false, c), s, roots)
		if err == nil || !strings.Contains(err.Error(), "HOSTNAME") {
			t.Errorf("got %v, want a refusal that names HOSTNAME", err)
		}
	})
	t.Run("split-rules", func(t *testing.T) {
		s := prepare()
		c := web(emptydir)
		c.EnvRules = append(c.EnvRules, map[string]any{"name": "HOSTNAME", "name_strategy": "string", "value": "web-.+", "value_strategy": "re2", "required": true})
		_, _, err := judge(t, policyOf(false, c), s, roots)
		mustAllow(t, err)
		if !slices.Contains(s.Process.Env, "HOSTNAME=web-7d4b9") {
			t.Errorf("got %q, want HOSTNAME kept", s.Process.Env)
		}
	})
	t.Run("exec", func(t *testing.T) {
		s := prepare()
		p := read(t, policyOf(false, web(emptydir)))
		process := &specs.Process{Args: []string{"sh"}, Env: append(slices.Clone(s.Process.Env), "TERM=xterm", "MINE=1")}
		p.Fit(s, roots)
		notes := p.FitExec(process, s, roots)
		if want := []string{"MODE=fast", "MINE=1"}; !slices.Equal(process.Env[1:], want) || len(notes) != 14 {
			t.Errorf("got %q with %d notes, want PATH and %q", process.Env, len(notes), want)
		}
	})
}

// TestFitChoosesTheContainer: several containers of a policy have the same layers.
func TestFitChoosesTheContainer(t *testing.T) {
	one := web(mount("/cache", "sandbox:///emptydir/one"))
	two := web(mount("/cache", "sandbox:///emptydir/two"))
	two.EnvRules = append(slices.Clone(two.EnvRules[:1]), env("MODE=slow", "string", true))
	other := web(mount("/cache", "sandbox:///emptydir/other"))
	other.Command = []string{"/bin/other"}
	elsewhere := web(mount("/cache", "sandbox:///emptydir/elsewhere"))
	elsewhere.Layers = []string{rootB, rootA}
	policy := policyOf(false, other, elsewhere, one, two)
	for mode, want := range map[string]string{"MODE=fast": "sandbox:///emptydir/one", "MODE=slow": "sandbox:///emptydir/two"} {
		s := kubelet(t)
		without(s, "/etc/config")
		s.Process.Env[2] = mode
		_, _, err := judge(t, policy, s, roots)
		mustAllow(t, err)
		if got := sourceAt(s, "/cache"); got != want {
			t.Errorf("%s: got %q, want %q", mode, got, want)
		}
	}
	p := read(t, policy)
	for _, c := range []struct {
		roots []string
		want  bool
	}{{roots, true}, {[]string{rootB, rootA}, true}, {[]string{rootA}, false}, {nil, false}} {
		if got := p.Layers(c.roots); got != c.want {
			t.Errorf("layers %.8q: got %t, want %t", c.roots, got, c.want)
		}
	}
	s := kubelet(t)
	before := fmt.Sprint(s)
	if notes := p.Fit(s, []string{rootA}); notes != nil || fmt.Sprint(s) != before {
		t.Errorf("a container that the policy does not have was changed: %v", notes)
	}
}

func TestFitSeccomp(t *testing.T) {
	s := kubelet(t)
	without(s, "/etc/config")
	c := web(mount("/cache", "sandbox:///emptydir/cache"))
	c.Seccomp = strings.Repeat("5", 64)
	policy := withProfile(t, policyOf(true, c), s)
	if !read(t, policy).Seccomp(s, roots) || read(t, policyOf(true, web())).Seccomp(s, roots) {
		t.Error("the digest of the profile is not looked up")
	}
	_, _, err := judge(t, policy, s, roots)
	mustAllow(t, err)
}

// TestFitVersions: each family's rules for what a container lists.
func TestFitVersions(t *testing.T) {
	for _, v := range [][2]string{{"0.10.0", "0.2.3"}, {"0.10.0", "0.3.0"}, {"0.11.0", "0.2.3"}, {"0.11.0", "0.4.1"}, {"0.12.0", "0.5.0"}} {
		t.Run(v[0]+"-"+v[1], func(t *testing.T) {
			s := kubelet(t)
			without(s, "/etc/config")
			notes, _, err := judge(t, versioned(v[0], v[1], false, web(mount("/cache", "sandbox:///tmp/atlas/emptydir/.+", "rbind", "rshared", "rw"))), s, roots)
			mustAllow(t, err)
			if got := fieldsOf(notes)[:2]; !slices.Equal(got, []string{noteLog, noteToken}) {
				t.Errorf("got notes of %q", got)
			}
		})
	}
}

func TestFitPlatformRules(t *testing.T) {
	rules := `platform_rules := [{"env_rules": [{"pattern": "KUBERNETES_.+", "strategy": "re2", "required": false}],
  "mounts": [{"destination": "/cache", "source": "sandbox:///emptydir/cache", "type": "bind", "options": ["rbind", "rprivate", "rw"]}]}]
`
	for framework, want := range map[string]bool{"0.5.0": true, "0.4.1": false} {
		s := kubelet(t)
		without(s, "/etc/config")
		_, _, err := judge(t, versioned("0.12.0", framework, false, web())+rules, s, roots)
		if (err == nil) != want {
			t.Errorf("framework %s: got %v, want allowed %t", framework, err, want)
		}
		if got := slices.Contains(s.Process.Env, "KUBERNETES_SERVICE_PORT=443"); got != want {
			t.Errorf("framework %s: the variable is kept: %t, want %t", framework, got, want)
		}
	}
}

// TestFitUnknown: what is not understood is not touched.
func TestFitUnknown(t *testing.T) {
	s := kubelet(t)
	before := fmt.Sprint(s)
	for name, text := range notKnown(t) {
		got, err := readAny(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		notes := got.Fit(s, roots)
		if got.Known() || got.Layers(roots) || notes != nil || fmt.Sprint(s) != before || got.FitExec(s.Process, s, roots) != nil || got.Seccomp(s, roots) {
			t.Errorf("%s: it is known, or something was changed", name)
		}
	}
}
