package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/snp"
)

// TestFatalSaysWhy: the console has a sentence of its own for what the machine's owner can do something about.
func TestFatalSaysWhy(t *testing.T) {
	for want, err := range map[boot.Message]error{
		boot.FatalInitdata:  fmt.Errorf("x: %w", &initdataError{errors.New("y")}),
		boot.FatalTransport: fmt.Errorf("x: %w", errTransport),
		boot.FatalLevel:     fmt.Errorf("%w: %w", errDevice, snp.ErrLevel),
		boot.FatalDevice:    fmt.Errorf("%w: %w", errDevice, errors.New("permission denied")),
		boot.FatalInternal:  errors.New("permission denied"),
	} {
		if got := fatalOf(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}
