package main

import (
	"strings"
	"testing"
)

func TestHelpOfNothingIsUsage(t *testing.T) {
	for _, args := range [][]string{{"help", "policy", "typo"}, {"help", "typo"}} {
		if code := run(t.Context(), args); code != exitUsage {
			t.Errorf("%q: got exit code %d, want %d", args, code, exitUsage)
		}
	}
	if text := says(t, "help", "attest", "verify"); !strings.Contains(text, "--nonce") {
		t.Errorf("help attest verify: got\n%s", text)
	}
	if text := says(t, "help"); !strings.Contains(text, "Available Commands") {
		t.Errorf("help: got\n%s", text)
	}
}
