package qemu

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/shim/vm"
)

// Guests of a few bytes, 32-bit code at a PVH entry: QEMU needs no more to run.
var (
	guestHalts     = []byte{0xfa, 0xf4, 0xeb, 0xfc}                                                             // cli; hlt; again
	guestPowersOff = []byte{0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xfa, 0xf4, 0xeb, 0xfc} // out 0x604, 0x2000: ACPI S5
	guestTalks     = append([]byte{0x66, 0xba, 0xf8, 0x03, 0xb0, 'x', 0xee}, guestPowersOff...)                 // out 0x3f8, 'x'
	guestResets    = []byte{0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xfa, 0xf4, 0xeb, 0xfc}                   // out 0xcf9, 6
)

// tinyKernel wraps code into an ELF file with the Xen note that makes QEMU start it at its physical entry.
func tinyKernel(code []byte) []byte {
	const (
		header, program = 64, 56
		load            = 0x100000
		noteAt          = header + 2*program
		codeAt          = 0x100
	)
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2)  // executable
	b = le.AppendUint16(b, 62) // x86-64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, load+codeAt) // entry
	b = le.AppendUint64(b, header)      // program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{header, program, 2, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	note := append(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 4), 4), 18), "Xen\x00"...)
	note = le.AppendUint32(note, load+codeAt)
	segment := func(kind uint32, offset, size uint64) {
		b = le.AppendUint32(b, kind)
		b = le.AppendUint32(b, 5)
		for _, v := range []uint64{offset, load + offset, load + offset, size, size, 4} {
			b = le.AppendUint64(b, v)
		}
	}
	segment(1, 0, uint64(codeAt+len(code)))
	segment(4, noteAt, uint64(len(note)))
	b = append(b, note...)
	b = append(b, bytes.Repeat([]byte{0}, codeAt-len(b))...)
	return append(b, code...)
}

func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(Program); err != nil {
		t.Skipf("%s is missing: apt-get install qemu-system-x86", Program)
	}
}

func tinyConfig(t *testing.T, code []byte) vm.Config {
	t.Helper()
	needQEMU(t)
	dir := t.TempDir()
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	for path, content := range map[string][]byte{kernel: tinyKernel(code), initrd: []byte("initrd")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return vm.Config{
		ID: "tiny", Dir: filepath.Join(dir, "vm"), Kernel: kernel, Initrd: initrd, Console: filepath.Join(dir, "console"),
		VCPUs: 1, MemoryMiB: 64, TEE: vm.TEENone, Accel: "tcg",
	}
}

func disk(t *testing.T) vm.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return vm.Disk{Path: path, ReadOnly: true}
}
