package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp"
)

func testParams(t testing.TB, id Identity) TEEParams {
	t.Helper()
	p, err := testAuthority(t).Params(id)
	if err != nil {
		t.Fatal(err)
	}
	p.HostData = sha256.Sum256([]byte("package policy"))
	p.Measurement[0] = 0x4d
	return p
}

func TestTEEDiskRoundTrip(t *testing.T) {
	want := testParams(t, DefaultIdentity())
	script := []Fault{{Kind: FaultBusy, After: 1, Count: 2, Times: 3}, {Kind: FaultTCBUpgrade, After: 9, Data: []byte{1}}, {Kind: FaultFlip, Bit: 77}}
	if err := testAuthority(t).Play(&want, script); err != nil {
		t.Fatal(err)
	}
	want.CPU, want.Interface, want.Entries, want.ImageID[3] = snp.CPUID{Family: 0x19, Model: 0xA0}, ConfigfsOnly, 7, 9
	path := filepath.Join(t.TempDir(), "tee.img")
	for range 2 { // an old disk is replaced
		if err := WriteTEEDisk(path, want); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 || st.Size()%512 != 0 {
		t.Errorf("got mode %#o and %d bytes, want 0600 and whole sectors", st.Mode().Perm(), st.Size())
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadTEEDisk(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".tee-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// reseal writes a document under a right header, so that a test reaches the checks behind the hash.
func reseal(doc []byte) []byte {
	sum := sha256.Sum256(doc)
	b := []byte(teeMagic)
	b = binary.LittleEndian.AppendUint32(b, teeVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(doc)))
	return append(append(b, sum[:]...), doc...)
}

func TestReadTEEDiskRefuses(t *testing.T) {
	disk, err := EncodeTEEDisk(testParams(t, DefaultIdentity()))
	if err != nil {
		t.Fatal(err)
	}
	with := func(off int, b ...byte) []byte {
		d := bytes.Clone(disk)
		copy(d[off:], b)
		return d
	}
	doc := func(edit func(p *TEEParams)) []byte {
		p := testParams(t, DefaultIdentity())
		edit(&p)
		b, err := teeEncoding.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return reseal(b)
	}
	for _, c := range []struct {
		name string
		disk []byte
	}{
		{"empty", nil},
		{"short header", disk[:20]},
		{"other magic", with(0, 'C')},
		{"other version", with(len(teeMagic), 2)},
		{"length beyond the limit", with(len(teeMagic)+4, 0xff, 0xff, 0xff, 0xff)},
		{"cut document", disk[:teeHeaderSize+10]},
		{"flipped byte", with(teeHeaderSize+100, disk[teeHeaderSize+100]^1)},
		{"not cbor", reseal([]byte{0xff})},
		{"trailing cbor", reseal(append(bytes.Clone(disk[teeHeaderSize:]), 0))},
		{"unknown key", reseal([]byte{0xa1, 0x18, 0x63, 0x01})},
		{"report version 6", doc(func(p *TEEParams) { p.ReportVersion = 6 })},
		{"other line", doc(func(p *TEEParams) { p.Line = "Venice" })},
		{"policy without bit 17", doc(func(p *TEEParams) { p.Policy = 0 })},
		{"key that is none", doc(func(p *TEEParams) { p.Key = p.Key[:20] })},
		{"unknown fault", doc(func(p *TEEParams) { p.Faults = []Fault{{Kind: "fire"}} })},
		{"endless busy", doc(func(p *TEEParams) { p.Faults = []Fault{{Kind: FaultBusy, WaitMS: 1 << 30}} })},
		{"too many faults", doc(func(p *TEEParams) {
			for range maxFaults + 1 {
				p.Faults = append(p.Faults, Fault{Kind: FaultBusy})
			}
		})},
		{"vmpl floor 4", doc(func(p *TEEParams) { p.VMPLFloor = 4 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := ReadTEEDisk(bytes.NewReader(c.disk)); err == nil {
				t.Errorf("accepted: %+v", p)
			}
		})
	}
}

func FuzzReadTEEDisk(f *testing.F) {
	for _, id := range []Identity{DefaultIdentity(), {Line: snp.Turin}, {Line: snp.Milan, VLEK: true}} {
		disk, err := EncodeTEEDisk(testParams(f, id))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(disk[teeHeaderSize:])
	}
	full := testParams(f, DefaultIdentity())
	if err := testAuthority(f).Play(&full, []Fault{{Kind: FaultTCBUpgrade, Data: []byte("x")}, {Kind: FaultFlip, Bit: 9}}); err != nil {
		f.Fatal(err)
	}
	full.Interface, full.Entries, full.VMPLFloor = IoctlOnly, 1, 3
	disk, err := EncodeTEEDisk(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(disk[teeHeaderSize:])
	f.Fuzz(func(t *testing.T, doc []byte) {
		if _, err := ReadTEEDisk(bytes.NewReader(doc)); err == nil {
			t.Log("a whole disk")
		}
		p, err := ReadTEEDisk(bytes.NewReader(reseal(doc)))
		if err != nil {
			if p.Key != nil || p.Chain != nil {
				t.Fatal("an error came with parameters")
			}
			return
		}
		if _, err := NewProcessor(p); err != nil {
			t.Fatalf("the reader accepts what the processor refuses: %v", err)
		}
	})
}

func TestFindTEEDisk(t *testing.T) {
	sys := t.TempDir()
	disk := func(name, serial string) {
		if err := os.MkdirAll(filepath.Join(sys, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, name, "serial"), []byte(serial), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk("vda", "initdata")
	if err := os.MkdirAll(filepath.Join(sys, "loop0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := FindTEEDisk(sys); !errors.Is(err, ErrNoTEEDisk) {
		t.Errorf("no disk: got %v, want %v", err, ErrNoTEEDisk)
	}
	if _, err := FindTEEDisk(filepath.Join(sys, "absent")); !errors.Is(err, ErrNoTEEDisk) {
		t.Errorf("no block devices: got %v, want %v", err, ErrNoTEEDisk)
	}
	disk("vdb", TEESerial+"\n")
	if got, err := FindTEEDisk(sys); err != nil || got != "vdb" {
		t.Errorf("one disk: got %q %v, want vdb", got, err)
	}
	disk("vdc", TEESerial)
	if got, err := FindTEEDisk(sys); err == nil || errors.Is(err, ErrNoTEEDisk) {
		t.Errorf("two disks: got %q %v, want an error of its own", got, err)
	}
}
