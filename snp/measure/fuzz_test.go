package measure

import (
	"testing"

	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

// FuzzParseFirmware: an image is refused, or its every digest can be computed without an answer that changes.
func FuzzParseFirmware(f *testing.F) {
	for _, i := range []measuretest.Image{measuretest.AmdSev(), measuretest.SVSM()} {
		i.Size, i.MetadataAt = PageSize, 0
		b := i.Build()
		f.Add(b[:16+12*len(i.Sections)], b[len(b)-footerFromEnd-entryTrailer-100:len(b)-footerFromEnd-entryTrailer], []byte(nil))
	}
	f.Add([]byte("ASEV"), []byte(nil), make([]byte, entryTrailer))
	f.Fuzz(func(t *testing.T, start, entries, footer []byte) {
		// What matters lies at both ends of an image; the fuzzer need not find that out.
		image := make([]byte, PageSize)
		copy(image, start)
		measuretest.PutTable(image, entries[:min(len(entries), PageSize/2)])
		for i, b := range footer[:min(len(footer), entryTrailer)] {
			image[len(image)-footerFromEnd-entryTrailer+i] ^= b
		}
		fw, err := ParseFirmware(image)
		if err != nil {
			if fw != nil {
				t.Errorf("got a firmware with the error %v", err)
			}
			return
		}
		if len(fw.Sections) > maxSections {
			t.Fatalf("got %d sections", len(fw.Sections))
		}
		pages := uint64(0)
		for _, s := range fw.Sections {
			pages += uint64(s.Size) / PageSize
			if uint64(s.Address)+uint64(s.Size) > fourGiB {
				t.Fatalf("got section %+v", s)
			}
		}
		if pages > maxSectionPages {
			t.Fatalf("got %d pages", pages)
		}
		for _, vmm := range []VMM{QEMU, EC2, GCE} {
			l := Launch{VMM: vmm, GuestFeatures: DefaultGuestFeatures}
			all, err := l.Digests(fw, 2)
			if err != nil {
				continue
			}
			if one, err := l.Digest(fw, 1); err != nil || one != all[0] {
				t.Errorf("%s: got %s %v, want %s", vmm, one, err, all[0])
			}
		}
		if fw.SVSMEntry != nil {
			_, _ = Launch{VMM: QEMU, GuestFeatures: DefaultGuestFeatures}.DigestsUnderSVSM(&Firmware{image: image}, SVSM{Image: fw}, 1)
		}
	})
}
