package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Options are what documents cannot say.
type Options struct {
	// Namespace is where documents go that name none, "" when it is not known.
	Namespace string
	// Seccomp has the SHA-256, in hex, of the profiles that the runtime sends; see pod.Cluster.
	Seccomp map[string]string
}

// File is a file of Kubernetes documents.
type File struct {
	Workloads []Workload // in the order of the file

	doc       workload.Document
	documents []document
}

// Workload is one object that starts pods.
type Workload struct {
	Kind, Name, Namespace string
	Pod                   *pod.Pod
	// Annotations are those of the template, as the file has them.
	Annotations map[string]string

	document int      // index in the file
	path     []string // from the document to the template; a number is an index
}

// String names the workload as kubectl does.
func (w *Workload) String() string { return strings.ToLower(w.Kind) + "/" + w.Name }

// entry is one object of a file, taken out of its List.
type entry struct {
	raw      []byte
	document int
	path     []string
	at       string // for errors: `document 2, items[1]`
	header
}

type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
}

// Read reads a file, and others that only give ConfigMaps, Secrets and service accounts to it.
func Read(doc workload.Document, others []workload.Document, o Options) (*File, error) {
	f := &File{doc: doc}
	var given surroundings
	entries, err := f.entries()
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		more, err := (&File{doc: other}).entries()
		if err != nil {
			return nil, err
		}
		if err := given.collect(other.Name, more, true); err != nil {
			return nil, err
		}
	}
	if err := given.collect(doc.Name, entries, false); err != nil {
		return nil, err
	}
	for _, e := range entries {
		k := e.kind()
		if k == nil {
			continue
		}
		w, err := e.workload(k, &given, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", doc.Name, e.at, err)
		}
		f.Workloads = append(f.Workloads, *w)
	}
	if len(f.Workloads) == 0 {
		return nil, fmt.Errorf("%s: nothing in it starts pods", doc.Name)
	}
	return f, nil
}

// entries lists the objects of the file.
func (f *File) entries() ([]entry, error) {
	documents, err := split(f.doc.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.doc.Name, err)
	}
	var out []entry
	for i := range documents {
		e := entry{document: i, at: fmt.Sprintf("document %d", i+1)}
		if err := documents[i].read(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.doc.Name, e.at, err)
		}
		e.raw = documents[i].json
		list, err := e.open()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.doc.Name, e.at, err)
		}
		out = append(out, list...)
	}
	f.documents = documents
	return out, nil
}

// list is the kind List of any objects.
type list struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ListMeta   `json:"metadata"`
	Items           []json.RawMessage `json:"items"`
}

// open returns the object, or those in it if it is a List.
func (e entry) open() ([]entry, error) {
	// Case counts: the API server would read another kind.
	if err := kjson.UnmarshalCaseSensitivePreserveInts(e.raw, &e.header); err != nil {
		return nil, errors.New("is not a Kubernetes object")
	}
	if e.APIVersion != "v1" || e.Kind != "List" {
		if e.APIVersion == "" || e.Kind == "" {
			return nil, errors.New("has no apiVersion and kind")
		}
		e.at += fmt.Sprintf(", %s %q", clip(e.Kind), clip(e.Metadata.Name))
		return []entry{e}, e.known()
	}
	l, err := decode[list](e.raw)
	if err != nil {
		return nil, err
	}
	var out []entry
	for i, raw := range l.Items {
		item := entry{
			raw: raw, document: e.document, path: []string{"items", fmt.Sprint(i)}, at: fmt.Sprintf("%s, items[%d]", e.at, i),
		}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &item.header); err != nil || item.Kind == "" || item.APIVersion == "" || item.Kind == "List" {
			return nil, fmt.Errorf("items[%d]: is not an object that a List may hold", i)
		}
		item.at += fmt.Sprintf(", %s %q", clip(item.Kind), clip(item.Metadata.Name))
		if err := item.known(); err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		out = append(out, item)
	}
	return out, nil
}

// kind is what the entry starts pods with, nil when it starts none.
func (e entry) kind() *kind {
	i := slices.IndexFunc(kinds, func(k *kind) bool { return k.apiVersion == e.APIVersion && k.name == e.Kind })
	if i < 0 {
		return nil
	}
	return kinds[i]
}

// known refuses kinds that might start pods unseen.
func (e entry) known() error {
	group, version, ok := strings.Cut(e.APIVersion, "/")
	if !ok {
		group, version = "", group
	}
	switch {
	case e.kind() != nil, slices.Contains(passed[group], e.Kind), group == "" && version == "v1" && slices.Contains(sources, e.Kind):
		return nil
	}
	if i := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == e.Kind }); i >= 0 {
		return fmt.Errorf("%s %s is not known, want apiVersion %s", clip(e.APIVersion), clip(e.Kind), kinds[i].apiVersion)
	}
	return fmt.Errorf("%s %s is not known: it may start pods, or change them", clip(e.APIVersion), clip(e.Kind))
}

// workload reads one object that starts pods.
func (e entry) workload(k *kind, given *surroundings, o Options) (*Workload, error) {
	object, err := k.read(e.raw, k)
	if err != nil {
		return nil, err
	}
	w := &Workload{
		Kind: e.Kind, Name: object.meta.Name, Namespace: object.meta.Namespace, Annotations: maps.Clone(object.template.Annotations),
		document: e.document, path: slices.Concat(e.path, k.path),
	}
	if w.Name == "" {
		w.Name = object.meta.GenerateName
	}
	if !objectName.MatchString(strings.TrimRight(w.Name, "-.")) {
		return nil, fmt.Errorf("metadata.name: %q is not a name", clip(w.Name))
	}
	if object.podName == (pod.Text{}) {
		return nil, errors.New("metadata: has neither name nor generateName")
	}
	switch {
	case o.Namespace == "":
	case w.Namespace == "":
		w.Namespace = o.Namespace
	case w.Namespace != o.Namespace:
		return nil, fmt.Errorf("metadata.namespace: got %q, want %q as the command line says", clip(w.Namespace), o.Namespace)
	}
	cluster, err := given.of(w.Namespace)
	if err != nil {
		return nil, err
	}
	cluster.PodName, cluster.Hostname, cluster.CompletionIndex = object.podName, object.host(), object.numbered
	cluster.Seccomp, cluster.Hidden = o.Seccomp, []string{PolicyAnnotation, InitdataAnnotation}
	at := ""
	if len(k.path) > 0 {
		at = strings.Join(k.path, ".") + "."
	}
	w.Pod, err = pod.FromTemplate(&object.template, at, cluster)
	return w, err
}

// host is the host name of the pods: the controller's word, the template's, the pod's name.
func (o *object) host() pod.Text {
	switch {
	case o.template.Spec.Hostname != "" && !o.forceHost:
		return pod.Literal(o.template.Spec.Hostname)
	case o.hostname != (pod.Text{}):
		return o.hostname
	}
	return o.podName
}

// sources are the kinds that pods take something from.
var sources = []string{"ConfigMap", "Secret", "ServiceAccount"}

// surroundings are what documents give to pods.
type surroundings struct {
	configMaps []corev1.ConfigMap
	secrets    []corev1.Secret
	accounts   []corev1.ServiceAccount

	configMapsAt, secretsAt []string // where each is, for errors
}

// collect takes the sources out of a file. A file that is given for them alone must not hold what would be overlooked.
func (s *surroundings) collect(file string, entries []entry, only bool) error {
	for _, e := range entries {
		err := s.take(file, e, only)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, e.at, err)
		}
	}
	return nil
}

func (s *surroundings) take(file string, e entry, only bool) error {
	switch {
	case e.APIVersion == "v1" && e.Kind == "ConfigMap":
		c, err := decode[corev1.ConfigMap](e.raw)
		if err != nil {
			return err
		}
		s.configMaps, s.configMapsAt = append(s.configMaps, *c), append(s.configMapsAt, file+": "+e.at)
	case e.APIVersion == "v1" && e.Kind == "Secret":
		c, err := decode[corev1.Secret](e.raw)
		if err != nil {
			return err
		}
		s.secrets, s.secretsAt = append(s.secrets, *c), append(s.secretsAt, file+": "+e.at)
	case e.APIVersion == "v1" && e.Kind == "ServiceAccount":
		a, err := decode[corev1.ServiceAccount](e.raw)
		if err != nil {
			return err
		}
		s.accounts = append(s.accounts, *a)
	case only:
		return errors.New("want only ConfigMaps, Secrets and ServiceAccounts")
	}
	return nil
}

// of is what a pod of one namespace finds. A document without a namespace goes wherever the others go.
func (s *surroundings) of(namespace string) (*pod.Cluster, error) {
	c := &pod.Cluster{
		Namespace: namespace, ConfigMaps: map[string]map[string]string{}, Secrets: map[string]map[string]string{}, Automount: map[string]bool{},
	}
	here := func(m metav1.ObjectMeta) bool {
		return m.Namespace == "" || namespace == "" || m.Namespace == namespace
	}
	first := map[string]string{} // where the object of that kind and name is
	for i, m := range s.configMaps {
		if _, twice := c.ConfigMaps[m.Name]; twice && here(m.ObjectMeta) {
			return nil, fmt.Errorf("the ConfigMap %q is there twice: in %s and in %s", clip(m.Name), first["ConfigMap/"+m.Name], s.configMapsAt[i])
		}
		if here(m.ObjectMeta) {
			first["ConfigMap/"+m.Name] = s.configMapsAt[i]
			c.ConfigMaps[m.Name] = m.Data
		}
	}
	for i, m := range s.secrets {
		if _, twice := c.Secrets[m.Name]; twice && here(m.ObjectMeta) {
			return nil, fmt.Errorf("the Secret %q is there twice: in %s and in %s", clip(m.Name), first["Secret/"+m.Name], s.secretsAt[i])
		}
		if here(m.ObjectMeta) {
			first["Secret/"+m.Name] = s.secretsAt[i]
			c.Secrets[m.Name] = secretData(m)
		}
	}
	for _, a := range s.accounts {
		if here(a.ObjectMeta) && a.AutomountServiceAccountToken != nil {
			c.Automount[a.Name] = *a.AutomountServiceAccountToken
		}
	}
	return c, nil
}

// secretData is what the API server makes of a Secret: stringData wins.
func secretData(s corev1.Secret) map[string]string {
	out := map[string]string{}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	maps.Copy(out, s.StringData)
	return out
}

// IsPod tells whether a file is one Pod and nothing else, which `cloister run` can start. A file that cannot be read is taken
// for one: who reads it next says what is wrong.
func IsPod(doc workload.Document) bool {
	entries, err := (&File{doc: doc}).entries()
	return err != nil || len(entries) == 1 && len(entries[0].path) == 0 && entries[0].Kind == "Pod"
}
