package pod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: demo\n"

func TestParseTakesWholeDocument(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "full" || p.Namespace != "shop" || p.Hostname != "web-1" {
		t.Errorf("got name %q namespace %q hostname %q", p.Name, p.Namespace, p.Hostname)
	}
	wantPorts := []Port{{Container: "app", Name: "http", Protocol: "TCP", ContainerPort: 8080, HostPort: 18080}}
	if diff := cmp.Diff(p.Ports, wantPorts); diff != "" {
		t.Errorf("ports (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(p.HostAliases, []HostAlias{{IP: "10.0.0.9", Hostnames: []string{"db", "db.local"}}}); diff != "" {
		t.Errorf("host aliases (-got +want):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	const one = head + "spec:\n  containers:\n  - name: app\n    image: app\n"
	cases := []struct{ name, doc, want string }{
		{"empty", "# nothing\n", "empty document"},
		{"two-documents", one + "---\n" + one, "more than one document"},
		{"no-containers", head + "spec: {}\n", "spec.containers: is empty"},
		{"other-kind", "apiVersion: apps/v1\nkind: Deployment\n", `document is "apps/v1" "Deployment"`},
		{"unknown-field", one + "    comand: [a]\n", `unknown field "spec.containers[0].comand"`},
		{"other-case", one + "    Command: [a]\n", `unknown field "spec.containers[0].Command"`},
		{"repeated-key", one + "    image: evil\n", "image"},
		{"host-path", one + "  volumes:\n  - name: v\n    hostPath: {path: /etc}\n", "spec.volumes[0].hostPath"},
		{"config-map", one + "  volumes:\n  - name: v\n    configMap: {name: c}\n", "spec.volumes[0].configMap"},
		{"nameless-volume-kind", one + "  volumes:\n  - name: v\n", "only emptyDir"},
		{"hugepages-medium", one + "  volumes:\n  - name: v\n    emptyDir: {medium: HugePages}\n", "spec.volumes[0].emptyDir.medium"},
		{"size-limit", one + "  volumes:\n  - name: v\n    emptyDir: {sizeLimit: 1Mi}\n", "spec.volumes[0].emptyDir.sizeLimit"},
		{"host-network", one + "  hostNetwork: true\n", "spec.hostNetwork"},
		{"host-users", one + "  hostUsers: false\n", "spec.hostUsers"},
		{"share-pid", one + "  shareProcessNamespace: true\n", "spec.shareProcessNamespace"},
		{"init-containers", one + "  initContainers:\n  - name: a\n    image: a\n", "spec.initContainers"},
		{"env-from", one + "    envFrom:\n    - configMapRef: {name: x}\n", "spec.containers[0].envFrom"},
		{"value-from", one + "    env:\n    - name: A\n      valueFrom: {fieldRef: {fieldPath: metadata.name}}\n", "spec.containers[0].env[0].valueFrom"},
		{"sub-path", one + "    volumeMounts: [{name: v, mountPath: /v, subPath: x}]\n  volumes: [{name: v, emptyDir: {}}]\n", "spec.containers[0].volumeMounts[0].subPath"},
		{"propagation", one + "    volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]\n  volumes: [{name: v, emptyDir: {}}]\n", "volumeMounts[0].mountPropagation"},
		{"unknown-volume", one + "    volumeMounts: [{name: v, mountPath: /v}]\n", `the pod has no volume "v"`},
		{"mount-dots", one + "    volumeMounts: [{name: v, mountPath: /v/../etc}]\n  volumes: [{name: v, emptyDir: {}}]\n", "clean absolute"},
		{"mount-twice", one + "    volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]\n  volumes: [{name: v, emptyDir: {}}]\n", "not the only one"},
		{"devices", one + "    volumeDevices: [{name: v, devicePath: /dev/x}]\n", "spec.containers[0].volumeDevices"},
		{"gpu", one + "    resources: {limits: {nvidia.com/gpu: 1}}\n", "nvidia.com/gpu"},
		{"runtime-default-seccomp", one + "    securityContext: {seccompProfile: {type: RuntimeDefault}}\n", "securityContext.seccompProfile.type"},
		{"pod-localhost-seccomp", one + "  securityContext: {seccompProfile: {type: Localhost, localhostProfile: p}}\n", "spec.securityContext.seccompProfile.localhostProfile"},
		{"proc-mount", one + "    securityContext: {procMount: Unmasked}\n", "securityContext.procMount"},
		{"selinux", one + "    securityContext: {seLinuxOptions: {level: s0}}\n", "securityContext.seLinuxOptions"},
		{"fs-group", one + "  securityContext: {fsGroup: 7}\n", "spec.securityContext.fsGroup"},
		{"sysctl", one + "  securityContext: {sysctls: [{name: kernel.panic, value: \"0\"}]}\n", "spec.securityContext.sysctls[0]"},
		{"negative-user", one + "    securityContext: {runAsUser: -1}\n", "runAsUser: -1"},
		{"largest-id-is-none", one + "    securityContext: {runAsGroup: 4294967295}\n", "runAsGroup"},
		{"privileged-contradiction", one + "    securityContext: {privileged: true, allowPrivilegeEscalation: false}\n", "contradicts"},
		{"sctp", one + "    ports: [{containerPort: 1, protocol: SCTP}]\n", "ports[0].protocol"},
		{"port-zero", one + "    ports: [{containerPort: 0}]\n", "ports[0]: port"},
		{"name-twice", one + "  - name: app\n    image: b\n", "not the only one"},
		{"bad-env-name", one + "    env: [{name: \"A=B\", value: c}]\n", "env[0].name"},
		{"bad-pod-name", strings.Replace(one, "demo", "../demo", 1), "metadata.name"},
		{"bad-hostname", one + "  hostname: a_b\n", "spec.hostname"},
		{"finalizers", strings.Replace(one, "  name: demo\n", "  name: demo\n  finalizers: [a]\n", 1), "metadata.finalizers"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := Parse([]byte(c.doc))
			if err == nil || p != nil {
				t.Fatalf("got pod %v and no error, want one with %q", p, c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestParseNamesEveryUnsupportedField(t *testing.T) {
	_, err := Parse([]byte(head + "spec:\n  hostNetwork: true\n  hostPID: true\n  containers:\n  - {name: a, image: a, envFrom: [{prefix: x}]}\n"))
	const want = "not supported: spec.containers[0].envFrom, spec.hostNetwork, spec.hostPID"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseAnnotations(t *testing.T) {
	doc := func(key, value string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: demo\n  annotations:\n    " + key + ": '" + value +
			"'\nspec:\n  containers:\n  - name: app\n    image: app\n"
	}
	cases := []struct{ name, key, value, want string }{
		{"others-are-ignored", "example.org/x", "y", ""},
		{"exec", "io.cloister.exec/app", `[["/bin/ls","-l"]]`, ""},
		{"env", "io.cloister.env/app", `[{"pattern":"A=[0-9]+","strategy":"re2","required":true}]`, ""},
		{"grants", "io.cloister.grants/app", "attest", ""},
		{"unknown-container", "io.cloister.exec/web", `[["/bin/ls"]]`, `no container "web"`},
		{"no-container", "io.cloister.exec", `[["/bin/ls"]]`, `no container ""`},
		{"unknown-name", "io.cloister.exce/app", `[["/bin/ls"]]`, "not known"},
		{"exec-empty-command", "io.cloister.exec/app", `[[]]`, "command 0 is empty"},
		{"exec-not-list", "io.cloister.exec/app", `["/bin/ls"]`, "cannot unmarshal"},
		{"exec-trailing", "io.cloister.exec/app", `[["/bin/ls"]] []`, "text after"},
		{"env-strategy", "io.cloister.env/app", `[{"pattern":"A=b","strategy":"any"}]`, "strategy"},
		{"env-bad-pattern", "io.cloister.env/app", `[{"pattern":"A=(","strategy":"re2"}]`, "missing closing"},
		{"env-without-name", "io.cloister.env/app", `[{"pattern":".+","strategy":"re2"}]`, "NAME=value"},
		{"env-unknown-key", "io.cloister.env/app", `[{"patern":"A=b"}]`, "unknown field"},
		{"grant-unknown", "io.cloister.grants/app", "root", `grant "root" is not known`},
		{"grant-twice", "io.cloister.grants/app", "attest, attest", "twice"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(doc(c.key, c.value)))
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestEnvRuleMatchesWholeEntry(t *testing.T) {
	cases := []struct {
		name  string
		rule  EnvRule
		entry string
		want  bool
	}{
		{"string", EnvRule{Pattern: "A=b", Strategy: "string"}, "A=b", true},
		{"string-is-no-pattern", EnvRule{Pattern: "A=.", Strategy: "string"}, "A=b", false},
		{"re2", EnvRule{Pattern: "A=[0-9]+", Strategy: "re2"}, "A=12", true},
		{"prefix", EnvRule{Pattern: "A=[0-9]+", Strategy: "re2"}, "XA=12", false},
		{"suffix", EnvRule{Pattern: "A=[0-9]+", Strategy: "re2"}, "A=12x", false},
		{"alternation-is-grouped", EnvRule{Pattern: "A=1|A=2", Strategy: "re2"}, "xA=2", false},
		{"newline", EnvRule{Pattern: "A=[0-9]+", Strategy: "re2"}, "A=12\n", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.rule.Matches(c.entry); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(head + "spec: {containers: [{name: a, image: a}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			if p != nil {
				t.Error("an error came with a pod")
			}
			return
		}
		if len(p.ContainerNames()) == 0 || p.Name == "" {
			t.Error("a pod without name or containers was taken")
		}
	})
}
