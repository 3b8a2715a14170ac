package pod

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// valueFrom is the value that kubelet would give; set is false where it leaves the variable out.
func (p *Pod) valueFrom(spec *corev1.Container, from *corev1.EnvVarSource) (value Text, set bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = p.fieldRef(from.FieldRef)
		return value, true, wrap("valueFrom.fieldRef", err)
	case from.ResourceFieldRef != nil:
		value, err = p.resourceRef(spec, from.ResourceFieldRef)
		return value, true, wrap("valueFrom.resourceFieldRef", err)
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		value, set, err = keyOf("ConfigMap", p.cluster.ConfigMaps, r.Name, r.Key, isTrue(r.Optional))
		return value, set, wrap("valueFrom.configMapKeyRef", err)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		value, set, err = keyOf("Secret", p.cluster.Secrets, r.Name, r.Key, isTrue(r.Optional))
		return value, set, wrap("valueFrom.secretKeyRef", err)
	}
	return Text{}, false, errors.New("valueFrom: names no source")
}

func wrap(at string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", at, err)
	}
	return err
}

func keyOf(kind string, all map[string]map[string]string, name, key string, optional bool) (Text, bool, error) {
	data, err := findData(kind, all, name, optional)
	if err != nil {
		return Text{}, false, err
	}
	value, ok := data[key]
	if !ok && !optional {
		return Text{}, false, fmt.Errorf("%s %q has no key %q", kind, clip(name), clip(key))
	}
	return Literal(value), ok, nil
}

// Runtime is one source of a variable that the pod itself is, and what the policy says of the variable.
type Runtime struct {
	Source  string // the fieldPath, or "resource: " and the resource
	Meaning string
}

// fieldSource is a fieldPath without a key.
type fieldSource struct {
	path    string
	meaning string
	value   func(p *Pod) Text
}

var fieldSources = []fieldSource{
	{"metadata.name", "the name, or the pattern of the names that the controller makes", func(p *Pod) Text { return p.cluster.PodName }},
	{"metadata.namespace", "the namespace where a document or `--namespace` gives it, else any DNS label", (*Pod).namespaceText},
	{"metadata.uid", "any UUID", func(*Pod) Text { return Pattern(patternUID) }},
	{"spec.nodeName", "the node where the document gives it, else any DNS name", func(p *Pod) Text {
		if p.spec.NodeName != "" {
			return Literal(p.spec.NodeName)
		}
		return Pattern(patternDNS)
	}},
	{"spec.serviceAccountName", "the account, `default` where none is named", func(p *Pod) Text { return Literal(serviceAccount(&p.spec)) }},
	{"status.hostIP", "any IPv4 or IPv6 address", func(*Pod) Text { return Pattern(patternIP) }},
	{"status.hostIPs", "one or two such addresses", func(*Pod) Text { return Pattern(patternIPs) }},
	{"status.podIP", "any IPv4 or IPv6 address", func(*Pod) Text { return Pattern(patternIP) }},
	{"status.podIPs", "one or two such addresses", func(*Pod) Text { return Pattern(patternIPs) }},
}

// Runtimes lists the sources, for a document.
func Runtimes() []Runtime {
	var out []Runtime
	for _, s := range fieldSources {
		out = append(out, Runtime{Source: s.path, Meaning: s.meaning})
	}
	return append(out,
		Runtime{"metadata.labels['KEY']", "the template's label; a pattern for labels that Kubernetes sets; empty where there is none"},
		Runtime{"metadata.annotations['KEY']", "the template's annotation, empty where there is none"},
		Runtime{"resource: limits.cpu, limits.memory", "computed; any number where the container has no limit (the node's capacity)"},
		Runtime{"resource: requests.cpu, requests.memory", "computed; any number where the container has neither request nor limit"},
		Runtime{"resource: limits.ephemeral-storage, requests.ephemeral-storage", "as those above"},
	)
}

func (p *Pod) namespaceText() Text {
	if p.cluster.Namespace != "" {
		return Literal(p.cluster.Namespace)
	}
	return Pattern(patternLabel)
}

func (p *Pod) fieldRef(ref *corev1.ObjectFieldSelector) (Text, error) {
	if ref.APIVersion != "" && ref.APIVersion != "v1" {
		return Text{}, fmt.Errorf("apiVersion is %q, want v1", clip(ref.APIVersion))
	}
	for _, s := range fieldSources {
		if s.path == ref.FieldPath {
			return s.value(p), nil
		}
	}
	if key, ok := subscript(ref.FieldPath, "metadata.labels"); ok {
		if pattern, ok := controllerLabels[key]; ok {
			return Pattern(pattern), nil
		}
		return Literal(p.labels[key]), nil
	}
	if key, ok := subscript(ref.FieldPath, "metadata.annotations"); ok {
		if slices.Contains(p.cluster.Hidden, key) {
			return Text{}, fmt.Errorf("annotation %q holds the policy itself", clip(key))
		}
		if key == "batch.kubernetes.io/job-completion-index" && p.cluster.CompletionIndex {
			return Pattern(patternIndex), nil
		}
		return Literal(p.notes[key]), nil
	}
	return Text{}, fmt.Errorf("fieldPath %q is not known", clip(ref.FieldPath))
}

// subscript takes prefix['KEY'] apart.
func subscript(path, prefix string) (string, bool) {
	key, ok := strings.CutPrefix(path, prefix+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(key, "']")
}

// resourceRef is kubelet's arithmetic: the quantity by the divisor, rounded up.
func (p *Pod) resourceRef(own *corev1.Container, ref *corev1.ResourceFieldSelector) (Text, error) {
	if ref.ContainerName != "" && ref.ContainerName != own.Name {
		i := slices.IndexFunc(p.spec.Containers, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
		if i < 0 {
			return Text{}, fmt.Errorf("containerName %q: the pod has no such container", clip(ref.ContainerName))
		}
		own = &p.spec.Containers[i]
	}
	list, name, ok := strings.Cut(ref.Resource, ".")
	lists := map[string]corev1.ResourceList{"limits": own.Resources.Limits, "requests": own.Resources.Requests}
	resources, known := lists[list]
	if !ok || !known || !slices.Contains([]string{"cpu", "memory", "ephemeral-storage"}, name) {
		return Text{}, fmt.Errorf("resource %q is not known", clip(ref.Resource))
	}
	quantity, ok := resources[corev1.ResourceName(name)]
	if !ok && list == "requests" { // the API server copies a limit into a missing request
		quantity, ok = own.Resources.Limits[corev1.ResourceName(name)]
	}
	if !ok {
		return Pattern(patternNumber), nil
	}
	return divide(quantity, ref.Divisor, name == "cpu")
}

func divide(quantity, divisor resource.Quantity, milli bool) (Text, error) {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	a, b := quantity.Value(), divisor.Value()
	if milli {
		a, b = quantity.MilliValue(), divisor.MilliValue()
	}
	if a < 0 || b <= 0 {
		return Text{}, fmt.Errorf("%s divided by %s is not a number of units", quantity.String(), divisor.String())
	}
	return Literal(strconv.FormatInt(int64(math.Ceil(float64(a)/float64(b))), 10)), nil
}

func itoa(n int) string { return strconv.Itoa(n) }
