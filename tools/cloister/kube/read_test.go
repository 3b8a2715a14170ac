package kube

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

const (
	deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: app\n"
	cronJob    = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  schedule: x\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers: [{name: a, image: app, args: [$(POD)], env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]\n"
)

// TestRefusals: each thing that is not understood is an error that says where it stands.
func TestRefusals(t *testing.T) {
	const at = `spec.template.spec.containers[0]`
	cases := []struct{ name, text, want string }{
		{"empty", "# nothing\n---\n...\n", "nothing in it starts pods"},
		{"no-kind", "a: b\n", "document 1: has no apiVersion and kind"},
		{"scalar", "hello\n", "document 1: is not a Kubernetes object"},
		{"null", "null\n", "document 1: has no apiVersion and kind"},
		{"unknown-kind", deployment + "---\napiVersion: example.com/v1\nkind: Website\n", `document 2: example.com/v1 Website is not known`},
		{"webhooks-change-pods", deployment + "---\napiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n", "is not known: it may start pods, or change them"},
		{"old-version", strings.Replace(deployment, "apps/v1", "extensions/v1beta1", 1), "extensions/v1beta1 Deployment is not known, want apiVersion apps/v1"},
		{"kind-by-other-case", strings.Replace(deployment, "kind: Deployment", "kind: Service\nKind: Deployment", 1), "Service is not known"},
		{"list-in-list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n", "items[0]: is not an object that a List may hold"},
		{"unknown-in-list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: x/v1, kind: Thing}]\n", "items[0]: x/v1 Thing is not known"},
		{"unknown-field", deployment + "        comand: [x]\n", `unknown field "spec.template.spec.containers[0].comand"`},
		{"unknown-field-of-kind", strings.Replace(deployment, "spec:\n", "spec:\n  replica: 1\n", 1), `unknown field "spec.replica"`},
		{"repeated-key", deployment + "        image: evil\n", `key "image" already set in map`},
		{"claim-templates", strings.ReplaceAll(strings.Replace(deployment, "spec:\n", "spec:\n  volumeClaimTemplates: [{metadata: {name: x}}]\n", 1), "Deployment", "StatefulSet"), "spec.volumeClaimTemplates (the bytes are the host's"},
		{"host-path", deployment + "      volumes: [{name: v, hostPath: {path: /etc}}]\n", "spec.template.spec.volumes[0].hostPath (a directory of the node"},
		{"claim", deployment + "      volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]\n", "spec.template.spec.volumes[0].persistentVolumeClaim (the bytes are the host's"},
		{"host-network", deployment + "      hostNetwork: true\n", "not supported: spec.template.spec.hostNetwork"},
		{"cron-job-path", strings.Replace(cronJob, "            args", "args", 1), "spec.jobTemplate.spec.template.spec.containers[0].args[0]: refers to a variable whose value is known at run time only"},
		{"ephemeral-containers", deployment + "      ephemeralContainers: [{name: x, image: y}]\n", "spec.template.spec.ephemeralContainers"},
		{"windows", deployment + "      os: {name: windows}\n", `spec.template.spec.os.name "windows"`},
		{"host-users", deployment + "      hostUsers: false\n", "spec.template.spec.hostUsers"},
		{"devices", deployment + "        volumeDevices: [{name: v, devicePath: /dev/x}]\n", at + ".volumeDevices (the guest takes no devices"},
		{"gpu", deployment + "        resources: {limits: {nvidia.com/gpu: 1}}\n", at + `.resources: "nvidia.com/gpu"`},
		{"config-map-missing", deployment + "        envFrom: [{configMapRef: {name: x}}]\n", at + `.envFrom[0]: ConfigMap "x" is in none of the documents`},
		{"secret-missing", deployment + "        env: [{name: A, valueFrom: {secretKeyRef: {name: x, key: k}}}]\n", at + `.env[0]: valueFrom.secretKeyRef: Secret "x" is in none`},
		{"key-missing", deployment + "        env: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: k}}}]\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", `ConfigMap "x" has no key "k"`},
		{"other-namespace", strings.Replace(deployment, "{name: web}", "{name: web, namespace: a}", 1) + "        envFrom: [{configMapRef: {name: x}}]\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: b}\n", `ConfigMap "x" is in none`},
		{"config-map-twice", deployment + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", `the ConfigMap "x" is there twice: in test.yaml: document 2, ConfigMap "x" and in test.yaml: document 3, ConfigMap "x"`},
		{"field-path", deployment + "        env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]\n", at + `.env[0]: valueFrom.fieldRef: fieldPath "status.phase" is not known`},
		{"policy-in-env", deployment + "        env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['" + PolicyAnnotation + "']\"}}}]\n", "holds the policy itself"},
		{"file-key", deployment + "        env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}]\n", at + ".env[0].valueFrom.fileKeyRef"},
		{"resource", deployment + "        env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.pods}}}]\n", `resource "limits.pods" is not known`},
		{"resource-container", deployment + "        env: [{name: A, valueFrom: {resourceFieldRef: {containerName: x, resource: limits.cpu}}}]\n", "the pod has no such container"},
		{"service-in-argument", deployment + "        args: [$(REDIS_SERVICE_HOST)]\n", at + ".args[0]: refers to $(REDIS_SERVICE_HOST), which the cluster may set"},
		{"kubernetes-in-argument", deployment + "        args: [$(KUBERNETES_SERVICE_HOST)]\n      enableServiceLinks: false\n", "refers to $(KUBERNETES_SERVICE_HOST), which the cluster may set"},
		{"empty-dir-sub-path", deployment + "        volumeMounts: [{name: v, mountPath: /v, subPath: x}]\n      volumes: [{name: v, emptyDir: {}}]\n", at + ".volumeMounts[0].subPath"},
		{"mount-name", deployment + "        volumeMounts: [{name: v, mountPath: \"/a b\"}]\n      volumes: [{name: v, configMap: {name: x}}]\n", at + ".volumeMounts[0].mountPath: the last component"},
		{"propagation", deployment + "        volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]\n      volumes: [{name: v, emptyDir: {}}]\n", at + `.volumeMounts[0].mountPropagation "Bidirectional"`},
		{"seccomp", deployment + "        securityContext: {seccompProfile: {type: RuntimeDefault}}\n", at + `.securityContext.seccompProfile: the profile "RuntimeDefault" is the node's`},
		{"seccomp-local", deployment + "      securityContext: {seccompProfile: {type: Localhost, localhostProfile: a.json}}\n", `spec.template.spec.securityContext.seccompProfile: the profile "a.json" is the node's`},
		{"app-armor", deployment + "        securityContext: {appArmorProfile: {type: Localhost, localhostProfile: x}}\n", at + ".securityContext.appArmorProfile.localhostProfile"},
		{"selinux", deployment + "        securityContext: {seLinuxOptions: {level: s0}}\n", at + ".securityContext.seLinuxOptions (the guest kernel has no SELinux)"},
		{"proc-mount", deployment + "        securityContext: {procMount: Unmasked}\n", at + `.securityContext.procMount "Unmasked"`},
		{"sysctl", deployment + "      securityContext: {sysctls: [{name: kernel.msgmax, value: \"1\"}]}\n", `spec.template.spec.securityContext.sysctls[0] "kernel.msgmax"`},
		{"fs-group", deployment + "      securityContext: {fsGroup: -1}\n", "spec.template.spec.securityContext.fsGroup: -1 is not an id"},
		{"groups-policy", deployment + "      securityContext: {supplementalGroupsPolicy: None}\n", `supplementalGroupsPolicy "None"`},
		{"root", deployment + "      securityContext: {runAsNonRoot: true}\n", "runAsNonRoot is set, and the user is root"},
		{"init-name-twice", deployment + "      initContainers: [{name: web, image: app}]\n", `spec.template.spec.containers[0].name: "web" is not a container name or not the only one`},
		{"cloister-annotation", strings.Replace(deployment, "    spec:\n", "    metadata: {annotations: {io.cloister.exec/none: '[]'}}\n    spec:\n", 1), `spec.template.metadata.annotations["io.cloister.exec/none"]: the pod has no container "none"`},
		{"bad-name", strings.Replace(deployment, "name: web", "name: ../web", 1), `metadata.name: "../web" is not a name`},
		{"no-name", strings.Replace(deployment, "{name: web}", "{}", 1), "metadata.name"},
		{"long-cron-job", strings.Replace(cronJob, "nightly", strings.Repeat("n", 50), 1), "is so long that the names of pods are cut"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := generate(t.Context(), c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "test.yaml: ") && !strings.HasPrefix(err.Error(), "container ") {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// generate reads a file and resolves its pods.
func generate(ctx context.Context, text string) error {
	file, err := Read(doc("test.yaml", text), nil, Options{})
	if err != nil {
		return err
	}
	for i := range file.Workloads {
		if _, err := file.Workloads[i].Pod.Resolve(ctx, oneImage{}); err != nil {
			return err
		}
	}
	return nil
}

// TestOwnRuleAnswersForWhatIsMissing: with a rule of the document's own, a variable may come from a Secret that is not at hand.
func TestOwnRuleAnswersForWhatIsMissing(t *testing.T) {
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n" +
		"    io.cloister.env/a: '[{\"pattern\": \"KEY=[0-9a-f]{8}\", \"strategy\": \"re2\", \"required\": true}]'\n" +
		"spec:\n  containers:\n  - name: a\n    image: a\n    env: [{name: KEY, valueFrom: {secretKeyRef: {name: x, key: k}}}]\n"
	file, err := Read(doc("test.yaml", text), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := string(policyOf(t, &file.Workloads[0]))
	if n := strings.Count(policy, "KEY="); n != 1 || !strings.Contains(policy, `{"pattern":"(?:KEY=[0-9a-f]{8})","required":true,"strategy":"re2"}`) {
		t.Errorf("got %d rules of the variable in\n%s", n, policy)
	}
	if err := generate(t.Context(), strings.Replace(text, "    env:", "    args: [$(KEY)]\n    env:", 1)); err == nil {
		t.Error("an argument made of that variable was taken")
	}
}

func TestOtherFilesGiveSources(t *testing.T) {
	text := deployment + "        envFrom: [{configMapRef: {name: x}}]\n"
	other := doc("maps.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {A: b}\n")
	file, err := Read(doc("test.yaml", text), []workload.Document{other}, Options{Namespace: "here"})
	if err != nil {
		t.Fatal(err)
	}
	if policy := string(policyOf(t, &file.Workloads[0])); !strings.Contains(policy, `"A=b"`) || file.Workloads[0].Namespace != "here" {
		t.Errorf("namespace %q, policy\n%s", file.Workloads[0].Namespace, policy)
	}
	_, err = Read(doc("test.yaml", text), []workload.Document{doc("maps.yaml", deployment)}, Options{})
	if err == nil || !strings.Contains(err.Error(), `maps.yaml: document 1, Deployment "web": want only ConfigMaps`) {
		t.Errorf("got %v, want a refusal of a Deployment there", err)
	}
	_, err = Read(doc("test.yaml", strings.Replace(text, "{name: web}", "{name: web, namespace: there}", 1)), []workload.Document{other}, Options{Namespace: "here"})
	if err == nil || !strings.Contains(err.Error(), `metadata.namespace: got "there", want "here"`) {
		t.Errorf("got %v, want a refusal of the namespace", err)
	}
}

func TestSplit(t *testing.T) {
	cases := []struct {
		name, text string
		want       []string
	}{
		{"one", "a: 1\n", []string{"a: 1\n"}},
		{"marker-first", "---\na: 1\n", []string{"---\na: 1\n"}},
		{"comments-before", "# x\n---\na: 1\n", []string{"---\na: 1\n"}},
		{"two", "a: 1\n---\nb: 2", []string{"a: 1\n", "---\nb: 2"}},
		{"on-the-marker's-line", "--- {a: 1}\n--- # b\nb: 2\n", []string{"--- {a: 1}\n", "--- # b\nb: 2\n"}},
		{"ended", "a: 1\n...\n# x\n---\nb: 2\n", []string{"a: 1\n...\n", "---\nb: 2\n"}},
		{"empty-between", "a: 1\n---\n---\nb: 2\n", []string{"a: 1\n", "---\nb: 2\n"}},
		{"crlf", "a: 1\r\n---\r\nb: 2\r\n", []string{"a: 1\r\n", "---\r\nb: 2\r\n"}},
		{"not-a-marker", "a: |\n  ---\n  x\n---b: 2\n", []string{"a: |\n  ---\n  x\n---b: 2\n"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := split([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, d := range got {
				texts = append(texts, string(d.data))
				if !strings.HasPrefix(c.text[d.start:], string(d.data)) {
					t.Errorf("document at %d is not there", d.start)
				}
			}
			if diff := cmp.Diff(texts, c.want); diff != "" {
				t.Errorf("documents (-got +want):\n%s", diff)
			}
		})
	}
}

func TestIsPod(t *testing.T) {
	one := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n" + podSpec
	cases := []struct {
		name, text string
		want       bool
	}{
		{"pod", one, true},
		{"broken", "a: [", true},
		{"two", one + "---\n" + one, false},
		{"with-config-map", one + "---\napiVersion: v1\nkind: ConfigMap\n", false},
		{"deployment", deployment, false},
		{"listed", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]\n", false},
	}
	for _, c := range cases {
		if got := IsPod(doc("test.yaml", c.text)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestGeneratedNames: names as controllers make them fit the patterns, others do not.
func TestGeneratedNames(t *testing.T) {
	long := strings.Repeat("n", 52)
	cases := []struct {
		name   string
		text   pod.Text
		yes    []string
		refuse []string
	}{
		{"deployment", pod.DeploymentPodName("web"), []string{"web-6d5f7c9b8d-x2x4z", "web-7-x2x4z"}, []string{"web-x2x4z", "web-6d5f7c9b8d-x2x4zz", "web-6d5f7c9b8e-x2x4z", "xweb-6d5f7c9b8d-x2x4z"}},
		{"deployment-cut-in-hash", pod.DeploymentPodName(long), []string{long + "-6d5f7x2x4z", long + "-6d5-x2x4z"}, []string{long + "-6d5f7c9b8d-x2x4z"}},
		{"deployment-cut-in-name", pod.DeploymentPodName(long + "nnnnnnnnnn"), []string{long + "nnnnnnx2x4z"}, []string{long + "nnnnnnnnnn-x2x4z"}},
		{"generated", pod.GeneratedName(pod.Literal("a.b-")), []string{"a.b-x2x4z"}, []string{"aXb-x2x4z"}},
		{"indexed", pod.JobPodName(pod.Literal("once"), true), []string{"once-0-x2x4z", "once-12-x2x4z"}, []string{"once-x2x4z", "once-01-x2x4z"}},
		{"cron", pod.JobPodName(pod.CronJobJobName("nightly"), false), []string{"nightly-29384640-x2x4z"}, []string{"nightly-2938464-x2x4z"}},
		{"cron-indexed", pod.JobPodName(pod.CronJobJobName("nightly"), true), []string{"nightly-29384640-3-x2x4z"}, []string{"nightly-29384640-x2x4z"}},
		{"ordinal", pod.OrdinalName(pod.Literal("db")), []string{"db-0", "db-17"}, []string{"db-", "db-007", "db-1x"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rule := pod.EnvRule{Pattern: c.text.Pattern, Strategy: "re2"}
			for _, name := range c.yes {
				if !rule.Matches(name) {
					t.Errorf("%q does not fit %s", name, c.text.Pattern)
				}
			}
			for _, name := range c.refuse {
				if rule.Matches(name) {
					t.Errorf("%q fits %s", name, c.text.Pattern)
				}
			}
		})
	}
}
