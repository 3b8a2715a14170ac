package main

import (
	"strings"
	"testing"
)

func TestFlagsOfOthersAreExplained(t *testing.T) {
	for args, want := range map[string]string{
		"policy generate --diff":              "policy diff",
		"policy generate -d":                  "policy diff",
		"policy generate --save-to-file x":    "-o FILE",
		"policy generate --include-fragments": "fragment pull",
		"policy generate --faster-hashing":    "not needed",
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(args))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
		if code := run(t.Context(), strings.Fields(args)); code != exitUsage {
			t.Errorf("%s: got exit code %d, want %d", args, code, exitUsage)
		}
	}
	root := newRoot()
	root.SetArgs([]string{"policy", "generate", "--no-such-flag"})
	if err := root.ExecuteContext(t.Context()); err == nil || err.Error() != "unknown flag: --no-such-flag" {
		t.Errorf("got %v", err)
	}
}

// TestHintsAreForFlagsWeHaveNot: a hint for a flag that a command has would never be shown for it.
func TestHintsAreForFlagsWeHaveNot(t *testing.T) {
	root := newRoot()
	cmd, _, err := root.Find([]string{"policy", "generate"})
	if err != nil {
		t.Fatal(err)
	}
	for name := range flagHints {
		if cmd.Flags().Lookup(strings.TrimLeft(name, "-")) != nil {
			t.Errorf("policy generate has %s", name)
		}
	}
}
