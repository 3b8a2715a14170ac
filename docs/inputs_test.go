package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/confcomjson"
	"github.com/cloister-cc/cloister/tools/cloister/workload/vn2"
)

var update = flag.Bool("update", false, "write generated documents anew")

const generated = "<!-- Below this line the text is generated: go test ./docs -run TestInputs -update -->\n"

// fieldTable writes one line a field; fields without effect that stand together share one.
func fieldTable(b *strings.Builder, title string, fields []workload.Field) {
	b.WriteString("\n## " + title + "\n\n| field | meaning |\n|---|---|\n")
	parent := func(f workload.Field) string { return f.Path[:strings.LastIndex(f.Path, ".")+1] }
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		names := []string{"`" + f.Path + "`"}
		for f.NoEffect && i+1 < len(fields) && fields[i+1].NoEffect && fields[i+1].Meaning == f.Meaning && parent(fields[i+1]) == parent(f) {
			i++
			names = append(names, "`"+strings.TrimPrefix(fields[i].Path, parent(f))+"`")
		}
		b.WriteString("| " + strings.Join(names, ", ") + " | " + strings.ReplaceAll(f.Meaning, "|", "\\|") + " |\n")
	}
}

// What a generator understands of its inputs is the readers' own tables, and so is the document.
func TestInputsHaveEveryField(t *testing.T) {
	path := filepath.Join(root, "docs/inputs.md")
	text := read(t, "docs/inputs.md")
	head, _, ok := strings.Cut(text, generated)
	if !ok {
		t.Fatal("docs/inputs.md has lost the line that says where the generated part begins")
	}
	var b strings.Builder
	b.WriteString(head + generated)
	fieldTable(&b, "Deployment templates", arm.Fields())
	fieldTable(&b, "Parameters files", arm.ParametersFields())
	b.WriteString("\n## Functions of templates\n\nEvaluated: `" + strings.Join(expr.Functions(), "`, `") +
		"`, and the functions that a template defines itself.\n\nKnown at deployment time only, and so wildcards: `" + strings.Join(expr.DeploymentTime(), "`, `") +
		"`, and those that begin with `list`.\n")
	fieldTable(&b, "JSON configurations", confcomjson.Fields())
	fieldTable(&b, "Virtual-node documents", vn2.Fields())
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != b.String() {
		t.Error("docs/inputs.md is not the code's; go test ./docs -run TestInputs -update writes it anew")
	}
}
