package kube

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGolden compares the whole policy of each kind.
func TestGolden(t *testing.T) {
	file := readEverything(t)
	var got []string
	for i := range file.Workloads {
		w := &file.Workloads[i]
		got = append(got, w.Kind)
		t.Run(w.Kind+"-"+w.Name, func(t *testing.T) {
			text := policyOf(t, w)
			path := filepath.Join("testdata", strings.ToLower(w.Kind)+"-"+strings.Trim(w.Name, "-")+".rego")
			if *update {
				if err := os.WriteFile(path, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(string(want), "\n")); diff != "" {
				t.Errorf("policy (-got +want):\n%s", diff)
			}
		})
	}
	want := []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("kinds (-got +want):\n%s", diff)
	}
}

// TestDeterministic: maps are on the way, and must not be seen.
func TestDeterministic(t *testing.T) {
	first := readEverything(t)
	for range 20 {
		again := readEverything(t)
		for i := range first.Workloads {
			a, b := policyOf(t, &first.Workloads[i]), policyOf(t, &again.Workloads[i])
			if !bytes.Equal(a, b) {
				t.Fatalf("%s: two runs gave two policies", &first.Workloads[i])
			}
		}
	}
}
