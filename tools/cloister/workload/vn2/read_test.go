package vn2

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

var update = flag.Bool("update", false, "write the golden files anew")

func file(t testing.TB, name string) workload.Document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return workload.Document{Name: name, Data: data}
}

func TestReadGolden(t *testing.T) {
	groups, err := Read(t.Context(), file(t, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(groups, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", "shop.golden.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// pod is a pod with one container; rest is more of the container, spec more of the pod.
func podText(rest, spec string) string {
	text := "kind: Pod\nmetadata: {name: p}\nspec:\n"
	if spec != "" {
		text += "  " + spec + "\n"
	}
	text += "  containers:\n  - name: c\n    image: i\n"
	if rest != "" {
		text += "    " + rest + "\n"
	}
	return text
}

func read(t *testing.T, text string) ([]workload.Group, error) {
	t.Helper()
	return Read(t.Context(), workload.Document{Name: "p.yaml", Data: []byte(text)})
}

func TestReadRefuses(t *testing.T) {
	const settings = "---\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b}\nbinaryData: {x: /w==}\n"
	for _, test := range []struct{ name, text, want string }{
		{"not-yaml", "a: b: c", "p.yaml: mapping values are not allowed"},
		{"nothing", "kind: Service\n", "nothing in the file makes pods"},
		{"no-kind", "a: 1\n", "want an object of Kubernetes, with its kind"},
		{"unknown-kind", "kind: Rollout\nspec: {template: {spec: {containers: []}}}\n", `kind "Rollout" makes pods and is not understood`},
		{"unknown-member", podText("comand: []", ""), "p.yaml:7: spec.containers[0].comand: not understood; what is understood here: args, command"},
		{"case", podText("Command: []", ""), "spec.containers[0].Command: not understood"},
		{"kind-of-value", podText("env: [{name: A, value: 1}]", ""), "spec.containers[0].env[0].value: got a number (1), want a string"},
		{"word-value", podText("env: [{name: A, value: yes}]", ""), "got a boolean (true), want a string"},
		{"no-containers", "kind: Pod\nspec: {containers: []}\n", "the pod has no containers"},
		{"no-pod", "kind: Deployment\nspec: {template: {metadata: {}}}\n", "there is no pod in it"},
		{"no-image", "kind: Pod\nspec: {containers: [{name: c}]}\n", "the container has no image"},
		{"host-network", podText("", "hostNetwork: true"), "spec.hostNetwork: got true: a virtual node has no such pods"},
		{"windows", podText("", "os: {name: windows}"), `got "windows", want linux`},
		{"host-path", podText("", "volumes: [{name: v, hostPath: {path: /}}]"), "spec.volumes[0].hostPath: refused: a virtual node has no files of its own"},
		{"volume-kind", podText("", "volumes: [{name: v, rbd: {}}]"), "spec.volumes[0].rbd: not understood"},
		{"volume-none", podText("", "volumes: [{name: v}]"), `volume "v" has no kind`},
		{"volume-two", podText("", "volumes: [{name: v, emptyDir: {}, secret: {}}]"), "the volume has two kinds"},
		{"volume-twice", podText("", "volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}]"), `volume "v" is there twice`},
		{"driver", podText("", "volumes: [{name: v, csi: {driver: disk.csi.azure.com}}]"), `got driver "disk.csi.azure.com"`},
		{"no-volume", podText("volumeMounts: [{name: v, mountPath: /v}]", ""), `no volume "v" in the pod`},
		{"relative", podText("volumeMounts: [{name: v, mountPath: v}]", "volumes: [{name: v, emptyDir: {}}]"), "want an absolute path"},
		{"propagation", podText("volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]", "volumes: [{name: v, emptyDir: {}}]"), `got "Bidirectional"`},
		{"device", podText("volumeDevices: []", ""), "refused: policies have no block devices"},
		{"seccomp", podText("securityContext: {seccompProfile: {type: Localhost}}", ""), `got "Localhost", want RuntimeDefault or Unconfined`},
		{"pod-seccomp", podText("", "securityContext: {seccompProfile: {type: Localhost}}"), `got "Localhost"`},
		{"proc-mount", podText("securityContext: {procMount: Unmasked}", ""), `got "Unmasked", want Default`},
		{"message-path", podText("terminationMessagePath: /x", ""), `got "/x", want /dev/termination-log`},
		{"env-name", podText("env: [{name: A=B, value: x}]", ""), "a name without '='"},
		{"env-two", podText("env: [{name: A, value: x, valueFrom: {fieldRef: {}}}]", ""), "value and valueFrom"},
		{"env-from-none", podText("env: [{name: A, valueFrom: {}}]", ""), "want one of configMapKeyRef"},
		{"env-from-absent", podText("envFrom: [{configMapRef: {name: m}}]", ""), `ConfigMap "m" is not in the file: the names of its variables cannot be known`},
		{"env-from-nothing", podText("envFrom: [{prefix: A}]", ""), "want configMapRef or secretRef"},
		{"key", podText("env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: b}}}]", "") + settings, `ConfigMap "m" has no text with key "b"`},
		{"binary-key", podText("env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: x}}}]", "") + settings, `ConfigMap "m" has no text with key "x"`},
		{"other-namespace", podText("envFrom: [{configMapRef: {name: m}}]", "") + strings.Replace(settings, "{name: m}", "{name: m, namespace: other}", 1), "is not in the file"},
		{"twice", podText("", "") + settings + settings, `ConfigMap "m" is there twice`},
		{"base64", podText("", "") + "---\nkind: Secret\nmetadata: {name: s}\ndata: {a: '*'}\n", "want base64"},
		{"probe", podText("livenessProbe: {exec: {command: [$(A_SERVICE_HOST)]}}", ""), "the words are known in the cluster only"},
		{"list", "kind: List\nitems: {}\n", "items: got an object, want an array"},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups, err := read(t, test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) || groups != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	get := func(name string) (workload.Text, bool) {
		v, ok := map[string]workload.Text{"A": {Value: "a"}, "W": {Value: ".*", Wildcard: true}, "D": {Value: "$(A)"}}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"": "", "x": "x", "$(A)b$(A)": "aba", "$$(A)": "$(A)", "$$$(A)": "$a", "$(B)": "$(B)", "$(A": "$(A", "$": "$", "a$": "a$", "$A": "$A", "$(D)": "$(A)",
		"x$(W)": "wildcard", "$(X_PORT_80_TCP)": "wildcard", "$(x_SERVICE_HOST)": "$(x_SERVICE_HOST)",
	} {
		got := expand(workload.Text{Value: in}, get)
		if got.Wildcard {
			got.Value = "wildcard"
		}
		if got.Value != want {
			t.Errorf("%q: got %q, want %q", in, got.Value, want)
		}
	}
}

// TestReadMarksSecrets: what is made of a Secret's value is secret, in variables and commands.
func TestReadMarksSecrets(t *testing.T) {
	groups, err := read(t, podText(`command: [/bin/app, $(PW), -u=$(USER), "$$(PW)", $(ALL_k), $(THERE)]
    args: [$(BOTH)]
    envFrom: [{prefix: ALL_, secretRef: {name: s}}]
    env:
    - {name: PW, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: USER, value: admin}
    - {name: BOTH, value: "$(USER):$(PW)"}
    - {name: PLAIN, value: "$$(PW)"}
    - {name: THERE, value: "here"}
    - {name: ELSEWHERE, valueFrom: {secretKeyRef: {name: other, key: k}}}
    - {name: WITH, value: "x$(ELSEWHERE)"}
    livenessProbe: {exec: {command: [/bin/live, $(USER)]}}`, "")+"---\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hunter2}\n")
	if err != nil {
		t.Fatal(err)
	}
	c := groups[0].Containers[0]
	for i, want := range []workload.Text{
		{Value: "/bin/app"}, {Value: "hunter2", Secret: true}, {Value: "-u=admin"}, {Value: "$(PW)"}, {Value: "hunter2", Secret: true}, {Value: "here"}, {Value: "admin:hunter2", Secret: true},
	} {
		if got := slices.Concat(c.Entrypoint, c.Args)[i]; got.Value != want.Value || got.Secret != want.Secret {
			t.Errorf("word %d: got %+v, want %+v", i, got, want)
		}
	}
	secret := []string{"ALL_k", "PW", "BOTH", "ELSEWHERE", "WITH"}
	for _, e := range c.Env {
		if want := slices.Contains(secret, e.Name); e.Secret != want || e.Value.Secret != want {
			t.Errorf("variable: got %+v, want secret %t", e, want)
		}
	}
	if c.Exec[0].Secret {
		t.Errorf("probe: got %+v, want nothing secret", c.Exec[0])
	}
}

const policy = "bmV3IHBvbGljeQ=="

// checkInsert writes a policy into each group: nothing else in what is read may change.
func checkInsert(t *testing.T, doc workload.Document, groups []workload.Group) {
	for i := range groups {
		out, err := Insert(t.Context(), doc, i, policy)
		if err != nil {
			if out != nil {
				t.Fatal("an error came with a file")
			}
			continue
		}
		next := workload.Document{Name: doc.Name, Data: out}
		got, err := Read(t.Context(), next)
		if err != nil {
			t.Fatalf("what Insert wrote is not read: %v\n%s", err, out)
		}
		want := slices.Clone(groups)
		want[i].Existing = &workload.Text{Value: policy}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(workload.Origin{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("group %d (-want +got):\n%s", i, diff)
		}
		again, err := Insert(t.Context(), next, i, policy)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("a second time: %v\n%s", err, again)
		}
	}
}

func TestInsert(t *testing.T) {
	doc := file(t, "shop.yaml")
	groups, err := Read(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	checkInsert(t, doc, groups)
	for i, edit := range []struct{ old, new string }{
		{"ccepolicy: cGFja2FnZSBwb2xpY3k= #", `ccepolicy: "` + policy + `" #`},
		{"      template:\n        spec:\n          restartPolicy", "      template:\n        metadata:\n          annotations:\n            " + Annotation + ": \"" + policy + "\"\n        spec:\n          restartPolicy"},
		{"      name: one\n", "      annotations:\n        " + Annotation + ": \"" + policy + "\"\n      name: one\n"},
		{"annotations: {}", "annotations: {\"" + Annotation + "\": \"" + policy + "\"}"},
	} {
		out, err := Insert(t.Context(), doc, i, policy)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Replace(string(doc.Data), edit.old, edit.new, 1), string(out)); diff != "" {
			t.Errorf("group %d (-want +got):\n%s", i, diff)
		}
	}
	if _, err := Insert(t.Context(), doc, 4, policy); err == nil || !strings.Contains(err.Error(), "got group 4, the file has 4") {
		t.Errorf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(f, "shop.yaml").Data)
	f.Add([]byte(podText("env: [{name: A, value: $(B)}]", "hostNetwork: false")))
	f.Add([]byte("{\"kind\": \"Pod\", \"spec\": {\"containers\": [{\"image\": \"i\"}]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc := workload.Document{Name: "p.yaml", Data: data}
		groups, err := Read(t.Context(), doc)
		if err != nil {
			if groups != nil {
				t.Fatal("an error came with groups")
			}
			return
		}
		if len(groups) < 10 {
			checkInsert(t, doc, groups)
		}
	})
}
