package main

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/cloister-cc/cloister/shim/node"
)

// What the DaemonSet calls exists, with the flags that it gives.
func TestDaemonSetCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../deploy/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{d.Spec.Template.Spec.Containers[0].Command[1:]}
	for line := range strings.Lines(d.Spec.Template.Spec.InitContainers[0].Args[0]) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "cloister "); ok {
			rest, _, _ = strings.Cut(rest, " >")
			commands = append(commands, strings.Fields(rest))
		}
	}
	if len(commands) != 2 {
		t.Errorf("found %d commands, want metrics and install", len(commands))
	}
	for _, args := range commands {
		cmd, rest, err := newRoot().Find(args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil || len(cmd.Flags().Args()) > 0 {
			t.Errorf("%q: %v, left %q", args, err, cmd.Flags().Args())
		}
	}
}

// deploy/runtimeclass.yaml is what the command prints for a node.toml of defaults.
func TestRuntimeClassOfDefaults(t *testing.T) {
	c := node.Default()
	want, err := runtimeClass(&c, "cloister", "cloister")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../deploy/runtimeclass.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, body, _ := strings.Cut(string(got), "\n"); body != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
}
