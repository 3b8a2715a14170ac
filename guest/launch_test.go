package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

func testFirmware(t *testing.T, m measuretest.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "OVMF.fd")
	if err := os.WriteFile(path, m.Build(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMeasurementsWithLaunch pins the form of the file with launch digests, and that it is what the image's own files give.
func TestMeasurementsWithLaunch(t *testing.T) {
	plan, err := (&Launch{Firmware: testFirmware(t, measuretest.AmdSev())}).plan()
	if err != nil {
		t.Fatal(err)
	}
	img := testImage()
	img.launch = plan
	got := measured(t, img)
	golden(t, "measurements-launch.json", got)
	if again := measured(t, img); string(again) != string(got) {
		t.Error("the same image was measured as another")
	}
	var m Measurements
	if err := json.Unmarshal(got, &m); err != nil {
		t.Fatal(err)
	}
	fw, err := measure.ParseFirmware(measuretest.AmdSev().Build())
	if err != nil {
		t.Fatal(err)
	}
	h := measure.HashParts([]byte("kernel"), []byte("initrd"), Cmdline)
	cpu, err := measure.CPUType("EPYC-v4")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= LaunchVCPUs; n++ {
		want, err := measure.Launch{VMM: measure.QEMU, CPU: cpu, GuestFeatures: 1, Kernel: &h}.Digest(fw, n)
		if err != nil || m.Launch.Digests[n-1] != want.String() {
			t.Errorf("%d processors: got %s %v, want %s", n, m.Launch.Digests[n-1], err, want)
		}
	}
	if m.Emulated != h.Emulated().String() {
		t.Errorf("emulated: got %s, want %s", m.Emulated, h.Emulated())
	}
}

// TestLaunchRefusedBeforeTheBuild: nothing is fetched or compiled for a launch that cannot be.
func TestLaunchRefusedBeforeTheBuild(t *testing.T) {
	noHashes := measuretest.AmdSev()
	noHashes.HasHashTable = false
	for name, c := range map[string]struct {
		launch Launch
		want   string
	}{
		"no-firmware":      {Launch{}, "no firmware"},
		"absent":           {Launch{Firmware: "/absent/OVMF.fd"}, "/absent/OVMF.fd"},
		"no-kernel-hashes": {Launch{Firmware: testFirmware(t, noHashes)}, "no place for kernel hashes"},
		"cpu-type":         {Launch{Firmware: testFirmware(t, measuretest.AmdSev()), CPUType: "host"}, `cpu type: got "host"`},
		"features":         {Launch{Firmware: testFirmware(t, measuretest.AmdSev()), GuestFeatures: 0x20}, "bit 0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			if _, err := Build(t.Context(), Options{Out: dir, Launch: &c.launch}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("something was written")
			}
		})
	}
}
