package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// No flag without a value is taken for one that was not given: whatever it asks for would go unasked, and bad evidence be accepted.
func TestAttestVerifyRefusesEmptyFlags(t *testing.T) {
	v := loadEvidenceVectors(t)
	flags, lists := 0, 0
	newAttestVerifyCommand().Flags().VisitAll(func(f *pflag.Flag) {
		flags++
		cases := map[string][]string{"joined": {"--" + f.Name + "="}}
		if f.NoOptDefVal == "" {
			cases["apart"] = []string{"--" + f.Name, ""}
		}
		if _, ok := f.Value.(pflag.SliceValue); ok {
			lists++
			cases["second"] = []string{"--" + f.Name, "x", "--" + f.Name, ""}
		}
		if f.Value.Type() == "stringSlice" {
			cases["member"] = []string{"--" + f.Name, "x,,y"}
		}
		for name, args := range cases {
			t.Run(f.Name+"/"+name, func(t *testing.T) {
				out, code := v.verify(t, append([]string{"bundle.json"}, args...)...)
				if code != exitVerifyUsage || !strings.Contains(out, "--"+f.Name) {
					t.Errorf("got exit code %d, want %d and the flag named:\n%.1000s", code, exitVerifyUsage, out)
				}
			})
		}
	})
	if flags < 40 || lists < 10 {
		t.Errorf("got %d flags, %d of them lists", flags, lists)
	}
}
