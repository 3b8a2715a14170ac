package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var errTwice = errors.New("is given twice; it takes one value")

// onceOnly makes every flag of the commands that takes one value refuse a second one: the first would be dropped in silence, and
// what it named with it, as a container that is then missing from a policy.
func onceOnly(cmd *cobra.Command) {
	wrap := func(f *pflag.Flag) {
		if _, done := f.Value.(*onceValue); !done && f.Value.Type() == "string" {
			f.Value = &onceValue{Value: f.Value}
		}
	}
	cmd.Flags().VisitAll(wrap)
	cmd.PersistentFlags().VisitAll(wrap)
	for _, sub := range cmd.Commands() {
		onceOnly(sub)
	}
}

// onceValue is a value that can be set once.
type onceValue struct {
	pflag.Value
	set bool
}

func (v *onceValue) Set(text string) error {
	if v.set {
		return errTwice
	}
	v.set = true
	return v.Value.Set(text)
}
