package main

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

// TestInVM boots the development image with a checker in the agent's place. CUSE and configfs exist in no container's kernel, so this is the only place
// where the device is proved.
func TestInVM(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a VM: run without -short")
	}
	if raceEnabled {
		// What it would watch is the building of the image, which guest's tests show it; the code that is tested runs in the VM.
		t.Skip("the VM's programs are built without the race detector: run without -race")
	}
	if _, err := exec.LookPath(qemu.Program); err != nil {
		t.Skipf("no %s: apt-get install qemu-system-x86", qemu.Program)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir := t.TempDir()
	image, config := buildImage(ctx, t, dir)
	params := teeParams(t, image)
	params.Faults = nil
	if err := emulator.WriteTEEDisk(config.TEEDisk, params); err != nil {
		t.Fatal(err)
	}
	console := boot(ctx, t, config)
	for _, want := range []string{
		"ok pid: 1,", "ok move root", "ok open: ioctl /dev/sev-guest (configfs-tsm ", "host_data " + hex.EncodeToString(params.HostData[:]),
		"measurement " + hex.EncodeToString(params.Measurement[:]), "ok ioctl", "ok configfs", "ok go-sev-guest ioctl", "ok go-sev-guest configfs",
		"ok too small buffer", "ok derived key", "ok invalid vmpl", "ok unknown ioctl", "guestcheck: done",
	} {
		if !strings.Contains(console, want) {
			t.Errorf("console: %q is missing", want)
		}
	}
	if strings.Contains(console, "FAIL") || t.Failed() {
		t.Errorf("console:\n%s", console)
	}
	for line := range strings.Lines(console) {
		if strings.Contains(line, "guestcheck:") {
			t.Log(strings.TrimSpace(line))
		}
	}

	// The same image without the disk is a machine without SNP: nothing is emulated, and what comes after finds no device.
	config.TEEDisk, config.Console = "", config.Console+".2"
	console = boot(ctx, t, config)
	for _, want := range []string{"going on without an SNP device", "ok pid: 1,", "FAIL open: ", "no SEV-SNP report device", "guestcheck: done"} {
		if !strings.Contains(console, want) {
			t.Errorf("without the disk: %q is missing on the console:\n%s", want, console)
		}
	}
}

func buildProgram(ctx context.Context, t *testing.T, out, pkg string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, b)
	}
	return out
}

func buildImage(ctx context.Context, t *testing.T, dir string) (string, vm.Config) {
	t.Helper()
	image := filepath.Join(dir, "image")
	if _, err := guest.Build(ctx, guest.Options{
		Dev: true, Out: image, Source: "../..",
		Agent:    buildProgram(ctx, t, filepath.Join(dir, "guestcheck"), "./internal/guestcheck"),
		Emulator: buildProgram(ctx, t, filepath.Join(dir, "snp-emulator"), "."),
	}); err != nil {
		t.Fatal(err)
	}
	kernel, err := guest.VMLinux(filepath.Join(image, guest.FileKernel))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "vm")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	return image, vm.Config{
		ID: "snp-emulator-test", Dir: state, Kernel: kernel, Initrd: filepath.Join(image, guest.FileInitrd), Cmdline: guest.Cmdline,
		VCPUs: 1, MemoryMiB: 512, TEE: vm.TEEEmulated, TEEDisk: filepath.Join(dir, "tee.img"), Console: filepath.Join(dir, "console"), Accel: "tcg",
	}
}

func teeParams(t *testing.T, image string) emulator.TEEParams {
	t.Helper()
	a, err := emulator.LoadOrInit(filepath.Join(t.TempDir(), "emulator"))
	if err != nil {
		t.Fatal(err)
	}
	params, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	h, err := measure.HashFiles(filepath.Join(image, guest.FileKernel), filepath.Join(image, guest.FileInitrd), guest.Cmdline)
	if err != nil {
		t.Fatal(err)
	}
	params.HostData, params.Measurement = [32]byte{0xaa, 31: 0xbb}, h.Emulated()
	return params
}

// boot runs the machine until it switches itself off, and returns what it said.
func boot(ctx context.Context, t *testing.T, config vm.Config) string {
	t.Helper()
	start := time.Now()
	machine, err := qemu.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-machine.Done():
	case <-ctx.Done():
		t.Error("the machine did not switch itself off")
	}
	if err := machine.Stop(context.WithoutCancel(ctx)); err != nil {
		t.Errorf("stop: %v", err)
	}
	t.Logf("machine ran for %s", time.Since(start).Round(time.Millisecond))
	console, err := os.ReadFile(config.Console)
	if err != nil {
		t.Fatal(err)
	}
	return string(console)
}
