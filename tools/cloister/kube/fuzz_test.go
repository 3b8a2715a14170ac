package kube

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// FuzzGenerate: whatever file can be read, its pods come to containers whose rules are rules, and twice to the same policy.
func FuzzGenerate(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "everything.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	documents, err := split(text)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, d := range documents {
		f.Add(d.data)
	}
	f.Add([]byte(deployment))
	f.Add([]byte(cronJob))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(workload.Document{Name: "fuzz", Data: data}, nil, testOptions)
		if err != nil {
			if file != nil {
				t.Error("an error came with a file")
			}
			return
		}
		for i := range file.Workloads {
			w := &file.Workloads[i]
			containers, err := w.Pod.Resolve(t.Context(), oneImage{})
			if err != nil {
				continue
			}
			for _, c := range containers {
				for _, r := range c.Runtime {
					if _, err := regexp.Compile(r.Pattern); r.Strategy == "re2" && err != nil {
						t.Errorf("%s: rule %q: %v", w, r.Pattern, err)
					}
				}
			}
			first, err := policygen.Generate(t.Context(), containers, fakeRoots, policygen.Options{})
			if err != nil {
				continue
			}
			again, err := w.Pod.Resolve(t.Context(), oneImage{})
			if err != nil {
				t.Fatal(err)
			}
			second, err := policygen.Generate(t.Context(), again, fakeRoots, policygen.Options{})
			if err != nil || string(first) != string(second) {
				t.Errorf("%s: two runs gave two policies (%v)", w, err)
			}
		}
	})
}
