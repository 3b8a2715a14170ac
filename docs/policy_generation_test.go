package docs_test

import (
	"fmt"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

// The levels are data files, and so is their table.
func TestPolicyGenerationHasEveryLevel(t *testing.T) {
	var want []string
	for _, name := range defaults.Levels() {
		l, err := defaults.LoadLevel(name)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s | %s |",
			l.Name, l.APIVersion, l.FrameworkVersion, l.InfrastructureSVN, l.EnvOrder, l.Signals, l.Defaults))
	}
	compare(t, "docs/policy-generation.md", tableLines(read(t, "docs/policy-generation.md"), "| `confcom-", "| `latest`"), want)
}
