package measure

import (
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

func launchQEMU() Launch {
	h := HashParts([]byte("kernel"), []byte("initrd"), "cmdline")
	return Launch{VMM: QEMU, CPU: 0x800f12, GuestFeatures: DefaultGuestFeatures, Kernel: &h}
}

// TestDigestsOfEveryCount compares one pass over 64 processors with 64 passes.
func TestDigestsOfEveryCount(t *testing.T) {
	fw, l := amdSev().parse(t), launchQEMU()
	all, err := l.Digests(fw, 64)
	if err != nil || len(all) != 64 {
		t.Fatalf("got %d digests, %v", len(all), err)
	}
	for n := 1; n <= 64; n++ {
		if one, err := l.Digest(fw, n); err != nil || one != all[n-1] {
			t.Errorf("%d processors: got %s %v, want %s", n, one, err, all[n-1])
		}
	}
	if sorted := slices.Compact(slices.SortedFunc(slices.Values(all), func(a, b Digest) int { return slices.Compare(a[:], b[:]) })); len(sorted) != 64 {
		t.Errorf("got %d different digests, want 64", len(sorted))
	}
}

// TestFirmwareDigestStandsForImage: a digest of the pages gives what the pages give.
func TestFirmwareDigestStandsForImage(t *testing.T) {
	spec := amdSev()
	spec.Size = 2 * PageSize
	fw := spec.parse(t)
	l := launchQEMU()
	want, err := l.Digest(fw, 2)
	if err != nil {
		t.Fatal(err)
	}
	d := fw.Digest()
	l.Firmware = &d
	older := amdSev().parse(t) // other bytes, the same metadata
	if got, err := l.Digest(older, 2); err != nil || got != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

// TestEveryInputCounts: a launch that differs in one thing has another digest.
func TestEveryInputCounts(t *testing.T) {
	seen := map[Digest]string{}
	for name, change := range map[string]func(*Launch, *testImage){
		"base":     func(*Launch, *testImage) {},
		"cpu":      func(l *Launch, _ *testImage) { l.CPU = 0xa00f11 },
		"features": func(l *Launch, _ *testImage) { l.GuestFeatures = 0x21 },
		"fpu":      func(l *Launch, _ *testImage) { l.NoFPUState = true },
		"ec2":      func(l *Launch, _ *testImage) { l.VMM = EC2 },
		"kernel":   func(l *Launch, _ *testImage) { l.Kernel.Kernel[0]++ },
		"initrd":   func(l *Launch, _ *testImage) { l.Kernel.Initrd[0]++ },
		"cmdline":  func(l *Launch, _ *testImage) { l.Kernel.Cmdline[0]++ },
		"none":     func(l *Launch, _ *testImage) { l.Kernel = nil },
		"image":    func(_ *Launch, s *testImage) { s.change = func(b []byte) { b[0x800]++ } },
		"reset":    func(_ *Launch, s *testImage) { *s.ResetEIP = 0x80c004 },
		"offset":   func(_ *Launch, s *testImage) { s.HashTableAddress = 0x80fc10 },
		"order":    func(_ *Launch, s *testImage) { s.Sections[0], s.Sections[1] = s.Sections[1], s.Sections[0] },
		"caa": func(_ *Launch, s *testImage) {
			s.Sections = append(s.Sections, measuretest.Section{0x820000, PageSize, 4})
		},
		"empty": func(_ *Launch, s *testImage) { s.Sections = append(s.Sections, measuretest.Section{0, 0, 4}) }, // only the image differs
	} {
		l, spec := launchQEMU(), amdSev()
		change(&l, &spec)
		d, err := l.Digest(spec.parse(t), 2)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
	}
}

func TestLaunchRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Launch, *testImage)
		vcpus  int
		want   string
	}{
		{"no-processor", nil, 0, "0 processors"},
		{"too-many", nil, MaxVCPUs + 1, "513 processors"},
		{"no-features", func(l *Launch, _ *testImage) { l.GuestFeatures = 0x20 }, 1, "bit 0"},
		{"no-vmm", func(l *Launch, _ *testImage) { l.VMM = "" }, 1, "vmm"},
		{"unknown-vmm", func(l *Launch, _ *testImage) { l.VMM = "QEMU" }, 1, `vmm: got "QEMU"`},
		{"no-metadata", func(_ *Launch, s *testImage) { s.Sections = nil }, 1, "no SEV metadata"},
		{"no-reset-address", func(_ *Launch, s *testImage) { s.ResetEIP = nil }, 2, "no SEV-ES reset block"},
		{"no-hash-section", func(_ *Launch, s *testImage) { s.Sections = slices.Delete(s.Sections, 4, 5) }, 1, "no place for kernel hashes"},
		{"no-hash-table", func(_ *Launch, s *testImage) { s.HasHashTable = false }, 1, "no place for kernel hashes"},
		{"table-elsewhere", func(_ *Launch, s *testImage) { s.HashTableAddress = 0x810c00 }, 1, "want one in the page at 0x80f000"},
		{"table-small", func(_ *Launch, s *testImage) { s.HashTableSize = 0xaf }, 1, "room for 175 bytes"},
		{"table-over-the-end", func(_ *Launch, s *testImage) { s.HashTableAddress = 0x80fff0 }, 1, "table offset 0xff0"},
		{"gce-with-kernel", func(l *Launch, _ *testImage) { l.VMM = GCE }, 1, "GCE"},
		{"svsm-as-firmware", func(_ *Launch, s *testImage) { s.SVSMEntry = s.ResetEIP }, 1, "is an SVSM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, spec := launchQEMU(), amdSev()
			if c.change != nil {
				c.change(&l, &spec)
			}
			if d, err := l.Digest(spec.parse(t), c.vcpus); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s, %v, want an error with %q", d, err, c.want)
			}
		})
	}
	// Without a second processor nobody needs its address.
	l, spec := launchQEMU(), amdSev()
	spec.ResetEIP = nil
	if _, err := l.Digest(spec.parse(t), 1); err != nil {
		t.Error(err)
	}
}
