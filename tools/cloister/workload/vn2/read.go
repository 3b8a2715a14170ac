package vn2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/yamltree"
)

// Annotation is where a pod carries its policy.
const Annotation = "microsoft.containerinstance.virtualnode.ccepolicy"

// Read returns the pods of a file, one group each, in its order.
func Read(ctx context.Context, doc workload.Document) ([]workload.Group, error) {
	f, err := find(ctx, doc)
	if err != nil {
		return nil, err
	}
	var groups []workload.Group
	for _, p := range f.pods {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		groups = append(groups, f.group(p))
	}
	if err := f.reader.Err(); err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("%s: nothing in the file makes pods", doc.Name)
	}
	return groups, nil
}

// Insert returns the file with the policy (base64) as that of the numbered group, counted as Read counts them; no other byte
// changes.
func Insert(ctx context.Context, doc workload.Document, group int, policy string) ([]byte, error) {
	f, err := find(ctx, doc)
	if err != nil {
		return nil, err
	}
	if group < 0 || group >= len(f.pods) {
		return nil, fmt.Errorf("%s: got group %d, the file has %d", doc.Name, group, len(f.pods))
	}
	p := f.pods[group]
	out, err := f.file.Set(p.object, slices.Concat(p.template, []string{"metadata", "annotations", Annotation}), policy)
	if err != nil {
		return nil, fmt.Errorf("%s: write the policy into %s: %w", doc.Name, p.value.Path(), err)
	}
	return out, nil
}

// finding is what a file has.
type finding struct {
	reader *shape.Reader
	file   *yamltree.File
	pods   []foundPod
	data   map[dataName]map[string]datum // ConfigMaps and Secrets
}

type foundPod struct {
	object   *tree.Node // the document or the element of a list
	template []string   // the way from there to the pod's metadata and spec
	value    shape.Value
	name     string
	space    string
	claims   []shape.Value // volumes that a StatefulSet makes
}

// kinds are those that make pods, with the way to the pod.
var kinds = map[string]struct {
	spec     *shape.Spec
	template []string
}{
	"Pod":                   {&pod, nil},
	"Deployment":            {&controller, []string{"spec", "template"}},
	"StatefulSet":           {&controller, []string{"spec", "template"}},
	"DaemonSet":             {&controller, []string{"spec", "template"}},
	"ReplicaSet":            {&controller, []string{"spec", "template"}},
	"ReplicationController": {&controller, []string{"spec", "template"}},
	"Job":                   {&controller, []string{"spec", "template"}},
	"CronJob":               {&cronJob, []string{"spec", "jobTemplate", "spec", "template"}},
}

func find(ctx context.Context, doc workload.Document) (*finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := yamltree.Parse(doc.Data)
	if err != nil {
		var e *yamltree.Error
		if errors.As(err, &e) && e.Line > 0 {
			return nil, fmt.Errorf("%s:%d: %s", doc.Name, e.Line, e.Text)
		}
		return nil, fmt.Errorf("%s: %w", doc.Name, err)
	}
	f := &finding{reader: &shape.Reader{File: doc.Name}, file: file, data: map[dataName]map[string]datum{}}
	for i, n := range file.Documents {
		path := ""
		if len(file.Documents) > 1 {
			path = "document " + strconv.Itoa(i)
		}
		f.object(n, path)
	}
	return f, f.reader.Err()
}

func (f *finding) object(n *tree.Node, path string) {
	at := f.reader.Root(n, &list, path)
	kind := n.Member("kind")
	if n.Kind != tree.Object || kind == nil || kind.Kind != tree.String {
		at.Errorf("want an object of Kubernetes, with its kind")
		return
	}
	if n.Kind == tree.Object && strings.HasSuffix(kind.Text, "List") && n.Member("items") != nil {
		f.list(at)
		return
	}
	if k, ok := kinds[kind.Text]; ok {
		f.workload(f.reader.Root(n, k.spec, path), k.template)
		return
	}
	switch kind.Text {
	case "ConfigMap":
		f.configMap(f.reader.Root(n, &configMap, path))
	case "Secret":
		f.secret(f.reader.Root(n, &secret, path))
	default:
		if makesPods(n) {
			at.Errorf("kind %q makes pods and is not understood", cut(kind.Text))
		}
	}
}

// makesPods says whether an object looks like one that makes pods: that must not be passed over.
func makesPods(n *tree.Node) bool {
	for _, m := range n.Members {
		if (m.Name == "containers" && m.Value.Kind == tree.Array) || makesPods(m.Value) {
			return true
		}
	}
	return slices.ContainsFunc(n.Items, makesPods)
}

func (f *finding) list(at shape.Value) {
	items := at.Get("items")
	if !at.Check() || !items.Is() {
		return
	}
	if items.Node().Kind != tree.Array {
		items.Errorf("got %s, want an array", items.Node().Kind)
		return
	}
	for i, item := range items.Node().Items {
		f.object(item, items.Path()+"["+strconv.Itoa(i)+"]")
	}
}

func (f *finding) workload(at shape.Value, template []string) {
	if !at.Check() {
		return
	}
	p := foundPod{
		object: at.Node(), template: template, value: at,
		name: at.Get("metadata").Get("name").Known(), space: at.Get("metadata").Get("namespace").Known(),
	}
	for _, name := range template {
		if claims := p.value; name == "template" {
			p.claims = claimTemplates(claims.Get("volumeClaimTemplates"))
		}
		p.value = p.value.Get(name)
	}
	if !p.value.Is() || !p.value.Get("spec").Is() {
		p.value.Errorf("there is no pod in it")
		return
	}
	f.pods = append(f.pods, p)
}

// claimTemplates are a StatefulSet's, of which only the names count.
func claimTemplates(v shape.Value) []shape.Value {
	n := v.Node()
	if n == nil {
		return nil
	}
	if n.Kind != tree.Array {
		v.Errorf("got %s, want an array", n.Kind)
		return nil
	}
	var out []shape.Value
	for i, item := range n.Items {
		out = append(out, v.As(item, &claim, v.Path()+"["+strconv.Itoa(i)+"]"))
	}
	return out
}

var claim = shape.Object("volumeClaimTemplates", "a claim", metadata)

func (f *finding) group(p foundPod) workload.Group {
	meta, spec := p.value.Get("metadata"), p.value.Get("spec")
	g := workload.Group{Name: p.name, Platform: workload.VirtualNode, Labels: meta.Get("labels").Map(), Origin: p.value.Origin()}
	for _, a := range meta.Get("annotations").MapItems() {
		if t := a.Value.Text(); a.Name == Annotation && t != nil && t.Value != "" {
			g.Existing = t
		}
	}
	for _, name := range []string{"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} {
		if v := spec.Get(name); v.True() {
			v.Errorf("got true: a virtual node has no such pods")
		}
	}
	if v := spec.Get("os").Get("name"); v.Is() && v.Known() != "linux" {
		v.Errorf("got %q, want linux: policies of other systems are not made", cut(v.Known()))
	}
	r := podReader{finding: f, pod: p, sources: sources(spec.Get("volumes"), p.claims), security: spec.Get("securityContext")}
	for _, c := range spec.Get("containers").Items() {
		g.Containers = append(g.Containers, r.container(c, false))
	}
	for _, c := range spec.Get("initContainers").Items() {
		g.Containers = append(g.Containers, r.container(c, true))
	}
	if len(g.Containers) == 0 {
		spec.Errorf("the pod has no containers")
	}
	return g
}

// inPod says that a path of another kind is below its pod.
func inPod(path string) bool {
	return strings.Contains(path, "template.spec.") || strings.Contains(path, "template.metadata.") || strings.Contains(path, "jobTemplate.spec.") &&
		!strings.HasSuffix(path, "jobTemplate.spec.template")
}

func known(fields []workload.Field, path string) bool {
	return slices.ContainsFunc(fields, func(f workload.Field) bool { return f.Path == path })
}

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
