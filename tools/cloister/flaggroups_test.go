package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestGroupedHelpHasEveryFlagOnce(t *testing.T) {
	for _, path := range [][]string{{"attest", "verify"}} {
		cmd, _, err := newRoot().Find(path)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd.SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), helpGroup+":\n") || !strings.Contains(out.String(), "Examples:\n") {
			t.Errorf("%s: no group or no example in\n%s", cmd.Name(), out.String())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			shown := 0
			_, flags, _ := strings.Cut(out.String(), cmd.Example)
			for line := range strings.Lines(flags) {
				if fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "-"+f.Shorthand+",")); len(fields) > 0 && fields[0] == "--"+f.Name {
					shown++
				}
			}
			if shown != 1 {
				t.Errorf("%s: --%s is shown %d times, want once", cmd.Name(), f.Name, shown)
			}
		})
	}
}

func TestGroupFlagsKnowsItsFlags(t *testing.T) {
	for _, names := range [][]string{{"none"}, {"a", "a"}} {
		cmd := &cobra.Command{Use: "x"}
		cmd.Flags().Bool("a", false, "")
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("took %q", names)
				}
			}()
			groupFlags(cmd, flagGroup{"Group", names})
		}()
	}
}
