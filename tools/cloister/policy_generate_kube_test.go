package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/kube"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

const (
	kubeDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web} # ours
spec:
  template:
    spec:
      enableServiceLinks: false
      containers:
      - name: app
        image: app
        command: [/bin/app]
        env: [{name: MODE, valueFrom: {configMapKeyRef: {name: settings, key: MODE}}}]
`
	kubeJob = "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec:\n  template:\n    spec:\n      containers: [{name: app, image: app, command: [/bin/once]}]\n"
	kubeMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {MODE: fast}\n"
)

// kubeFiles writes a file of two workloads and a ConfigMap beside it; flags name them and the images.
func kubeFiles(t *testing.T) (file string, flags []string) {
	t.Helper()
	flags = policyFiles(t)
	file = filepath.Join(filepath.Dir(flags[1]), "all.yaml")
	settings := filepath.Join(filepath.Dir(flags[1]), "settings.yaml")
	for name, text := range map[string]string{file: kubeDeployment + kubeJob, settings: kubeMap} {
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	flags[1] = file
	return file, slices.Clip(append(flags, "--config-map", settings))
}

func hostData(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestKubeOneWorkload(t *testing.T) {
	_, flags := kubeFiles(t)
	text, stderr, err := runPolicy(t, append(flags, "--workload", "Deployment/web")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"command":["/bin/app"]`, `"pattern":"MODE=fast"`, "HOSTNAME=web-[", "KUBERNETES_SERVICE_HOST="} {
		if !strings.Contains(text, want) {
			t.Errorf("got policy without %q:\n%s", want, text)
		}
	}
	if want := "HOST_DATA " + hostData(text) + " deployment/web\n"; stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

func TestKubeJSON(t *testing.T) {
	_, flags := kubeFiles(t)
	printed, _, err := runPolicy(t, append(flags, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var results []kubeResult
	if err := json.Unmarshal([]byte(printed), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[0].Workload != "deployment/web" || results[1].Workload != "job/once" {
		t.Fatalf("got %+v, want two workloads", results)
	}
	for _, r := range results {
		text, err := base64.StdEncoding.DecodeString(r.Policy)
		if err != nil || hostData(string(text)) != r.HexData || r.SHA256 != r.HexData || r.Bytes != len(text) {
			t.Errorf("%s: got %+v, %v", r.Workload, r, err)
		}
	}
}

// TestKubeWithoutRuntimeClass: such a pod would run without a VM, and its policy be read by nobody.
func TestKubeWithoutRuntimeClass(t *testing.T) {
	file, flags := kubeFiles(t)
	if _, stderr, err := runPolicy(t, append(flags, "--annotate", "policy")...); err != nil || strings.Count(stderr, "has no runtimeClassName") != 2 {
		t.Errorf("got %q, %v, want two warnings", stderr, err)
	}
	text := strings.ReplaceAll(kubeDeployment+kubeJob, "      containers:", "      runtimeClassName: cloister\n      containers:")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := runPolicy(t, append(flags, "--annotate", "policy")...); err != nil || strings.Contains(stderr, "runtimeClassName") {
		t.Errorf("got %q, %v, want no warning", stderr, err)
	}
}

// TestKubeAnnotate writes both carriers into the file and finds the policy in it that the command prints by itself.
func TestKubeAnnotate(t *testing.T) {
	for _, carrier := range []string{"policy", "initdata"} {
		t.Run(carrier, func(t *testing.T) {
			file, flags := kubeFiles(t)
			policy, _, err := runPolicy(t, append(flags, "--workload", "job/once")...)
			if err != nil {
				t.Fatal(err)
			}
			printed, stderr, err := runPolicy(t, append(flags, "--annotate", carrier)...)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(stderr, "HOST_DATA ") != 2 || !strings.Contains(printed, "metadata: {name: web} # ours\n") {
				t.Errorf("got %q and\n%s", stderr, printed)
			}
			quiet, _, err := runPolicy(t, append(flags, "--annotate", carrier, "--in-place")...)
			if err != nil || quiet != "" {
				t.Fatalf("got %q, %v", quiet, err)
			}
			written, err := os.ReadFile(file)
			if err != nil || string(written) != printed {
				t.Errorf("the file is not what was printed (%v)", err)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("got mode %v, %v, want it kept", info.Mode(), err)
			}
			checkJobAnnotation(t, carrier, string(written), policy, stderr)
			again, _, err := runPolicy(t, append(flags, "--annotate", carrier)...)
			if err != nil || again != printed {
				t.Errorf("the second time gave another file (%v)", err)
			}
		})
	}
}

func checkJobAnnotation(t *testing.T, carrier, written, policy, stderr string) {
	t.Helper()
	read, err := kube.Read(workload.Document{Name: "written", Data: []byte(written)},
		[]workload.Document{{Name: "settings", Data: []byte(kubeMap)}}, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	annotations := read.Workloads[1].Annotations
	if carrier == "policy" {
		text, err := base64.StdEncoding.DecodeString(annotations[kube.PolicyAnnotation])
		if err != nil || string(text) != policy || !strings.Contains(stderr, "HOST_DATA "+hostData(policy)+" job/once\n") {
			t.Errorf("the annotation is not the policy (%v); printed %q", err, stderr)
		}
		return
	}
	document, err := kube.ReadInitdata(annotations[kube.InitdataAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	digest := document.HostData()
	if document.Data["policy.rego"] != policy || !strings.Contains(stderr, "HOST_DATA "+hex.EncodeToString(digest[:])+" job/once\n") {
		t.Errorf("the document is not the policy's; printed %q", stderr)
	}
}

// TestKubeNamesTheWorkloadOnce: an error of the carrier has the workload's name before it already.
func TestKubeNamesTheWorkloadOnce(t *testing.T) {
	file, flags := kubeFiles(t)
	if _, _, err := runPolicy(t, append(flags, "--annotate", "policy", "--in-place")...); err != nil {
		t.Fatal(err)
	}
	_, _, err := runPolicy(t, append(flags, "--annotate", "initdata")...)
	if err == nil || strings.Count(err.Error(), "deployment/web") != 1 || !strings.Contains(err.Error(), "has the annotation "+kube.PolicyAnnotation) {
		t.Errorf("%s: got %v, want the workload's name once", file, err)
	}
}

// TestKubeTargets: one Pod is the launcher's unless a cluster is asked for, and then has what a cluster adds.
func TestKubeTargets(t *testing.T) {
	flags := slices.Clip(policyFiles(t))
	alone, _, err := runPolicy(t, flags...)
	if err != nil {
		t.Fatal(err)
	}
	run, _, err := runPolicy(t, append(flags, "--target", "run")...)
	if err != nil || run != alone || strings.Contains(alone, "termination-log") {
		t.Errorf("--target run gave another policy than none (%v)", err)
	}
	cluster, _, err := runPolicy(t, append(flags, "--target", "cluster")...)
	if err != nil || !strings.Contains(cluster, "/dev/termination-log") || !strings.Contains(cluster, "HOSTNAME=one") {
		t.Errorf("got %v and\n%s", err, cluster)
	}
}

// TestKubeLock: a lock file answers with roots, and says what it cannot know.
func TestKubeLock(t *testing.T) {
	flags := slices.Clip(policyFiles(t))
	lock := filepath.Join(t.TempDir(), "lock.json")
	direct, _, err := runPolicy(t, flags...)
	if err != nil {
		t.Fatal(err)
	}
	saved, stderr, err := runPolicy(t, append(flags, "--offline", "--lock", lock, "--save-lock")...)
	if err != nil || saved != direct {
		t.Fatalf("got %v and another policy than without a lock file:\n%s", err, saved)
	}
	if !strings.Contains(stderr, "wrote "+lock+"\n") || !strings.Contains(stderr, "users and groups of app: ") || strings.Contains(stderr, "Strict") {
		t.Errorf("got %q, want the file and what it will not do for", stderr)
	}
	_, _, err = runPolicy(t, "-f", flags[1], "--locked", "--lock", lock)
	if err == nil || !strings.Contains(err.Error(), "supplementalGroupsPolicy: Strict") {
		t.Errorf("got %v, want what to say instead of the image", err)
	}
	strict := filepath.Join(t.TempDir(), "strict.yaml")
	text := strings.Replace(policyPod, "spec:\n", "spec:\n  securityContext: {runAsUser: 7, runAsGroup: 8, supplementalGroupsPolicy: Strict}\n", 1)
	if err := os.WriteFile(strict, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, err = runPolicy(t, append(flags, "--target", "cluster", "--lock", lock, "--save-lock")...)
	if err != nil || !strings.Contains(stderr, "pod/one: --locked will not find out users and groups of app: ") ||
		!strings.Contains(stderr, "say runAsUser, runAsGroup and supplementalGroupsPolicy: Strict in the document") {
		t.Errorf("got %v and %q, want what to say in the document", err, stderr)
	}
	_, stderr, err = runPolicy(t, append(flags, "-f", strict, "--target", "cluster", "--lock", lock, "--save-lock")...)
	if err != nil || strings.Contains(stderr, "users and groups") {
		t.Errorf("the document says it all: got %v and %q", err, stderr)
	}
	policy, _, err := runPolicy(t, "-f", strict, "--target", "cluster", "--locked", "--lock", lock)
	if err != nil || !strings.Contains(policy, `"user_idname":{"pattern":"7","strategy":"id"}`) {
		t.Errorf("got %v and\n%s", err, policy)
	}
}

func TestKubeRefuses(t *testing.T) {
	file, flags := kubeFiles(t)
	profile := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction": 7}`), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name  string
		args  []string
		want  string
		usage bool
	}{
		{"several", flags, "2 workloads (deployment/web, job/once)", true},
		{"workload", append(flags, "--workload", "pod/web"), `--workload "pod/web" is not in the file`, true},
		{"target", append(flags, "--target", "vm"), `--target got "vm"`, true},
		{"annotate", append(flags, "--annotate", "both"), `--annotate got "both"`, true},
		{"in-place", append(flags, "--in-place"), "--in-place is for --annotate", true},
		{"yes-alone", append(flags, "--yes"), "--yes is for --annotate with --in-place", true},
		{"algorithm", append(flags, "--annotate", "policy", "--initdata-algorithm", "sha256"), "is for --annotate initdata", true},
		{"unknown-algorithm", append(flags, "--annotate", "initdata", "--initdata-algorithm", "md5"), `got "md5"`, true},
		{"base64", append(flags, "--annotate", "policy", "--base64"), "exclude each other", true},
		{"two-outputs", append(flags, "--annotate", "policy", "--in-place", "-o", "x"), "exclude each other", true},
		{"json-nowhere", append(flags, "--annotate", "policy", "--json"), "wants --output or --in-place", true},
		{"run", append(flags, "--target", "run"), "--target run is for one Pod", true},
		{"seccomp-form", append(flags, "--seccomp", "RuntimeDefault"), "want NAME=FILE", true},
		{"seccomp-file", append(flags, "--seccomp", "RuntimeDefault="+profile), "--seccomp RuntimeDefault", false},
		{"one-output", append(flags, "--json", "-o", filepath.Join(t.TempDir(), "x")), "2 workloads", true},
		{"config-map", append(flags[:len(flags)-2:len(flags)-2], "--workload", "deployment/web"), `ConfigMap "settings" is in none of the documents`, false},
		{"other-source", []string{"--image", "app", "--workload", "x/y"}, "--workload does nothing with --image", true},
		{"both-formats", append(flags, "--layer-format", "both"), "--layer-format both", true},
		{"namespace", append(flags, "--workload", "job/once", "--target", "run"), "--target run is for one Pod", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := runPolicy(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" {
				t.Fatalf("got %v and output %q, want %q", err, stdout, c.want)
			}
			var usage *usageError
			if errors.As(err, &usage) != c.usage {
				t.Errorf("got usage error %v, want %v", !c.usage, c.usage)
			}
		})
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != kubeDeployment+kubeJob {
		t.Errorf("the file was changed (%v)", err)
	}
}

// TestKubeRegistryIsAsked: only --registry lets -f ask a registry, and who finds no image is told of it.
func TestKubeRegistryIsAsked(t *testing.T) {
	var asked atomic.Bool
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Store(true)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	file := writeFile(t, "pod.yaml", strings.Replace(policyPod, "image: app,", "image: "+host+"/app:1,", 1))
	images := t.TempDir()
	key := writeFile(t, "cosign.pub", "x")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	next := []string{"--registry", "--images"}
	cases := []struct {
		name  string
		args  []string
		want  []string
		asked bool
		exit  int
	}{
		{"no-directory", nil, next, false, exitFailed},
		{"directory", []string{"--images", images}, next, false, exitFailed},
		{"save-lock", []string{"--images", images, "--lock", filepath.Join(images, "lock.json"), "--save-lock"}, next, false, exitFailed},
		{"save-lock-no-directory", []string{"--lock", filepath.Join(images, "lock.json"), "--save-lock"}, next, false, exitFailed},
		{"signature", []string{"--require-signature", key}, nil, false, exitFailed},
		{"plain-http", []string{"--plain-http", host}, []string{"--plain-http does nothing with -f unless --registry"}, false, exitUsage},
		{"mirror", []string{"--mirror", host + "=" + host}, []string{"--mirror does nothing with -f unless --registry"}, false, exitUsage},
		{"contradiction", []string{"--offline", "--registry"}, []string{"--offline and --registry contradict"}, false, exitUsage},
		{"locked", []string{"--locked", "--registry"}, []string{"--locked looks nothing up: it excludes --registry"}, false, exitUsage},
		{"registry", []string{"--registry"}, []string{host + "/app:1"}, true, exitFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			asked.Store(false)
			_, _, err := runPolicy(t, append([]string{"-f", file, "--cache", t.TempDir()}, c.args...)...)
			if err == nil || exitCode(err) != c.exit || asked.Load() != c.asked {
				t.Fatalf("got %v (exit code %d), asked the registry: %t", err, exitCode(err), asked.Load())
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// TestKubeSaysWhoseAgent: Kata's annotations carry the policy, but Kata's own agent takes another; help and documentation say so.
func TestKubeSaysWhoseAgent(t *testing.T) {
	help := newPolicyGenerateCommand().Flags().Lookup("annotate").Usage
	top, _, ok := strings.Cut(read(t, filepath.Join("..", "..", "docs", "inputs-kubernetes.md")), "\n## ")
	if !ok {
		t.Fatal("the document has no sections")
	}
	for where, text := range map[string]string{"help": help, "document": top} {
		for _, want := range []string{"Cloister's agent", "package policy", "package agent_policy", "refuses it"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in:\n%s", where, want, text)
			}
		}
	}
}

// TestKubeReplacesNoPolicyUnasked: a template's other policy stays unless --yes is given, and what was written is said.
func TestKubeReplacesNoPolicyUnasked(t *testing.T) {
	for _, carrier := range []string{"policy", "initdata"} {
		t.Run(carrier, func(t *testing.T) {
			file, flags := kubeFiles(t)
			flags = slices.Clip(append(flags, "--annotate", carrier, "--in-place"))
			_, stderr, err := runPolicy(t, flags...)
			if err != nil || !strings.Contains(stderr, "wrote "+file+"\n") {
				t.Fatalf("got %v and %q, want what was written", err, stderr)
			}
			first := read(t, file)
			before, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			_, stderr, err = runPolicy(t, flags...)
			if err != nil || !strings.Contains(stderr, file+" has this policy already: nothing was written\n") || strings.Contains(stderr, "wrote ") {
				t.Errorf("the same again: got %v and %q", err, stderr)
			}
			if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
				t.Errorf("the same again: the file was replaced (%v)", err)
			}
			_, stderr, err = runPolicy(t, append(flags, "--no-stdio")...)
			if err == nil || !strings.Contains(err.Error(), file+": deployment/web has another policy; replace it with --yes") || read(t, file) != first {
				t.Errorf("another policy: got %v, %q, changed: %t", err, stderr, read(t, file) != first)
			}
			_, stderr, err = runPolicy(t, append(flags, "--no-stdio", "--yes")...)
			if err != nil || !strings.Contains(stderr, "wrote "+file+"\n") || read(t, file) == first {
				t.Errorf("--yes: got %v, %q, changed: %t", err, stderr, read(t, file) != first)
			}
		})
	}
}
