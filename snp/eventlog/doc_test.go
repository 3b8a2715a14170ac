package eventlog_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/eventlog"
)

// TestDocumentHasEveryKind: who adds a kind, or a field to one, says so where relying parties read it.
func TestDocumentHasEveryKind(t *testing.T) {
	var want strings.Builder
	want.WriteString("| kind | members | says |\n|---|---|---|\n")
	for _, k := range eventlog.Kinds() {
		members := "-"
		if len(k.Fields) > 0 {
			var names []string
			for _, f := range k.Fields {
				names = append(names, "`"+string(f)+"`")
			}
			members = strings.Join(names, ", ")
		}
		want.WriteString("| `" + k.Name + "` | " + members + " | " + k.Doc + " |\n")
	}
	text, err := os.ReadFile("../../docs/eventlog.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+want.String()+"\n") {
		t.Errorf("the table of docs/eventlog.md is not the code's; it should read:\n%s", want.String())
	}
}
