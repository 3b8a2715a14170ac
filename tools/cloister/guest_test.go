package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/guest"
)

func TestGuestUsage(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"no-output", []string{"guest", "build"}, exitUsage},
		{"emulator-in-production", []string{"guest", "build", "-o", t.TempDir(), "--emulator", "x"}, exitUsage},
		{"extra-argument", []string{"guest", "build", "-o", t.TempDir(), "x"}, exitUsage},
		{"unknown-flag", []string{"guest", "lock", "--upgrade"}, exitUsage},
		{"foreign-directory", []string{"guest", "build", "-o", "."}, exitFailed},
		{"type-without-firmware", []string{"guest", "build", "-o", t.TempDir(), "--vcpu-type", "EPYC"}, exitUsage},
		{"features", []string{"guest", "build", "-o", t.TempDir(), "--firmware", "x", "--guest-features", "0"}, exitUsage},
		{"firmware-absent", []string{"guest", "build", "-o", t.TempDir(), "--firmware", "/absent/OVMF.fd"}, exitFailed},
		{"key-without-endorsement", []string{"guest", "build", "-o", t.TempDir(), "--endorsement-key", "x"}, exitUsage},
		{"endorsement-without-key", []string{"guest", "build", "-o", t.TempDir(), "--endorsement", "x"}, exitUsage},
		{"help", []string{"guest", "build", "--help"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(t.Context(), tt.args); got != tt.want {
				t.Errorf("got exit code %d, want %d", got, tt.want)
			}
		})
	}
}

// TestGuestLockPrints reads what the command prints with the program's own parsers.
func TestGuestLockPrints(t *testing.T) {
	print := func(args ...string) []byte {
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	text, err := guest.ParseLock(print("guest", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	var decoded []guest.Package
	if err := json.Unmarshal(print("guest", "lock", "--json"), &decoded); err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 || len(text) != len(decoded) || text[0] != decoded[0] {
		t.Errorf("text has %d packages, JSON %d: want the same", len(text), len(decoded))
	}
}

func TestGuestLockUpdateNeedsATree(t *testing.T) {
	t.Chdir(t.TempDir())
	root := newRoot()
	root.SetArgs([]string{"guest", "lock", "--update"})
	if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "not inside a Cloister source tree") {
		t.Errorf("got %v", err)
	}
}
