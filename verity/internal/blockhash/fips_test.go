package blockhash

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"
)

// In FIPS mode the assembly is not used. The mode is set when a program starts, so this test starts itself once more.
func TestFIPSMode(t *testing.T) {
	const marker = "CLOISTER_TEST_FIPS"
	if os.Getenv(marker) != "" {
		if !fips140.Enabled() {
			t.Fatal("FIPS mode is off")
		}
		h, err := New(nil)
		if err != nil || h.fast {
			t.Fatalf("got %v, fast %t, want the standard library", err, h != nil && h.fast)
		}
		return
	}
	if h, err := New(nil); err != nil || h.fast != accelerated() {
		t.Fatalf("outside FIPS mode: got %v, fast %t, want %t", err, h != nil && h.fast, accelerated())
	}
	if !accelerated() { // there is nothing to turn off, and purego has no FIPS mode
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.CommandContext(t.Context(), self, "-test.run=^TestFIPSMode$", "-test.v")
	again.Env = append(os.Environ(), "GODEBUG=fips140=on", marker+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("in FIPS mode: %v\n%s", err, out)
	}
}
