package measure

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

func TestParseFirmware(t *testing.T) {
	spec := amdSev()
	spec.Size, spec.MetadataAt = 3*PageSize, 0x1230
	fw := spec.parse(t)
	var want []Section
	for _, s := range spec.Sections {
		want = append(want, section(s))
	}
	if fw.Size() != 3*PageSize || !slices.Equal(fw.Sections, want) || *fw.ResetEIP != *spec.ResetEIP || *fw.HashTable != (Range{0x80fc00, 0x400}) || fw.SVSMEntry != nil {
		t.Errorf("got %+v, want %+v", fw, spec)
	}
	// Entries of other programs between ours are passed over, and zeros are no hash table.
	spec.HashTableAddress, spec.HashTableSize = 0, 0
	spec.change = func(image []byte) {
		size := int(binary.LittleEndian.Uint16(image[len(image)-footerFromEnd-entryTrailer:])) - entryTrailer
		at := len(image) - footerFromEnd - entryTrailer - size
		measuretest.PutTable(image, slices.Concat(measuretest.Entry("00000000-0000-0000-0000-000000000001", []byte("foreign")), image[at:at+size]))
	}
	if fw := spec.parse(t); fw.HashTable != nil || !slices.Equal(fw.Sections, want) {
		t.Errorf("got %+v, want the sections and no hash table", fw)
	}
	// A table with nothing in it is a firmware that knows nothing of SEV.
	if fw := (testImage{}).parse(t); fw.Sections != nil || fw.ResetEIP != nil {
		t.Errorf("got %+v, want nothing", fw)
	}
}

// TestFirmwareRefused is what a host that supplies the firmware could try: none of it may crash, loop or allocate, and none gives a digest.
func TestFirmwareRefused(t *testing.T) {
	footer := func(image []byte) []byte { return image[len(image)-footerFromEnd-entryTrailer:] }
	put16 := func(b []byte, v int) { binary.LittleEndian.PutUint16(b, uint16(v)) }
	put32 := func(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }
	base := func() testImage {
		s := amdSev()
		s.HasHashTable = false
		return s
	}
	for _, c := range []struct {
		name   string
		spec   func(*testImage)
		change func(image []byte)
		want   string
	}{
		{"no-footer", nil, func(b []byte) { footer(b)[5] ^= 1 }, "no GUID table"},
		{"footer-short", nil, func(b []byte) { put16(footer(b), entryTrailer-1) }, "length of 17"},
		{"footer-long", nil, func(b []byte) { put16(footer(b), math.MaxUint16) }, "length of 65535"},
		{"left-over", nil, func(b []byte) { put16(footer(b), entryTrailer+22+22+5) }, "5 bytes are left over"},
		{"entry-zero", nil, func(b []byte) { put16(b[len(b)-footerFromEnd-2*entryTrailer:], 0) }, "length of 0"},
		{"entry-long", nil, func(b []byte) { put16(b[len(b)-footerFromEnd-2*entryTrailer:], 999) }, "length of 999"},
		{"reset-long", nil, func(b []byte) { measuretest.PutTable(b, measuretest.Entry(measuretest.Reset, measuretest.Words(1, 2))) }, "reset block: got 8 bytes"},
		{"reset-empty", nil, func(b []byte) { measuretest.PutTable(b, measuretest.Entry(measuretest.Reset, nil)) }, "reset block: got 0 bytes"},
		{"reset-twice", nil, func(b []byte) {
			measuretest.PutTable(b, slices.Concat(measuretest.Entry(measuretest.Reset, measuretest.Words(1)), measuretest.Entry(measuretest.Reset, measuretest.Words(2))))
		}, "two entries"},
		{"hash-table-short", nil, func(b []byte) {
			measuretest.PutTable(b, measuretest.Entry(measuretest.HashTable, measuretest.Words(1)))
		}, "kernel hash table: got 4 bytes"},
		{"svsm-short", nil, func(b []byte) { measuretest.PutTable(b, measuretest.Entry(measuretest.SVSMInfo, []byte{1, 2, 3})) }, "SVSM info: got 3 bytes"},
		{"metadata-offset-long", nil, func(b []byte) {
			measuretest.PutTable(b, measuretest.Entry(measuretest.Metadata, measuretest.Words(1, 2)))
		}, "offset: got 8 bytes"},
		{"metadata-beyond", nil, func(b []byte) {
			measuretest.PutTable(b, measuretest.Entry(measuretest.Metadata, measuretest.Words(PageSize+1)))
		}, "offset of 0x1001"},
		{"metadata-wraps", nil, func(b []byte) {
			measuretest.PutTable(b, measuretest.Entry(measuretest.Metadata, measuretest.Words(math.MaxUint32)))
		}, "offset of 0xffffffff"},
		{"metadata-at-end", nil, func(b []byte) {
			measuretest.PutTable(b, measuretest.Entry(measuretest.Metadata, measuretest.Words(metadataHeader-1)))
		}, "offset of 0xf"},
		{"metadata-header-alone", nil, func(b []byte) {
			put32(b[len(b)-metadataHeader:], binary.LittleEndian.Uint32(metadataMagic[:]))
			copy(b[len(b)-12:], measuretest.Words(metadataHeader+12, 1, 1))
			measuretest.PutTable(b, measuretest.Entry(measuretest.Metadata, measuretest.Words(metadataHeader)))
		}, "want at most the 16 up to the image's end"},
		{"magic", nil, func(b []byte) { b[0] = 'a' }, `magic "aSEV"`},
		{"version", nil, func(b []byte) { put32(b[8:], 2) }, "version 2"},
		{"many-sections", nil, func(b []byte) { put32(b[12:], maxSections+1) }, "65 sections"},
		{"size-and-count", nil, func(b []byte) { put32(b[12:], 5) }, "for 5 sections"},
		{"count-wraps", nil, func(b []byte) { put32(b[12:], math.MaxUint32) }, "4294967295 sections"},
		{"unaligned", func(s *testImage) { s.Sections[0][0]++ }, nil, "section 0: got 0x9000 bytes at 0x800001"},
		{"part-of-a-page", func(s *testImage) { s.Sections[1][1]-- }, nil, "section 1"},
		{"beyond-4-gib", func(s *testImage) { s.Sections[0] = measuretest.Section{0xfffff000, 0x2000, 1} }, nil, "below 4 GiB"},
		{"unknown-kind", func(s *testImage) { s.Sections[0][2] = 5 }, nil, "kind 0x5"},
		{"secrets-of-two-pages", func(s *testImage) { s.Sections[2][1] = 2 * PageSize }, nil, "want one page"},
		{"cpuid-empty", func(s *testImage) { s.Sections[3][1] = 0 }, nil, "want one page"},
		{"too-many-pages", func(s *testImage) { s.Sections[0] = measuretest.Section{0, (maxSectionPages + 1) * PageSize, 1} }, nil, "more than 16384 pages"},
		{"pages-by-repetition", func(s *testImage) {
			s.Sections = slices.Repeat([]measuretest.Section{{0, 0xf0000000, 1}}, 64)
		}, nil, "more than 16384 pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := base()
			if c.spec != nil {
				c.spec(&s)
			}
			s.change = c.change
			if fw, err := ParseFirmware(s.build()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", fw, err, c.want)
			}
		})
	}
	for _, size := range []int{0, 1, PageSize - 1, PageSize + 1, MaxFirmware + PageSize} {
		if _, err := ParseFirmware(make([]byte, size)); err == nil {
			t.Errorf("%d bytes: accepted", size)
		}
	}
}

// debianOVMF is the image of Debian's package ovmf, which knows SEV-SNP but no kernel hashes.
const debianOVMF = "/usr/share/ovmf/OVMF.fd"

// Digests of version 2022.11-6+deb12u2 with one and four processors.
const (
	debianOne  = "11570979c77a0adb515761a702527c8b9e11554e730552621d950988613a3a75c6ff1703f540bd22a9beede8fe7a97e3"
	debianFour = "32ac9d7a17d28f7cd4404a4516d2f00519668c40ada2062351c36767e908eb3f090d66c33ab10f80150e00a4385b6d0f"
)

// TestDebianOVMF reads an image that others built. Of another version of the package only the structure is compared.
func TestDebianOVMF(t *testing.T) {
	image, err := os.ReadFile(debianOVMF)
	if err != nil {
		t.Skipf("%v (apt-get install ovmf)", err)
	}
	fw, err := ParseFirmware(image)
	if err != nil {
		t.Fatal(err)
	}
	if len(fw.Sections) < 4 || fw.ResetEIP == nil || *fw.ResetEIP>>16 == 0 || fw.HashTable != nil {
		t.Errorf("got %+v, want sections, a reset address and no hash table", fw)
	}
	l := Launch{VMM: QEMU, CPU: 0x800f12, GuestFeatures: DefaultGuestFeatures}
	all, err := l.Digests(fw, 64)
	if err != nil {
		t.Fatal(err)
	}
	// Computed by a script of a few lines that shares nothing with this package.
	const pages = "ba2c811512ef868474f239a21f7d7057d65a20de87a003c4f116e4fb1573183bfbcd75c3e99b2f558575a5d0094f73c6"
	if fw.Digest().String() == pages && (all[0].String() != debianOne || all[3].String() != debianFour) {
		t.Errorf("got %s and %s, want %s and %s", all[0], all[3], debianOne, debianFour)
	}
	h := HashParts(nil, nil, "")
	l.Kernel = &h
	if _, err := l.Digest(fw, 1); err == nil || !strings.Contains(err.Error(), "no place for kernel hashes") {
		t.Errorf("got %v, want a refusal of kernel hashes", err)
	}
}

func TestReadFirmware(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "OVMF.fd")
	image := amdSev().build()
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	fw, got, err := ReadFirmware(path)
	if err != nil || !bytes.Equal(got, image) || fw.Size() != len(image) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(image))
	}
	large := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{large, dir, filepath.Join(dir, "absent")} {
		if _, _, err := ReadFirmware(bad); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}
