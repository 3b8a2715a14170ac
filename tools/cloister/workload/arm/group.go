package arm

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// mountSources are where the platform puts each kind of volume, as policies spell it.
var mountSources = []struct{ kind, source string }{
	{"azureFile", "sandbox:///tmp/atlas/azureFileVolume/.+"},
	{"emptyDir", emptyDir},
	{"gitRepo", "sandbox:///tmp/atlas/gitRepoVolume/.+"},
	{"secret", secretsVolume},
	{"secretReference", secretsVolume},
}

const (
	emptyDir      = "sandbox:///tmp/atlas/emptydir/.+"
	secretsVolume = "sandbox:///tmp/atlas/secretsVolume/.+"
)

func readGroup(v shape.Value) workload.Group {
	p := v.Get("properties")
	g := workload.Group{Name: name(v), Platform: workload.ACI, Origin: v.Origin()}
	if osType := p.Get("osType"); osType.Is() {
		if got := osType.Known(); got != "" && !tree.EqualFold(got, "Linux") {
			osType.Errorf("got %s, want Linux: policies of other systems are not made", osType.Quote())
		}
	}
	if existing := p.Get("confidentialComputeProperties").Get("ccePolicy").Text(); existing != nil && !existing.Wildcard && existing.Value != "" {
		g.Existing = existing
	}
	sources := volumes(p.Get("volumes"))
	for _, c := range p.Get("containers").Items() {
		g.Containers = append(g.Containers, readContainer(c, sources, false))
	}
	for _, c := range p.Get("initContainers").Items() {
		g.Containers = append(g.Containers, readContainer(c, sources, true))
	}
	if len(g.Containers) == 0 {
		p.Get("containers").Errorf("the group has no containers")
	}
	return g
}

// name is the group's, or where that is not known or secret the expression for it.
func name(v shape.Value) string {
	t := v.Get("name").Text()
	if t == nil {
		return ""
	}
	if t.Wildcard || v.Get("name").Secret() {
		return v.Get("name").Node().Read().Text
	}
	return t.Value
}

// volumes are the sources of mounts by the names of volumes.
func volumes(list shape.Value) map[string]string {
	out := map[string]string{}
	for _, v := range list.Items() {
		name := v.Get("name").Known()
		var source string
		for _, s := range mountSources {
			kind := v.Get(s.kind)
			if !kind.Is() {
				continue
			}
			if source != "" {
				kind.Errorf("the volume has two kinds, want one")
			}
			source = s.source
		}
		if source == "" {
			v.Errorf("volume %s has no kind; want one of azureFile, emptyDir, gitRepo, secret, secretReference", v.Get("name").Quote())
		}
		if _, again := out[name]; again {
			v.Errorf("volume %s is there twice", v.Get("name").Quote())
		}
		out[name] = source
	}
	return out
}

func readContainer(v shape.Value, sources map[string]string, init bool) workload.Container {
	p := v.Get("properties")
	c := workload.Container{Name: v.Get("name").Known(), Init: init, Origin: v.Origin(), Command: p.Get("command").Texts()}
	image := p.Get("image")
	c.ID = image.Known()
	if t := image.Text(); t != nil {
		c.Image = *t
	}
	if !image.Is() || !c.Image.Wildcard && c.ID == "" {
		v.Errorf("the container has no image")
	}
	c.Env = readEnv(p.Get("environmentVariables"))
	c.Mounts = readMounts(p, sources)
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		if command := p.Get(probe).Get("exec").Get("command"); len(command.Items()) > 0 {
			c.Exec = append(c.Exec, workload.Exec{Command: command.KnownTexts(), Secret: anySecret(command), Origin: command.Origin()})
		}
	}
	c.Security = shape.Security(p.Get("securityContext"))
	return c
}

// anySecret says whether one of a list's words must not be shown.
func anySecret(list shape.Value) bool {
	return slices.ContainsFunc(list.Texts(), func(t workload.Text) bool { return t.Secret })
}

func readEnv(list shape.Value) []workload.Env {
	var out []workload.Env
	seen := map[string]bool{}
	for _, v := range list.Items() {
		e := workload.Env{Name: v.Get("name").Known(), Origin: v.Origin()}
		if t := v.Get("name").Text(); t == nil || !t.Wildcard && (t.Value == "" || strings.Contains(t.Value, "=")) {
			v.Errorf("the variable wants a name without '='")
		}
		if seen[e.Name] && e.Name != "" {
			v.Errorf("variable %s is there twice", v.Get("name").Quote())
		}
		seen[e.Name] = true
		e.Value, e.Secret = envValue(v)
		out = append(out, e)
	}
	return out
}

// envValue is a variable's one value; a variable without one is empty.
func envValue(v shape.Value) (workload.Text, bool) {
	value, secure, reference := v.Get("value"), v.Get("secureValue"), v.Get("secureValueReference")
	out := workload.Text{Origin: v.Origin()}
	var said int
	if t := value.Text(); t != nil {
		out = workload.Placeholder(*t)
		said++
	}
	if t := secure.Text(); t != nil {
		out = *t
		said++
	}
	if reference.Is() {
		out = workload.Text{Value: ".*", Wildcard: true, Origin: reference.Origin()}
		said++
	}
	if said > 1 {
		v.Errorf("the variable has two values, want one of value, secureValue, secureValueReference")
	}
	out.Secret = out.Secret || secure.Is() || reference.Is()
	return out, out.Secret
}

func readMounts(p shape.Value, sources map[string]string) []workload.Mount {
	var out []workload.Mount
	for _, v := range p.Get("volumeMounts").Items() {
		name := v.Get("name").Known()
		source, ok := sources[name]
		if !ok {
			v.Errorf("no volume %s in the group", v.Get("name").Quote())
		}
		out = append(out, mount(v, v.Get("mountPath"), source, v.Get("readOnly").True()))
	}
	if config := p.Get("configMap"); config.Is() {
		out = append(out, bind(config, "/mnt/configmap", emptyDir, false))
	}
	return out
}

func mount(v, path shape.Value, source string, readOnly bool) workload.Mount {
	destination := path.Known()
	if !strings.HasPrefix(destination, "/") {
		v.Errorf("got mountPath %s, want an absolute path", path.Quote())
	}
	return bind(v, destination, source, readOnly)
}

func bind(v shape.Value, destination, source string, readOnly bool) workload.Mount {
	m := workload.Mount{Destination: destination, Source: source, Type: "bind", Options: []string{"rbind", "rshared", "rw"}, Origin: v.Origin()}
	if readOnly {
		m.Options[2] = "ro"
	}
	return m
}
