package journal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestTailReturnsWholeNewestLines(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines int
		max   int
	}{
		{"few", 3, 1000},
		{"cut-by-max", 10, 95},
		{"wrapped", 50000, Size},
		{"wrapped-and-cut", 50000, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := New()
			for i := range tc.lines {
				fmt.Fprintf(j, "line %06d of the log\n", i)
			}
			got := string(j.Tail(tc.max))
			if len(got) > tc.max {
				t.Fatalf("got %d bytes, want at most %d", len(got), tc.max)
			}
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			for i, line := range lines {
				if want := fmt.Sprintf("line %06d of the log", tc.lines-len(lines)+i); line != want {
					t.Fatalf("line %d: got %q, want %q", i, line, want)
				}
			}
		})
	}
}

func TestForwardOnlyAfterItWasAsked(t *testing.T) {
	j, console := New(), new(bytes.Buffer)
	log := j.Logger("test", "none")
	log.Info("before")
	j.Forward(console)
	log.Info("after")
	if s := console.String(); strings.Contains(s, "before") || !strings.Contains(s, "after") {
		t.Fatalf("console: got %q, want only what came after Forward", s)
	}
	if s := string(j.Tail(Size)); !strings.Contains(s, `"tee":"none"`) {
		t.Fatalf("journal: got %q, want the mode in each line", s)
	}
}
