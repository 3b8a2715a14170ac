package snp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-sev-guest/abi"
)

func TestGUIDs(t *testing.T) {
	for _, c := range []struct {
		got  GUID
		want string
	}{
		{GUIDVCEK, abi.VcekGUID},
		{GUIDVLEK, abi.VlekGUID},
		{GUIDASK, abi.AskGUID},
		{GUIDARK, abi.ArkGUID},
		{GUIDCRL, "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"},
		{GUIDCPU, abi.ExtraPlatformInfoGUID},
	} {
		if c.got.String() != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// entries builds a table from offset and length pairs, unchecked.
func entries(size int, pairs ...uint32) []byte {
	b := make([]byte, size)
	for i := 0; i < len(pairs); i += 2 {
		e := b[i/2*certEntrySize:]
		copy(e, GUIDVCEK[:])
		binary.LittleEndian.PutUint32(e[16:], pairs[i])
		binary.LittleEndian.PutUint32(e[20:], pairs[i+1])
	}
	return b
}

func TestParseCerts(t *testing.T) {
	full := make([]uint32, 0, 2*(maxCertEntries+1))
	for range maxCertEntries + 1 {
		full = append(full, 2000, 1)
	}
	for _, c := range []struct {
		name  string
		table []byte
		want  int
		ok    bool
	}{
		{"nothing", nil, 0, true},
		{"zeros", make([]byte, 4096), 0, true},
		{"one", entries(100, 48, 52), 1, true},
		{"two overlapping", entries(200, 72, 100, 80, 100), 2, true},
		{"entry without bytes", entries(100, 48, 0), 0, true},
		{"as many as allowed", entries(4096, full[:2*maxCertEntries]...), maxCertEntries, true},
		{"sum wraps in 32 bits", entries(100, 0xFFFFFFF0, 0x20), 0, false},
		{"largest of both", entries(100, 0xFFFFFFFF, 0xFFFFFFFF), 0, false},
		{"one byte too long", entries(100, 48, 53), 0, false},
		{"blob in the entries", entries(100, 47, 10), 0, false},
		{"no closing entry", entries(24, 24, 1)[:24], 0, false},
		{"cut entry", entries(100, 48, 52)[:30], 0, false},
		{"too many", entries(4096, full...), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			certs, err := ParseCerts(c.table)
			if (err == nil) != c.ok || len(certs) != c.want {
				t.Errorf("got %d certificates, %v; want %d, ok %t", len(certs), err, c.want, c.ok)
			}
		})
	}
}

// TestMarshalCerts reads our table with the other parser.
func TestMarshalCerts(t *testing.T) {
	want := []Cert{{GUIDVCEK, []byte("vcek")}, {GUIDASK, []byte("ask")}, {GUIDARK, []byte("ark")}}
	table := MarshalCerts(want)
	got, err := ParseCerts(table)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("round trip (-want +got):\n%s", d)
	}
	var theirs abi.CertTable
	if err := theirs.Unmarshal(table); err != nil {
		t.Fatal(err)
	}
	for _, c := range want {
		if b, err := theirs.GetByGUIDString(c.GUID.String()); err != nil || !bytes.Equal(b, c.Data) {
			t.Errorf("go-sev-guest reads %q, %v; want %q", b, err, c.Data)
		}
	}
}

func FuzzParseCerts(f *testing.F) {
	f.Add([]byte{})
	f.Add(MarshalCerts([]Cert{{GUIDVCEK, []byte("vcek")}, {GUIDARK, []byte("ark")}}))
	f.Add(entries(100, 0xFFFFFFF0, 0x20))
	f.Add(make([]byte, 4096))
	f.Fuzz(func(t *testing.T, table []byte) {
		certs, err := ParseCerts(table)
		if err != nil {
			if certs != nil {
				t.Fatal("an error came with certificates")
			}
			if !bytes.Equal(trimCerts(table), table) {
				t.Fatal("a table that does not parse was changed")
			}
			return
		}
		for _, c := range certs {
			if !bytes.Contains(table, c.Data) || len(c.Data) == 0 {
				t.Fatal("a blob is not of the table")
			}
		}
		again, err := ParseCerts(trimCerts(table))
		if err != nil || !cmp.Equal(again, certs) {
			t.Fatalf("trimming changed the certificates: %v", err)
		}
		rebuilt, err := ParseCerts(MarshalCerts(certs))
		if err != nil || !cmp.Equal(rebuilt, certs) {
			t.Fatalf("marshalling changed the certificates: %v", err)
		}
	})
}

// TestParseCPUEntry reads what go-sev-guest writes, and nothing of another size.
func TestParseCPUEntry(t *testing.T) {
	for _, want := range []CPUID{{0x19, 0x01, 1}, {0x19, 0x11, 1}, {0x19, 0xA0, 2}, {0x1A, 0x02, 1}, {0x1A, 0x11, 0}} {
		b, err := (&abi.ExtraPlatformInfo{Size: abi.ExtraPlatformInfoV0Size, Cpuid1Eax: abi.FmsToCpuid1Eax(want.Family, want.Model, want.Stepping)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseCPUEntry(b); err != nil || got != want {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
		for _, bad := range [][]byte{nil, b[:7], append(bytes.Clone(b), 0), {9, 0, 0, 0, 1, 2, 3, 4}} {
			if got, err := ParseCPUEntry(bad); err == nil || got != (CPUID{}) {
				t.Errorf("%x: got %v, want an error", bad, got)
			}
		}
	}
}
