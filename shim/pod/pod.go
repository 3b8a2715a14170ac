package pod

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxDocument bounds the Pod document; the API server refuses larger ones.
const maxDocument = 3 << 20

// Pod is a Pod document that asks only for what this package carries into the VM.
type Pod struct {
	Name        string
	Namespace   string
	Hostname    string
	HostAliases []HostAlias
	Ports       []Port
	Sysctls     map[string]string

	cluster     *Cluster // nil for a pod that this package's launcher starts
	at          string   // where the template stands in its document
	spec        corev1.PodSpec
	labels      map[string]string
	notes       map[string]string // annotations
	annotations map[string]containerAnnotations
}

// HostAlias is one extra line of the pod's /etc/hosts.
type HostAlias struct {
	IP        string
	Hostnames []string
}

// Port is a port that one of the containers says it listens on.
type Port struct {
	Container     string
	Name          string
	Protocol      string
	ContainerPort int
	HostIP        string
	HostPort      int // 0 when the document asks for no forwarding
}

// RuntimeClass is the pod's, "" if it names none: a cluster runs such a pod without a VM.
func (p *Pod) RuntimeClass() string {
	if p.spec.RuntimeClassName == nil {
		return ""
	}
	return *p.spec.RuntimeClassName
}

// Load reads a Pod document from a file.
func Load(path string) (*Pod, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load pod: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("load pod %q: %w", path, err)
	}
	p, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("load pod %q: %w", path, err)
	}
	return p, nil
}

// Parse reads one Pod document. Unknown fields, repeated keys and known fields without a meaning here are errors that
// name the field.
func Parse(data []byte) (*Pod, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("document is larger than %d bytes", maxDocument)
	}
	if err := oneDocument(data); err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	var doc corev1.Pod
	strict, err := kjson.UnmarshalStrict(asJSON, &doc)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, errors.Join(strict...)
	}
	if doc.APIVersion != "v1" || doc.Kind != "Pod" {
		return nil, fmt.Errorf("document is %q %q, want \"v1\" \"Pod\"", doc.APIVersion, doc.Kind)
	}
	if err := Check(&doc, "", Fields(), false); err != nil {
		return nil, err
	}
	return newPod(&corev1.PodTemplateSpec{ObjectMeta: doc.ObjectMeta, Spec: doc.Spec}, "", nil)
}

// FromTemplate takes the pod template of a workload, or the parts of a Pod, for a cluster that will start it. at is where the
// template stands in its document: "" or a path that ends in a dot.
func FromTemplate(template *corev1.PodTemplateSpec, at string, cluster *Cluster) (*Pod, error) {
	if err := Check(template, at, Fields(), true); err != nil {
		return nil, err
	}
	return newPod(template, at, cluster)
}

// oneDocument refuses a stream of several documents: the YAML decoder would silently take the first.
func oneDocument(data []byte) error {
	content, ended := false, false
	for line := range bytes.Lines(data) {
		text := strings.TrimRight(string(line), " \t\r\n")
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case text == "---" || strings.HasPrefix(text, "--- ") || text == "...":
			ended = content
		case ended:
			return errors.New("more than one document")
		default:
			content = true
		}
	}
	if !content {
		return errors.New("empty document")
	}
	return nil
}

func newPod(doc *corev1.PodTemplateSpec, at string, cluster *Cluster) (*Pod, error) {
	p := &Pod{
		Name: doc.Name, Namespace: doc.Namespace, Hostname: doc.Spec.Hostname,
		spec: doc.Spec, labels: doc.Labels, notes: doc.Annotations, at: at, cluster: cluster,
	}
	if err := p.checkValues(); err != nil {
		return nil, err
	}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	if p.Hostname == "" && cluster == nil {
		p.Hostname = HostnameOf(doc.Name)
	}
	for _, a := range doc.Spec.HostAliases {
		p.HostAliases = append(p.HostAliases, HostAlias{IP: a.IP, Hostnames: a.Hostnames})
	}
	if sc := doc.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		p.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			p.Sysctls[s.Name] = s.Value
		}
	}
	for _, c := range doc.Spec.Containers {
		for _, port := range c.Ports {
			p.Ports = append(p.Ports, newPort(c.Name, port))
		}
	}
	var names []string
	for _, c := range p.containers() {
		names = append(names, c.spec.Name)
	}
	var err error
	if p.annotations, err = parseAnnotations(doc.Annotations, names); err != nil {
		return nil, fmt.Errorf("%s%w", at, err)
	}
	return p, nil
}

// located is a container of the document and where it stands.
type located struct {
	spec *corev1.Container
	at   string
}

// containers lists the init containers, in the order in which they start, then the others.
func (p *Pod) containers() []located {
	var out []located
	for i := range p.spec.InitContainers {
		out = append(out, located{&p.spec.InitContainers[i], fmt.Sprintf("%sspec.initContainers[%d]", p.at, i)})
	}
	for i := range p.spec.Containers {
		out = append(out, located{&p.spec.Containers[i], fmt.Sprintf("%sspec.containers[%d]", p.at, i)})
	}
	return out
}

func newPort(container string, port corev1.ContainerPort) Port {
	protocol := string(port.Protocol)
	if protocol == "" {
		protocol = "TCP"
	}
	return Port{
		Container: container, Name: port.Name, Protocol: protocol, ContainerPort: int(port.ContainerPort),
		HostIP: port.HostIP, HostPort: int(port.HostPort),
	}
}

// HostnameOf is kubelet's rule: the pod's name, cut to what a kernel host name may hold.
func HostnameOf(name string) string {
	if len(name) > 63 {
		name = name[:63]
	}
	return strings.TrimRight(name, "-.")
}

// ContainerNames lists the containers in the order of the document, without the init containers.
func (p *Pod) ContainerNames() []string {
	var names []string
	for _, c := range p.spec.Containers {
		names = append(names, c.Name)
	}
	return names
}

var envName = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)

// SetEnv gives an environment variable of one container another value than the document does, as a launcher does with a
// value that is only known at run time. The policy still has to allow the result.
func (p *Pod) SetEnv(container, name, value string) error {
	if !envName.MatchString(name) || strings.ContainsRune(value, 0) {
		return fmt.Errorf("set environment of %q: not a variable", container)
	}
	i := slices.Index(p.ContainerNames(), container)
	if i < 0 {
		return fmt.Errorf("set environment: the pod has no container %q", container)
	}
	// A dollar sign would be expanded like one of the document's own.
	value = strings.ReplaceAll(value, "$", "$$")
	env := p.spec.Containers[i].Env
	for j := range env {
		if env[j].Name == name {
			env[j].Value = value
			return nil
		}
	}
	p.spec.Containers[i].Env = append(env, corev1.EnvVar{Name: name, Value: value})
	return nil
}
