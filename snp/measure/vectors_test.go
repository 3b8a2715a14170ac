package measure

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

// number is a JSON string in Go's notation for integers.
type number uint64

func (n *number) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 0, 64)
	*n = number(v)
	return err
}

type vectorSection struct {
	Address, Size number
	Kind          uint32
}

type vectorFirmware struct {
	Sections []vectorSection `json:"sections"`
	ResetEIP *number         `json:"reset_eip"`
	Table    *vectorSection  `json:"hash_table"`
}

func (v vectorFirmware) spec() testImage {
	var s testImage
	for _, x := range v.Sections {
		s.Sections = append(s.Sections, measuretest.Section{uint32(x.Address), uint32(x.Size), x.Kind})
	}
	if v.ResetEIP != nil {
		eip := uint32(*v.ResetEIP)
		s.ResetEIP = &eip
	}
	if v.Table != nil {
		s.HasHashTable, s.HashTableAddress, s.HashTableSize = true, uint32(v.Table.Address), uint32(v.Table.Size)
	}
	return s
}

type vectorCase struct {
	Name, Source   string
	Firmware       string `json:"firmware"`
	FirmwareDigest string `json:"firmware_digest"`
	VMM            VMM    `json:"vmm"`
	CPUType        string `json:"cpu_type"`
	GuestFeatures  number `json:"guest_features"`
	NoFPUState     bool   `json:"no_fpu_state"`
	Kernel         *struct{ Kernel, Initrd, Cmdline string }
	VCPUs          int
	Digest         string
}

// launch is a case as this package takes it.
func (c vectorCase) launch(t *testing.T) Launch {
	t.Helper()
	seed, err := ParseDigest(c.FirmwareDigest)
	if err != nil {
		t.Fatal(err)
	}
	l := Launch{VMM: c.VMM, GuestFeatures: uint64(c.GuestFeatures), NoFPUState: c.NoFPUState, Firmware: &seed}
	if c.CPUType != "" {
		if l.CPU, err = CPUType(c.CPUType); err != nil {
			t.Fatal(err)
		}
	}
	if k := c.Kernel; k != nil {
		h := HashParts([]byte(k.Kernel), []byte(k.Initrd), k.Cmdline)
		l.Kernel = &h
	}
	return l
}

func readVectors(t *testing.T, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "tests", "vectors", "measure", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

// TestLaunchVectors are digests that other calculators expect, for QEMU and EC2.
func TestLaunchVectors(t *testing.T) {
	var v struct {
		Firmware map[string]vectorFirmware
		Cases    []vectorCase
	}
	readVectors(t, "launch.json", &v)
	if len(v.Cases) != 22 {
		t.Fatalf("got %d cases, want 22", len(v.Cases))
	}
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			spec, ok := v.Firmware[c.Firmware]
			if !ok {
				t.Fatalf("no firmware %q", c.Firmware)
			}
			got, err := c.launch(t).Digest(spec.spec().parse(t), c.VCPUs)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != c.Digest {
				t.Errorf("got %s, want %s", got, c.Digest)
			}
		})
	}
}

// TestGCEVectors measures a whole image.
func TestGCEVectors(t *testing.T) {
	var v struct {
		Image struct {
			vectorFirmware
			Size       int
			Marks      map[string]string
			MetadataAt number `json:"metadata_at"`
		}
		Digests  map[string]string
		SaveArea map[string]string `json:"save_area"`
	}
	readVectors(t, "gce.json", &v)
	spec := v.Image.spec()
	spec.Size, spec.MetadataAt = v.Image.Size, int(v.Image.MetadataAt)
	spec.change = func(image []byte) { mark(t, image, v.Image.Marks) }
	fw := spec.parse(t)
	l := Launch{VMM: GCE, GuestFeatures: DefaultGuestFeatures}
	for vcpus, want := range v.Digests {
		n, err := strconv.Atoi(vcpus)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.Digest(fw, n); err != nil || got.String() != want {
			t.Errorf("%d processors: got %s %v, want %s", n, got, err, want)
		}
	}
	area, err := l.saveArea(bspEntry)
	if err != nil {
		t.Fatal(err)
	}
	got := area.Page()
	for at := range len(got) / 16 {
		row, ok := v.SaveArea[offset(at*16)]
		if !ok {
			row = hex.EncodeToString(make([]byte, 16))
		}
		if g := hex.EncodeToString(got[at*16 : at*16+16]); g != row {
			t.Errorf("save area at %#x: got %s, want %s", at*16, g, row)
		}
	}
}

func offset(at int) string {
	s := strconv.FormatInt(int64(at), 16)
	for len(s) < 3 {
		s = "0" + s
	}
	return "0x" + s
}

func mark(t *testing.T, b []byte, marks map[string]string) {
	t.Helper()
	for at, text := range marks {
		n, err := strconv.ParseInt(at, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[n:], text)
	}
}

func TestPageVectors(t *testing.T) {
	var v struct {
		Cases []struct {
			Name    string
			Type    PageType
			Address number
			Pages   int
			Marks   map[string]string
			Digest  string
		}
	}
	readVectors(t, "pages.json", &v)
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			data := make([]byte, c.Pages*PageSize)
			mark(t, data, c.Marks)
			var ctx Context
			if err := ctx.Update(c.Type, uint64(c.Address), data); err != nil || ctx.Digest().String() != c.Digest {
				t.Errorf("got %s %v, want %s", ctx.Digest(), err, c.Digest)
			}
			if c.Type == PageZero {
				var ctx Context
				ctx.section(c.Type, Section{Address: uint32(c.Address), Size: uint32(len(data))})
				if ctx.Digest().String() != c.Digest {
					t.Errorf("as a section: got %s, want %s", ctx.Digest(), c.Digest)
				}
			}
		})
	}
	if len(v.Cases) == 0 {
		t.Fatal("no cases")
	}
}
