package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/pod"
)

// TestDocument holds the tables of docs/inputs-kubernetes.md against the tables that reading follows.
func TestDocument(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "inputs-kubernetes.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, rows := range map[string][]string{
		"kinds": kindRows(t), "objects": objectRows(), "pods": podRows(), "refused": refusedRows(), "values": valueRows(),
	} {
		want = fillTable(t, want, name, rows)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(want, "\n")); diff != "" {
		t.Errorf("%s is not the code's, write it anew with -update (-got +want):\n%s", path, diff)
	}
}

// fillTable puts rows under the head of a marked table.
func fillTable(t *testing.T, text, name string, rows []string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, "<!-- "+name+" -->\n")
	table, after, ended := strings.Cut(rest, "<!-- end -->\n")
	if !ok || !ended {
		t.Fatalf("the document has no table %q", name)
	}
	head := strings.SplitAfterN(table, "\n", 3)
	return before + "<!-- " + name + " -->\n" + head[0] + head[1] + strings.Join(rows, "") + "<!-- end -->\n" + after
}

// readable shortens the patterns of generated names.
func readable(name pod.Text) string {
	if name.Pattern == "" {
		return name.Value
	}
	out := strings.NewReplacer(
		"[bcdfghjklmnpqrstvwxz2456789]{1,10}", "? (1 to 10 times)", "[bcdfghjklmnpqrstvwxz2456789]{5}", "?????", "[0-9]{8}", "MINUTES",
		"(?:0|[1-9][0-9]{0,9})", "NUMBER", "(?:", "", ")", "",
	).Replace(name.Pattern)
	return strings.ReplaceAll(out, "? 1 to 10 times", "? (1 to 10 times)")
}

func kindRows(t *testing.T) []string {
	t.Helper()
	var rows []string
	for _, k := range kinds {
		template := strings.Join(k.path, ".")
		if template == "" {
			template = "the document"
		}
		o, err := k.read([]byte(`{"apiVersion":"`+k.apiVersion+`","kind":"`+k.name+`","metadata":{"name":"NAME"},"spec":{"template":{}}}`), k)
		if len(k.path) != 2 {
			o, err = k.read([]byte(`{"apiVersion":"`+k.apiVersion+`","kind":"`+k.name+`","metadata":{"name":"NAME"},"spec":{}}`), k)
		}
		if err != nil {
			t.Fatal(err)
		}
		name := readable(o.podName)
		if k.name == "Pod" {
			name += "; with generateName `PREFIX?????`"
		}
		if k.name == "Job" {
			name += "; indexed NAME-NUMBER-?????, host name NAME-NUMBER"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", k.name, k.apiVersion, template, name))
	}
	return rows
}

func objectRows() []string {
	var rows []string
	for _, k := range kinds {
		for _, f := range k.fields {
			rows = append(rows, fmt.Sprintf("| %s: `%s` | %s |\n", k.name, f.Path, meaning(f)))
		}
	}
	return rows
}

func meaning(f pod.Field) string {
	switch {
	case f.Use == pod.Refused:
		return "refused: " + f.Meaning
	case f.Meaning == "":
		return "no effect"
	}
	return f.Meaning
}

func podRows() []string {
	var rows []string
	for _, f := range pod.Fields() {
		if f.Use == pod.Refused || strings.HasPrefix(f.Path, "spec.initContainers[]") {
			continue
		}
		run := ""
		if f.Use == pod.Everywhere {
			run = "yes"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", f.Path, run, meaning(f)))
	}
	return rows
}

func refusedRows() []string {
	var rows []string
	for _, f := range pod.Fields() {
		if f.Use == pod.Refused && !strings.HasPrefix(f.Path, "spec.initContainers[]") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", f.Path, f.Meaning))
		}
	}
	return rows
}

func valueRows() []string {
	var rows []string
	for _, r := range pod.Runtimes() {
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", r.Source, r.Meaning))
	}
	return rows
}

// TestFields: the list for other tools has the fields of every kind, and says which mean nothing.
func TestFields(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if seen[f.Path] {
			t.Errorf("%s is there twice", f.Path)
		}
		seen[f.Path] = true
		if f.NoEffect != (f.Meaning == "") {
			t.Errorf("%s: no effect is %v, meaning %q", f.Path, f.NoEffect, f.Meaning)
		}
	}
	for _, want := range []string{"Deployment: spec.template", "Job: spec.completionMode", "Pod: spec.containers[].image", "Pod: spec.initContainers[].image"} {
		if !seen[want] {
			t.Errorf("%s is not there", want)
		}
	}
	if seen["StatefulSet: spec.volumeClaimTemplates"] || seen["Pod: spec.volumes[].hostPath"] {
		t.Error("a refused field is there")
	}
}
