package boot

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/shim/vm"
)

func TestSNPBootsTheMeasuredKernel(t *testing.T) {
	tee := TEE{Guest: Guest{Kernel: "/g/vmlinuz"}}
	c := vm.Config{TEE: vm.TEESNP, Kernel: "/g/vmlinux", Firmware: "/g/OVMF.fd"}
	if err := tee.Prepare(testContext(t), &c); err == nil || !strings.Contains(err.Error(), "measured") {
		t.Errorf("got %v, want a word about the measured kernel", err)
	}
}

func TestCheckQEMUVersion(t *testing.T) {
	for text, ok := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)": false, "QEMU emulator version 9.0.2": false,
		"QEMU emulator version 9.1.0": true, "QEMU emulator version 10.0.0": true, "something else": false,
	} {
		if err := checkQEMUVersion(text); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok %v", text, err, ok)
		}
	}
}
