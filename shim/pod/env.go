package pod

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
)

// openError says that a value is not known where the policy is written. A rule of the document's own for the variable (the
// annotation io.cloister.env) answers it.
type openError struct{ text string }

func (e *openError) Error() string { return e.text }

// anything stands for a value of which not even a pattern is known.
const anything = `.*`

// variables are a container's, as far as they are resolved.
type variables struct {
	cluster bool
	links   *bool // enableServiceLinks
	env     []string
	values  map[string]Text // what a $(NAME) may refer to: the document's, because kubelet expands before it knows the image
	rules   []EnvRule       // for what is known at run time only
	own     []EnvRule       // the document's own rules
}

// setEnv builds the environment in containerd's order.
func (p *Pod) setEnv(spec *corev1.Container, config v1.Config, own []EnvRule, at string) (*variables, error) {
	v := &variables{
		cluster: p.cluster != nil, links: p.spec.EnableServiceLinks, env: []string{defaultPath}, values: map[string]Text{}, own: own,
	}
	for _, e := range config.Env {
		v.env = putEnv(v.env, e)
	}
	if spec.TTY {
		v.env = putEnv(v.env, "TERM=xterm")
	}
	hostname := Literal(p.Hostname)
	if p.cluster != nil {
		hostname = p.cluster.Hostname
	}
	v.put("HOSTNAME", hostname)
	if err := p.setEnvFrom(v, spec, at); err != nil {
		return nil, err
	}
	for i, e := range spec.Env {
		value, set, err := p.valueOf(v, spec, e)
		if err != nil {
			return nil, fmt.Errorf("%s.env[%d]: %w", at, i, err)
		}
		if !set {
			continue
		}
		v.values[e.Name] = value
		v.put(e.Name, value)
	}
	if p.cluster != nil {
		if _, declared := v.values["JOB_COMPLETION_INDEX"]; p.cluster.CompletionIndex && !declared {
			v.put("JOB_COMPLETION_INDEX", Pattern(patternIndex))
		}
		v.rules = append(v.rules, serviceRules(v.links)...)
	}
	return v, nil
}

// valueOf is the value of one variable of the document; set is false for one that does not come to be.
func (p *Pod) valueOf(v *variables, spec *corev1.Container, e corev1.EnvVar) (value Text, set bool, err error) {
	if e.ValueFrom == nil {
		value, err = v.expand(e.Value)
	} else if value, set, err = p.valueFrom(spec, e.ValueFrom); err == nil && !set {
		return Text{}, false, nil
	}
	var open *openError
	if errors.As(err, &open) && v.ruled(e.Name) {
		return Pattern(anything), true, nil
	}
	return value, err == nil, err
}

// ruled tells whether the document has a rule of its own for a variable.
func (v *variables) ruled(name string) bool {
	return slices.ContainsFunc(v.own, func(r EnvRule) bool { return strings.HasPrefix(r.Pattern, name+"=") })
}

// put takes a variable into the environment, in the place of one of the same name.
func (v *variables) put(name string, value Text) {
	prefix := name + "="
	if value.known() {
		v.drop(prefix)
		v.env = putEnv(v.env, prefix+value.Value)
		return
	}
	v.env = slices.DeleteFunc(v.env, func(e string) bool { return strings.HasPrefix(e, prefix) })
	v.drop(prefix)
	if !v.ruled(name) {
		v.rules = append(v.rules, EnvRule{Pattern: quoteName(prefix) + value.regexp(), Strategy: "re2", Required: true})
	}
}

// drop forgets the rule of a variable that is set anew.
func (v *variables) drop(prefix string) {
	v.rules = slices.DeleteFunc(v.rules, func(r EnvRule) bool { return strings.HasPrefix(r.Pattern, quoteName(prefix)) })
}

// quoteName writes a variable's name in a pattern; envName leaves only the dot to be quoted.
func quoteName(name string) string { return strings.ReplaceAll(name, ".", `\.`) }

// putEnv replaces the entry of the same name in place, or appends.
func putEnv(env []string, entry string) []string {
	name, _, _ := strings.Cut(entry, "=")
	for i, e := range env {
		if strings.HasPrefix(e, name+"=") {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}

// setEnvFrom takes whole ConfigMaps and Secrets. The order of their keys is not kept by Kubernetes, and means nothing.
func (p *Pod) setEnvFrom(v *variables, spec *corev1.Container, at string) error {
	for i, from := range spec.EnvFrom {
		data, err := p.sourceOf(from)
		if err != nil {
			return fmt.Errorf("%s.envFrom[%d]: %w", at, i, err)
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			name := from.Prefix + key
			if strings.ContainsAny(name, "=\x00") {
				return fmt.Errorf("%s.envFrom[%d]: key %q: not a variable", at, i, clip(key))
			}
			if !envName.MatchString(name) {
				// Older kubelets leave such names out, newer ones take them.
				v.rules = append(v.rules, EnvRule{Pattern: name + "=" + data[key], Strategy: "string"})
				v.values[name] = Pattern(anything)
				continue
			}
			v.values[name] = Literal(data[key])
			v.put(name, v.values[name])
		}
	}
	return nil
}

func (p *Pod) sourceOf(from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil && from.SecretRef != nil, from.ConfigMapRef == nil && from.SecretRef == nil:
		return nil, errors.New("want one of configMapRef and secretRef")
	case from.ConfigMapRef != nil:
		return findData("ConfigMap", p.cluster.ConfigMaps, from.ConfigMapRef.Name, isTrue(from.ConfigMapRef.Optional))
	}
	return findData("Secret", p.cluster.Secrets, from.SecretRef.Name, isTrue(from.SecretRef.Optional))
}

// findData finds a ConfigMap or Secret. One that is optional and not at hand is taken not to exist.
func findData(kind string, all map[string]map[string]string, name string, optional bool) (map[string]string, error) {
	data, ok := all[name]
	if !ok && !optional {
		return nil, &openError{fmt.Sprintf("%s %q is in none of the documents (--config-map takes it from a file)", kind, clip(name))}
	}
	return data, nil
}

// SecretVariables lists the variables whose values are those of Secrets, "CONTAINER: NAME": such a value stands in the policy,
// which is not secret.
func (p *Pod) SecretVariables() []string {
	var out []string
	for _, c := range p.containers() {
		for _, from := range c.spec.EnvFrom {
			if from.SecretRef != nil {
				out = append(out, c.spec.Name+": all of "+from.SecretRef.Name)
			}
		}
		for _, e := range c.spec.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				out = append(out, c.spec.Name+": "+e.Name)
			}
		}
	}
	return out
}
