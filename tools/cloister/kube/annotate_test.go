package kube

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// annotate writes a value into every template of a file.
func annotate(t *testing.T, text, value string) (string, error) {
	t.Helper()
	file, err := Read(doc("test.yaml", text), nil, Options{})
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	carriers := map[*Workload]Carrier{}
	for i := range file.Workloads {
		carriers[&file.Workloads[i]] = Carrier{Key: PolicyAnnotation, Value: value}
	}
	out, err := file.Annotate(carriers)
	return string(out), err
}

const podSpec = "spec: {containers: [{name: a, image: a}]}\n"

// TestAnnotateForms: where the annotation goes, in each form that YAML has for the place; all else stays.
func TestAnnotateForms(t *testing.T) {
	const key = PolicyAnnotation
	head := "apiVersion: v1\nkind: Pod\n"
	cases := []struct{ name, text, want string }{
		{
			"no-annotations", head + "metadata:\n  # first\n  name: a # the name\n" + podSpec,
			head + "metadata:\n  annotations:\n    " + key + ": \"V\"\n  # first\n  name: a # the name\n" + podSpec,
		},
		{
			"some-annotations", head + "metadata:\n    name: a\n    annotations: # ours\n        # about b\n        b: c\n" + podSpec,
			head + "metadata:\n    name: a\n    annotations: # ours\n        " + key + ": \"V\"\n        # about b\n        b: c\n" + podSpec,
		},
		{
			"empty-annotations", head + "metadata:\n  name: a\n  annotations:\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations:\n    " + key + ": \"V\"\n" + podSpec,
		},
		{
			"empty-braces", head + "metadata:\n  name: a\n  annotations: {}\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations: {\"" + key + "\": \"V\"}\n" + podSpec,
		},
		{
			"null", head + "metadata:\n  name: a\n  annotations: null # nothing\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations: {\"" + key + "\": \"V\"} # nothing\n" + podSpec,
		},
		{
			"braces", head + "metadata: {name: a, annotations: {b: c}}\n" + podSpec,
			head + "metadata: {name: a, annotations: {\"" + key + "\": \"V\", b: c}}\n" + podSpec,
		},
		{
			"metadata-in-braces", head + "metadata: {name: a}\n" + podSpec,
			head + "metadata: {\"annotations\": {\"" + key + "\": \"V\"}, name: a}\n" + podSpec,
		},
		{
			"replace-plain", head + "metadata:\n  name: a\n  annotations:\n    " + key + ": b2xk # old\n    b: c\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations:\n    " + key + ": \"V\" # old\n    b: c\n" + podSpec,
		},
		{
			"replace-single-quoted", head + "metadata:\n  name: a\n  annotations: {" + key + ": 'it''s', b: c}\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations: {" + key + ": \"V\", b: c}\n" + podSpec,
		},
		{
			"replace-double-quoted", head + "metadata:\n  name: a\n  annotations:\n    \"" + key + "\": \"a\\\"b\"\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations:\n    \"" + key + "\": \"V\"\n" + podSpec,
		},
		{
			"replace-literal", head + "metadata:\n  name: a\n  annotations:\n    " + key + ": |-\n      b2xk\n\n      b2xk\n\n    # about b\n    b: c\n" + podSpec,
			head + "metadata:\n  name: a\n  annotations:\n    " + key + ": \"V\"\n\n    # about b\n    b: c\n" + podSpec,
		},
		{
			"crlf", strings.ReplaceAll(head+"metadata:\n  name: a\n"+podSpec, "\n", "\r\n"),
			strings.ReplaceAll(head+"metadata:\n  annotations:\n    "+key+": \"V\"\n  name: a\n"+podSpec, "\n", "\r\n"),
		},
		{
			"json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"a"}]}}`,
			`{"apiVersion":"v1","kind":"Pod","metadata":{"annotations": {"` + key + `": "V"}, "name":"a"},"spec":{"containers":[{"name":"a","image":"a"}]}}`,
		},
		{
			"characters-before", head + "metadata: {name: a, labels: {é: ü}, annotations: {ö: \"ß\"}}\n" + podSpec,
			head + "metadata: {name: a, labels: {é: ü}, annotations: {\"" + key + "\": \"V\", ö: \"ß\"}}\n" + podSpec,
		},
		{
			"last-line-open", head + podSpec + "metadata:\n  name: a\n  annotations:",
			head + podSpec + "metadata:\n  name: a\n  annotations:\n    " + key + ": \"V\"",
		},
		{
			"template-without-metadata", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      containers:\n      - {name: a, image: a}\n",
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    metadata:\n      annotations:\n        " + key + ": \"V\"\n    spec:\n      containers:\n      - {name: a, image: a}\n",
		},
		{
			"list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n  " + podSpec + "- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  " + podSpec,
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    annotations:\n      " + key + ": \"V\"\n    name: a\n  " + podSpec +
				"- apiVersion: v1\n  kind: Pod\n  metadata: {\"annotations\": {\"" + key + "\": \"V\"}, name: b}\n  " + podSpec,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := annotate(t, c.text, "V")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(got, "\n"), strings.Split(c.want, "\n")); diff != "" {
				t.Errorf("file (-got +want):\n%s", diff)
			}
			again, err := annotate(t, got, "V")
			if err != nil || again != got {
				t.Errorf("the second time it became\n%s\n%v", again, err)
			}
		})
	}
}

// TestAnnotateRefuses: where one text stands for several places, nothing is written.
func TestAnnotateRefuses(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{
			"alias", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: &same {b: c}\n  annotations: *same\n" + podSpec, "an alias",
		},
		{
			"anchor", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: &same\n    b: c\n  labels: *same\n" + podSpec, "without changing something else",
		},
		{
			"merge-key", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: &m\n    name: a\n    annotations: {b: c}\n  " + podSpec +
				"- apiVersion: v1\n  kind: Pod\n  metadata:\n    <<: *m\n  " + podSpec, "already set in map",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := annotate(t, c.text, "V")
			if err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
				t.Errorf("got %v and\n%s\nwant %q", err, got, c.want)
			}
		})
	}
}

// TestAnnotateEverything writes both carriers into every kind and reads them back.
func TestAnnotateEverything(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "everything.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"", "sha256", "sha384", "sha512"} {
		t.Run("carrier-"+algorithm, func(t *testing.T) {
			file := readEverything(t)
			carriers := map[*Workload]Carrier{}
			for i := range file.Workloads {
				w := &file.Workloads[i]
				if algorithm == "" {
					carriers[w], err = PolicyCarrier(w, policyOf(t, w))
				} else {
					carriers[w], err = InitdataCarrier(w, policyOf(t, w), algorithm)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			changed, err := file.Annotate(carriers)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Read(workload.Document{Name: "changed", Data: changed}, nil, testOptions)
			if err != nil {
				t.Fatal(err)
			}
			for i := range again.Workloads {
				checkCarrier(t, &again.Workloads[i], policyOf(t, &file.Workloads[i]), carriers[&file.Workloads[i]], algorithm)
				if !bytes.Equal(policyOf(t, &again.Workloads[i]), policyOf(t, &file.Workloads[i])) {
					t.Errorf("%s: the annotation changed the policy", &again.Workloads[i])
				}
			}
			if left := withoutAnnotations(string(changed), carriers); left != string(text) {
				t.Errorf("more than the annotations changed:\n%s", cmp.Diff(strings.Split(left, "\n"), strings.Split(string(text), "\n")))
			}
		})
	}
}

// withoutAnnotations takes the new text out again.
func withoutAnnotations(changed string, carriers map[*Workload]Carrier) string {
	for _, c := range carriers {
		inFlow := `"` + c.Key + `": "` + c.Value + `"`
		for _, text := range []string{`"annotations": {` + inFlow + `}, `, inFlow + ", "} {
			changed = strings.ReplaceAll(changed, text, "")
		}
	}
	var out []string
	for line := range strings.Lines(changed) {
		own := strings.HasPrefix(strings.TrimSpace(line), "io.katacontainers.")
		if own && strings.TrimSpace(out[len(out)-1]) == "annotations:" {
			if out = out[:len(out)-1]; strings.TrimSpace(out[len(out)-1]) == "metadata:" {
				out = out[:len(out)-1]
			}
		}
		if !own {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func checkCarrier(t *testing.T, w *Workload, policy []byte, c Carrier, algorithm string) {
	t.Helper()
	value := w.Annotations[c.Key]
	if algorithm == "" {
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil || !bytes.Equal(text, policy) || c.HostData != sha256.Sum256(policy) {
			t.Errorf("%s: the annotation is not the policy (%v)", w, err)
		}
		return
	}
	packed, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	// A shim puts the packed document on a disk as it is; the agent reads that.
	var disk bytes.Buffer
	disk.WriteString("initdata")
	length := make([]byte, 8)
	for i := range length {
		length[i] = byte(len(packed) >> (8 * i))
	}
	disk.Write(append(length, packed...))
	document, err := initdata.Read(bytes.NewReader(disk.Bytes()), int64(disk.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if document.Algorithm != algorithm || document.Data[initdata.PolicyKey] != string(policy) || document.HostData() != c.HostData {
		t.Errorf("%s: the agent reads another document", w)
	}
}

// TestInitdataKeepsOtherEntries: what else the document holds stays, and its algorithm.
func TestInitdataKeepsOtherEntries(t *testing.T) {
	w := &Workload{Kind: "Pod", Name: "a"}
	first, err := initdata.Build("sha512", map[string]string{"aa.toml": "x = 1\n", initdata.PolicyKey: "package old\n"})
	if err != nil {
		t.Fatal(err)
	}
	w.Annotations = map[string]string{InitdataAnnotation: packed(t, first.Raw)}
	c, err := InitdataCarrier(w, []byte("package policy\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadInitdata(c.Value)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"aa.toml": "x = 1\n", initdata.PolicyKey: "package policy\n"}
	if diff := cmp.Diff(got.Data, want); diff != "" || got.Algorithm != "sha512" {
		t.Errorf("algorithm %s, entries (-got +want):\n%s", got.Algorithm, diff)
	}
}

func packed(t *testing.T, raw []byte) string {
	t.Helper()
	var disk bytes.Buffer
	if err := initdata.WriteDisk(&disk, raw); err != nil {
		t.Fatal(err)
	}
	length := int(disk.Bytes()[8]) | int(disk.Bytes()[9])<<8
	return base64.StdEncoding.EncodeToString(disk.Bytes()[16 : 16+length])
}

func TestCarriersRefuse(t *testing.T) {
	with := func(key, value string) *Workload {
		return &Workload{Kind: "Pod", Name: "a", Annotations: map[string]string{key: value}}
	}
	incompressible := make([]byte, 200<<10)
	for i, sum := 0, sha256.Sum256(nil); i < len(incompressible); i += len(sum) {
		copy(incompressible[i:], sum[:])
		sum = sha256.Sum256(sum[:])
	}
	policy := []byte(base64.StdEncoding.EncodeToString(incompressible))
	cases := []struct {
		name string
		make func() (Carrier, error)
		want string
	}{
		{"initdata-there", func() (Carrier, error) { return PolicyCarrier(with(InitdataAnnotation, "x"), nil) }, "already"},
		{"policy-there", func() (Carrier, error) { return InitdataCarrier(with(PolicyAnnotation, "x"), nil, "") }, "already"},
		{"initdata-broken", func() (Carrier, error) { return InitdataCarrier(with(InitdataAnnotation, "!"), nil, "") }, "illegal base64"},
		{"algorithm", func() (Carrier, error) { return InitdataCarrier(with("a", "b"), nil, "md5") }, "want sha256"},
		{"policy-too-large", func() (Carrier, error) { return PolicyCarrier(with("a", "b"), policy) }, "want at most 262144 (initdata is packed)"},
		{"initdata-too-large", func() (Carrier, error) { return InitdataCarrier(with("a", "b"), policy, "") }, "want at most 262144"},
		{"together-too-large", func() (Carrier, error) {
			return PolicyCarrier(with("a", strings.Repeat("x", maxAnnotations)), []byte("p"))
		}, "want at most 262144"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.make(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// FuzzAnnotate: whatever file can be read, an annotation is written into it as the check wants it, or not at all.
func FuzzAnnotate(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "everything.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, part := range bytes.Split(text, []byte("---\n")) {
		f.Add(part)
	}
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: &x\n    " + PolicyAnnotation + ": >\n      b\n  labels: *x\n" + podSpec))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(workload.Document{Name: "fuzz", Data: data}, nil, testOptions)
		if err != nil {
			return
		}
		carriers := map[*Workload]Carrier{}
		for i := range file.Workloads {
			carriers[&file.Workloads[i]] = Carrier{Key: PolicyAnnotation, Value: "Zg=="}
		}
		changed, err := file.Annotate(carriers)
		if err != nil {
			return
		}
		again, err := Read(workload.Document{Name: "fuzz", Data: changed}, nil, testOptions)
		if err != nil {
			t.Fatalf("%v in\n%s", err, changed)
		}
		if len(again.Workloads) != len(file.Workloads) {
			t.Fatalf("got %d workloads, want %d", len(again.Workloads), len(file.Workloads))
		}
		for i := range again.Workloads {
			want := map[string]string{PolicyAnnotation: "Zg=="}
			for k, v := range file.Workloads[i].Annotations {
				if k != PolicyAnnotation {
					want[k] = v
				}
			}
			a, _ := json.Marshal(again.Workloads[i].Annotations)
			b, _ := json.Marshal(want)
			if !bytes.Equal(a, b) {
				t.Errorf("got annotations %s, want %s", a, b)
			}
		}
	})
}
