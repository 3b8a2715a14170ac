package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/shim/pod"
)

// TestProgramsAreInstalledBySetup: what this program asks for, `make demo` installs.
func TestProgramsAreInstalledBySetup(t *testing.T) {
	setup, err := os.ReadFile("../hack/setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if !strings.Contains(string(setup), "need "+p.program+" "+p.pkg+"\n") {
			t.Errorf("hack/setup.sh does not install %s for %s", p.pkg, p.program)
		}
	}
}

func TestPodCopies(t *testing.T) {
	t.Chdir("..")
	d := newTestDemo(t, nil)
	if err := os.MkdirAll(d.file(""), 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := d.writePod()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.nonce) != 64 || !strings.Contains(string(copied), `value: "`+d.nonce+`"`) {
		t.Errorf("the copy does not have the nonce %q", d.nonce)
	}
	for _, name := range []string{path, envPodFile} {
		p, err := pod.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{path: podName, envPodFile: envPodName}[name]; p.Name != want {
			t.Errorf("%s: pod name got %q, want %q", name, p.Name, want)
		}
	}
	changed, err := d.addVariable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := pod.Load(changed)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.ContainerNames(), []string{"env"}) {
		t.Errorf("got containers %q", p.ContainerNames())
	}
	if text, err := os.ReadFile(changed); err != nil || !strings.Contains(string(text), "    - {name: LD_PRELOAD, value: /tmp/evil.so}\n") {
		t.Errorf("the copy has no LD_PRELOAD: %v", err)
	}
	if _, err := d.copyPod(podFile, "nginx", "x"); err == nil || !strings.Contains(err.Error(), "want once") {
		t.Errorf("a text that is there several times: got %v", err)
	}
}
