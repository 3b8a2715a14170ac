package vn2

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

// podReader reads the containers of one pod.
type podReader struct {
	*finding
	pod      foundPod
	sources  map[string]string // of mounts, by the names of volumes
	security shape.Value       // of the pod
}

func (r *podReader) container(v shape.Value, init bool) workload.Container {
	image := v.Get("image")
	c := workload.Container{ID: image.Known(), Name: v.Get("name").Known(), Init: init, Origin: v.Origin()}
	if c.ID == "" {
		v.Errorf("the container has no image")
	} else {
		c.Image = *image.Text()
	}
	e := r.environment(v)
	c.Env = e.list
	c.Entrypoint, c.Args = expandAll(v.Get("command").Texts(), e), expandAll(v.Get("args").Texts(), e)
	c.WorkingDir = v.Get("workingDir").Text()
	c.Mounts = r.mounts(v.Get("volumeMounts"))
	c.Exec = execs(v)
	c.Security = r.containerSecurity(v.Get("securityContext"))
	if t := v.Get("terminationMessagePath"); t.Is() && t.Known() != "/dev/termination-log" {
		t.Errorf("got %q, want /dev/termination-log: the platform mounts that one", cut(t.Known()))
	}
	return c
}

func expandAll(words []workload.Text, e *environment) []workload.Text {
	words = slices.Clone(words)
	for i, w := range words {
		words[i] = expand(w, e.get)
	}
	return words
}

// execs are the commands that the kubelet may start inside: of probes with the variables that have a value in the document,
// of hooks as they are written.
func execs(c shape.Value) []workload.Exec {
	static := &environment{index: map[string]int{}}
	for _, v := range c.Get("env").Items() {
		if value := v.Get("value").Text(); value != nil {
			static.put(workload.Env{Name: v.Get("name").Known(), Value: *value})
		}
	}
	var out []workload.Exec
	add := func(v shape.Value, e *environment) {
		command := v.Get("exec").Get("command")
		words := command.Texts()
		if len(words) == 0 {
			return
		}
		x := workload.Exec{Origin: command.Origin()}
		for _, w := range words {
			w = expand(w, e.get)
			if w.Wildcard {
				command.Errorf("the words are known in the cluster only")
			}
			x.Command, x.Secret = append(x.Command, w.Value), x.Secret || w.Secret
		}
		out = append(out, x)
	}
	for _, name := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		add(c.Get(name), static)
	}
	for _, name := range []string{"postStart", "preStop"} {
		command := c.Get("lifecycle").Get(name).Get("exec").Get("command")
		if words := command.KnownTexts(); len(words) > 0 {
			out = append(out, workload.Exec{Command: words, Origin: command.Origin()})
		}
	}
	return out
}

// mountSources are where the platform puts each kind of volume, as policies spell it.
var mountSources = []struct{ kind, source string }{
	{"emptyDir", emptyDir},
	{"configMap", emptyDir},
	{"downwardAPI", emptyDir},
	{"projected", emptyDir},
	{"secret", "sandbox:///tmp/atlas/secretsVolume/.+"},
	{"azureFile", azureFile},
	{"csi", azureFile},
	{"persistentVolumeClaim", azureFile},
	{"gitRepo", "sandbox:///tmp/atlas/gitRepoVolume/.+"},
}

const (
	emptyDir  = "sandbox:///tmp/atlas/emptydir/.+"
	azureFile = "sandbox:///tmp/atlas/azureFileVolume/.+"
)

func sources(volumes shape.Value, claims []shape.Value) map[string]string {
	out := map[string]string{}
	for _, v := range volumes.Items() {
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
		if driver := v.Get("csi").Get("driver"); v.Get("csi").Is() && driver.Known() != "file.csi.azure.com" {
			v.Get("csi").Errorf("got driver %q, want file.csi.azure.com", cut(driver.Known()))
		}
		if source == "" {
			v.Errorf("volume %q has no kind that is understood", cut(name))
		}
		if _, again := out[name]; again {
			v.Errorf("volume %q is there twice", cut(name))
		}
		out[name] = source
	}
	for _, c := range claims {
		out[c.Get("metadata").Get("name").Known()] = azureFile
	}
	return out
}

func (r *podReader) mounts(list shape.Value) []workload.Mount {
	var out []workload.Mount
	for _, v := range list.Items() {
		m := workload.Mount{
			Destination: v.Get("mountPath").Known(), Type: "bind", Options: []string{"rbind", "rshared", "rw"}, Origin: v.Origin(),
		}
		name := v.Get("name").Known()
		source, ok := r.sources[name]
		if !ok {
			v.Errorf("no volume %q in the pod", cut(name))
		}
		m.Source = source
		if !strings.HasPrefix(m.Destination, "/") {
			v.Errorf("got mountPath %q, want an absolute path", cut(m.Destination))
		}
		if p := v.Get("mountPropagation"); p.Is() && !slices.Contains([]string{"None", "HostToContainer"}, p.Known()) {
			p.Errorf("got %q, want None or HostToContainer", cut(p.Known()))
		}
		if v.Get("readOnly").True() {
			m.Options[2] = "ro"
		}
		out = append(out, m)
	}
	return out
}

func (r *podReader) containerSecurity(v shape.Value) workload.Security {
	s := workload.Security{
		Privileged:               v.Get("privileged").Bool(),
		AllowPrivilegeEscalation: v.Get("allowPrivilegeEscalation").Bool(),
		AddCapabilities:          v.Get("capabilities").Get("add").KnownTexts(),
		DropCapabilities:         v.Get("capabilities").Get("drop").KnownTexts(),
		RunAsUser:                v.Get("runAsUser").Whole(),
		RunAsGroup:               v.Get("runAsGroup").Whole(),
	}
	switch {
	case v.Is():
		s.Origin = v.Origin()
	case r.security.Is():
		s.Origin = r.security.Origin()
	}
	if s.RunAsUser == nil {
		s.RunAsUser = r.security.Get("runAsUser").Whole()
	}
	if s.RunAsGroup == nil {
		s.RunAsGroup = r.security.Get("runAsGroup").Whole()
	}
	if p := v.Get("procMount"); p.Is() && p.Known() != "Default" {
		p.Errorf("got %q, want Default", cut(p.Known()))
	}
	for _, context := range []shape.Value{v, r.security} {
		if t := context.Get("seccompProfile").Get("type"); t.Is() && !slices.Contains([]string{"RuntimeDefault", "Unconfined"}, t.Known()) {
			t.Errorf("got %q, want RuntimeDefault or Unconfined", cut(t.Known()))
		}
	}
	return s
}
