package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The texts by which docs/containerd.md sorts failures are texts that somebody can meet: ours are in the code.
func TestTroubleshootingTextsExist(t *testing.T) {
	_, section, ok := strings.Cut(read(t, "docs/containerd.md"), "## 8. When it does not work")
	if !ok {
		t.Fatal("the section is not there")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var texts []string
	for _, line := range tableLines(section, "| `") {
		cell, _, _ := strings.Cut(line[2:], " | ")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			texts = append(texts, m[1])
		}
	}
	if len(texts) < 12 {
		t.Fatalf("found %d texts, want the table's", len(texts))
	}
	// The kernel's and containerd's own; and names that stand for themselves.
	others := []string{"connection refused", "needed differ not loaded", `snapshotter "cloister" not found`}
	found := map[string]bool{}
	goFiles(t, func(path, text string) {
		if strings.HasPrefix(path, "../docs/") {
			return
		}
		for _, want := range texts {
			found[want] = found[want] || strings.Contains(text, want)
		}
	})
	for _, want := range texts {
		if !found[want] && !slices.Contains(others, want) {
			t.Errorf("nothing says %q", want)
		}
	}
}
