package main

import (
	"strings"
	"testing"
)

func TestOneValueIsNotGivenTwice(t *testing.T) {
	for _, args := range [][]string{
		{"policy", "generate", "--image", "a", "--image", "b"},
		{"policy", "generate", "-i", "a", "-i", "b"},
		{"policy", "generate", "--tar", "a", "--tar", "b"},
		{"policy", "diff", "-a", "a", "--template-file", "b"},
		{"layer", "build", "x", "-o", "a", "-o", "a"},
	} {
		root := newRoot()
		root.SetArgs(args)
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "is given twice") {
			t.Errorf("%q: got %v, want it refused", args, err)
		}
		if code := run(t.Context(), args); code != exitUsage && args[1] != "diff" {
			t.Errorf("%q: got exit code %d, want %d", args, code, exitUsage)
		}
	}
}

func TestFlagsOfManyValuesTakeThem(t *testing.T) {
	root := newRoot()
	cmd, _, err := root.Find([]string{"policy", "generate"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags([]string{"-p", "a", "-p", "b", "--json", "--json", "--image", "c"}); err != nil {
		t.Error(err)
	}
}
