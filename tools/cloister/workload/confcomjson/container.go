package confcomjson

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// older are the members that a container of the older form has, and one of the present form has not.
var older = []string{
	"containerImage", "command", "environmentVariables", "mounts", "execProcesses", "securityContext", "allow_elevated", "workingDir", "allowStdioAccess",
}

func readContainer(v shape.Value) workload.Container {
	p := v.Get("properties")
	if !p.Is() {
		return readOlder(v)
	}
	for _, name := range older {
		if m := v.Get(name); m.Is() {
			m.Errorf("the container has properties, and so this belongs into them")
		}
	}
	c := common(v, p, p.Get("image"))
	for _, e := range p.Get("environmentVariables").Items() {
		c.Env = append(c.Env, readEnv(e))
	}
	for _, m := range p.Get("volumeMounts").Items() {
		c.Mounts = append(c.Mounts, readMount(m, m.Get("readOnly").True()))
	}
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		if command := p.Get(probe).Get("exec").Get("command"); len(command.Items()) > 0 {
			c.Exec = append(c.Exec, workload.Exec{Command: command.KnownTexts(), Origin: command.Origin()})
		}
	}
	return c
}

func readOlder(v shape.Value) workload.Container {
	c := common(v, v, v.Get("containerImage"))
	for _, e := range v.Get("environmentVariables").Items() {
		env := workload.Env{Name: e.Get("name").Known(), Strategy: e.Get("strategy").Known(), Required: e.Get("required").True(), Origin: e.Origin()}
		if t := e.Get("value").Text(); t != nil {
			env.Value = *t
		}
		checkEnv(e, env)
		c.Env = append(c.Env, env)
	}
	for _, m := range v.Get("mounts").Items() {
		c.Mounts = append(c.Mounts, readMount(m, m.Get("readonly").True()))
	}
	if elevated := v.Get("allow_elevated"); elevated.Is() {
		if c.Security.Privileged != nil && *c.Security.Privileged != elevated.True() {
			elevated.Errorf("securityContext.privileged says the opposite")
		}
		c.Security.Privileged = elevated.Bool()
	}
	return c
}

// common reads what both forms have: at is where it stands.
func common(v, at, image shape.Value) workload.Container {
	c := workload.Container{
		ID: v.Get("id").Known(), Name: v.Get("name").Known(), Origin: v.Origin(), Command: at.Get("command").Texts(),
		WorkingDir: at.Get("workingDir").Text(), AllowStdio: at.Get("allowStdioAccess").Bool(), Security: shape.Security(at.Get("securityContext")),
	}
	if t := image.Text(); t != nil && t.Value != "" {
		c.Image = *t
	} else {
		v.Errorf("the container has no image")
	}
	if c.ID == "" {
		c.ID = c.Image.Value
	}
	for _, x := range at.Get("execProcesses").Items() {
		c.Exec = append(c.Exec, workload.Exec{Command: x.Get("command").KnownTexts(), Signals: readSignals(x.Get("signals")), Origin: x.Origin()})
		if len(x.Get("command").Items()) == 0 {
			x.Errorf("the process has no command")
		}
	}
	return c
}

func readSignals(v shape.Value) []int {
	n := v.Node()
	if n == nil {
		return nil
	}
	if n.Kind != tree.Array {
		v.Errorf("got %s, want an array of numbers", n.Kind)
		return nil
	}
	var out []int
	for _, item := range n.Items {
		s, err := strconv.Atoi(item.Text)
		if item.Kind != tree.Number || err != nil || s < 1 || s > 64 {
			v.Errorf("got %s %q, want the number of a signal, 1 to 64", item.Kind, cut(item.Text))
		}
		out = append(out, s)
	}
	return out
}

func readEnv(v shape.Value) workload.Env {
	value, secure := v.Get("value"), v.Get("secureValue")
	if value.Is() && secure.Is() {
		v.Errorf("the variable has two values, want one of value and secureValue")
	}
	e := workload.Env{Name: v.Get("name").Known(), Required: v.Get("required").True(), Secret: secure.Is(), Origin: v.Origin()}
	for _, said := range []shape.Value{value, secure} {
		if t := said.Text(); t != nil {
			e.Value = *t
		}
	}
	e.Value.Secret = e.Secret
	if v.Get("regex").True() {
		e.Strategy = "re2"
	} else {
		e.Value = workload.Placeholder(e.Value)
	}
	checkEnv(v, e)
	return e
}

func checkEnv(v shape.Value, e workload.Env) {
	if e.Name == "" || strings.Contains(e.Name, "=") {
		v.Errorf("the variable wants a name without '='")
	}
	switch e.Strategy {
	case "", "string":
	case "re2":
		if _, err := regexp.Compile(e.Value.Value); err != nil && e.Secret {
			v.Errorf("the value, which is (secret), is no pattern")
		} else if err != nil {
			v.Errorf("the value is no pattern: %v", err)
		}
	default:
		v.Get("strategy").Errorf("got %q, want string or re2", cut(e.Strategy))
	}
}

// mountSources are where the platform puts each kind of volume, as policies spell it.
var mountSources = map[string]string{
	"azurefile": "sandbox:///tmp/atlas/azureFileVolume/.+",
	"secret":    "sandbox:///tmp/atlas/secretsVolume/.+",
	"emptydir":  "sandbox:///tmp/atlas/emptydir/.+",
	"configmap": "sandbox:///tmp/atlas/emptydir/.+",
	"gitrepo":   "sandbox:///tmp/atlas/gitRepoVolume/.+",
}

func readMount(v shape.Value, readOnly bool) workload.Mount {
	m := workload.Mount{Destination: v.Get("mountPath").Known(), Type: "bind", Options: v.Get("options").KnownTexts(), Origin: v.Origin()}
	kind := v.Get("mountType").Known()
	source, ok := mountSources[tree.Fold(kind)]
	if !ok {
		v.Errorf("got mountType %q, want azureFile, configMap, emptyDir, gitRepo or secret", cut(kind))
	}
	m.Source = source
	if m.Destination == "" {
		v.Errorf("the mount has no mountPath")
	}
	if m.Options == nil {
		m.Options = []string{"rbind", "rshared", "rw"}
		if readOnly {
			m.Options[2] = "ro"
		}
	}
	return m
}
