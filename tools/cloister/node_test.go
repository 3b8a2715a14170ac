package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/shim/metrics"
	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/tools/cloister/nodecheck"
	"github.com/cloister-cc/cloister/tools/cloister/nodeinstall"
)

// fails runs a command that must not succeed, and gives its output and error.
func fails(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	if err == nil {
		t.Fatalf("%q: got no error, and %s", args, out.String())
	}
	return out.String(), err
}

// installable makes a directory for a node, and one with programs.
func installable(t *testing.T) (root, from string) {
	t.Helper()
	root, from = t.TempDir(), t.TempDir()
	for _, dir := range []string{"etc/containerd", "etc/systemd/system", "usr/local/bin", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range nodeinstall.Programs {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/containerd/config.toml"), []byte("version = 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root, from
}

func TestNodeInstallSaysWhatItDoes(t *testing.T) {
	root, from := installable(t)
	args := []string{"node", "install", "--root", root, "--from", from, "--containerd-version", "2.4.2", "--tee", "none"}
	dry := says(t, append(args, "--dry-run")...)
	if !strings.HasSuffix(dry, "nothing was written (--dry-run)") || !strings.Contains(dry, "+ imports = [") {
		t.Errorf("dry run: got\n%s", dry)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/cloister")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dry run wrote: %v", err)
	}
	text := says(t, args...)
	for _, line := range []string{
		"create  /opt/cloister/bin/containerd-shim-cloister-v2",
		"create  /usr/local/bin/containerd-shim-cloister-v2 -> /opt/cloister/bin/containerd-shim-cloister-v2",
		"update  /etc/containerd/config.toml (backup: /etc/containerd/config.toml.before-cloister)",
		"systemctl restart containerd",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("line missing: %q, in\n%s", line, text)
		}
	}
	if again := says(t, args...); strings.Contains(again, "create") || strings.Contains(again, "restart containerd") {
		t.Errorf("the second time: got\n%s", again)
	}
	var plan struct{ Changes []nodeinstall.Change }
	if err := json.Unmarshal([]byte(says(t, append(args, "--json")...)), &plan); err != nil || len(plan.Changes) < 5 {
		t.Errorf("json: got %v, %v", plan, err)
	}
	if gone := says(t, "node", "uninstall", "--root", root); !strings.Contains(gone, "- imports = [") || !strings.Contains(gone, "remove  /etc/cloister/node.toml") {
		t.Errorf("uninstall: got\n%s", gone)
	}
	if none := says(t, "node", "uninstall", "--root", root); none != "nothing was installed" {
		t.Errorf("a second time: got %q", none)
	}
}

func TestNodeInstallRefusalHasNextStep(t *testing.T) {
	root, from := installable(t)
	if err := os.WriteFile(filepath.Join(root, "etc/containerd/config.toml"), []byte("[plugins.cri]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := fails(t, "node", "install", "--root", root, "--from", from)
	if !strings.Contains(err.Error(), "\n  what to do: ") {
		t.Errorf("got %q, want a next step", err)
	}
}

func TestNodeCheckReport(t *testing.T) {
	var b bytes.Buffer
	err := printFindings(&b, []nodecheck.Finding{
		{What: "kvm", Level: nodecheck.OK, Got: "a kernel boots under it"},
		{What: "sev-snp", Level: nodecheck.Fail, Got: "no /dev/sev", Follows: "no pod starts", Next: "buy one"},
	})
	want := `ok    kvm                   a kernel boots under it
fail  sev-snp               no /dev/sev
      follows  no pod starts
      next     buy one
pods cannot run here: 1 failed, 0 warnings
`
	if err != nil || b.String() != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, b.String(), want)
	}
}

func TestNodeCheckExitCode(t *testing.T) {
	config := filepath.Join(t.TempDir(), "node.toml")
	if err := os.WriteFile(config, []byte("vcpu = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := fails(t, "node", "check", "--quick", "--json", "--config", config, "--containerd", "/nonexistent")
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != exitFailed {
		t.Errorf("got %v, want exit code %d", err, exitFailed)
	}
	var report struct {
		Usable   bool
		Findings []nodecheck.Finding
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Usable {
		t.Fatalf("got %v, %v, want a report of an unusable node", report, err)
	}
	if f := report.Findings[0]; f.What != "node.toml" || !strings.Contains(f.Got, "vcpu") {
		t.Errorf("got %+v, want the unknown key", f)
	}
}

func TestNodeMetrics(t *testing.T) {
	dir := t.TempDir()
	set, served := metrics.New(), make(chan error, 1)
	set.Containers(7)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { served <- set.Serve(ctx, metrics.Path(dir, "pod-1")) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	for _, err := os.Stat(metrics.Path(dir, "pod-1")); err != nil; _, err = os.Stat(metrics.Path(dir, "pod-1")) {
		if len(served) > 0 {
			t.Fatal("it does not serve")
		}
	}
	if text := says(t, "node", "metrics", "--dir", dir); !strings.Contains(text, `cloister_shim_containers{pod="pod-1"} 7`) {
		t.Errorf("got\n%s", text)
	}
}

func TestNodeRuntimeClass(t *testing.T) {
	config := filepath.Join(t.TempDir(), "node.toml")
	if err := os.WriteFile(config, []byte("memory_mib = 256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := says(t, "node", "runtimeclass", "--config", config, "--name", "secret", "--handler", "cloister-sandbox")
	for _, line := range []string{"handler: cloister-sandbox", "  name: secret", "    memory: 352Mi"} {
		if !strings.Contains(text, line) {
			t.Errorf("line missing: %q, in\n%s", line, text)
		}
	}
}

// podDir makes a directory as the shim does for a pod of containerd.
func podDir(t *testing.T, parent, id, console string) {
	t.Helper()
	dir := filepath.Join(parent, "k8s.io+"+id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state, err := json.Marshal(sandbox.State{Version: 1, ID: id, Namespace: "k8s.io"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{sandbox.StateFile: string(state), sandbox.ConsoleFile: console} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogsConsole(t *testing.T) {
	dir := t.TempDir()
	podDir(t, dir, "aabb01", "first\r\n\x1b[2Jsecond\n")
	podDir(t, dir, "aabb02", "other\n")
	if text := says(t, "logs", "aabb01", "--state-dir", dir); text != "first\n.[2Jsecond" {
		t.Errorf("got %q, want the console without commands for a terminal", text)
	}
	if text := says(t, "logs", "aabb02", "--console", "--state-dir", dir); text != "other" {
		t.Errorf("got %q", text)
	}
	for _, tc := range []struct{ args, want string }{
		{"logs aabb", "2 pods"},
		{"logs cc", "no pod"},
		{"logs aabb01 --agent --follow", "console only"},
		{"logs aabb01 --agent --console", "give one"},
		{"logs ../x", "no pod"},
	} {
		if _, err := fails(t, append(strings.Fields(tc.args), "--state-dir", dir)...); !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.args, err, tc.want)
		}
	}
}

func TestLogsFollowsUntilThePodEnds(t *testing.T) {
	dir := t.TempDir()
	podDir(t, dir, "aabb", "one\n")
	path := filepath.Join(dir, "k8s.io+aabb", sandbox.ConsoleFile)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- follow(t.Context(), f, w) }()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("one\n")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, line := range []string{"two\n", "three\n"} {
		if _, err := io.WriteString(out, line); err != nil {
			t.Fatal(err)
		}
		expect(line)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("got %v, want an end without error", err)
	}
}

func TestLogsFollowEndsWithContext(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := follow(ctx, f, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
}

// What these commands print to a file has no colour.
func TestNodeCheckHasNoColourInFiles(t *testing.T) {
	var b bytes.Buffer
	if err := printFindings(&b, []nodecheck.Finding{{What: "x", Level: nodecheck.Fail, Got: "y"}}); err != nil || regexp.MustCompile("\x1b").Match(b.Bytes()) {
		t.Errorf("got %v, %q", err, b.String())
	}
}
