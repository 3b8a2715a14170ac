package measure

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const (
	fourGiB = 1 << 32
	// MaxFirmware bounds an image in bytes; real ones have 2 to 4 MiB.
	MaxFirmware = 16 << 20
	// maxSections and maxSectionPages bound what metadata can make us hash: real images have 7 sections of 33 pages.
	maxSections     = 64
	maxSectionPages = 16384
)

// SectionKind says what a section of the firmware's metadata is for.
type SectionKind uint32

// Kinds of OVMF's SEV metadata, version 1.
const (
	SectionMemory       SectionKind = 1 // to be validated before the firmware starts
	SectionSecrets      SectionKind = 2
	SectionCPUID        SectionKind = 3
	SectionSVSMCAA      SectionKind = 4 // the SVSM's calling area
	SectionKernelHashes SectionKind = 0x10
)

// Section is a range of guest memory that the VMM fills or validates at launch. Address and Size are in bytes, whole pages.
type Section struct {
	Address, Size uint32
	Kind          SectionKind
}

// Range is where the kernel hashes table belongs in guest memory, in bytes.
type Range struct{ Address, Size uint32 }

// Firmware is an OVMF image, or a COCONUT-SVSM one, taken apart. See ParseFirmware.
type Firmware struct {
	// Sections are those of the SEV metadata, in the image's order, which is the order of launch. Empty if the image has no metadata.
	Sections []Section
	// ResetEIP is where the second and later processors start, nil if the image does not say.
	ResetEIP *uint32
	// HashTable is where the firmware looks for kernel hashes, nil if it does not.
	HashTable *Range
	// SVSMEntry is the offset of an SVSM's entry point in its image, nil for any other firmware.
	SVSMEntry *uint32

	image []byte
}

// GUIDs of the table at the end of an image, as OVMF's reset vector has them.
var (
	footerGUID      = efiGUID(0x96b582de, 0x1fb2, 0x45f7, [8]byte{0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d})
	metadataGUID    = efiGUID(0xdc886566, 0x984a, 0x4798, [8]byte{0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc})
	hashRangeGUID   = efiGUID(0x7255371f, 0x3a3b, 0x4b04, [8]byte{0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54})
	resetBlockGUID  = efiGUID(0x00f771de, 0x1a7e, 0x4fcb, [8]byte{0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e})
	svsmInfoGUID    = efiGUID(0xa789a612, 0x0597, 0x4c4b, [8]byte{0xa4, 0x9f, 0xcb, 0xb1, 0xfe, 0x9d, 0x1d, 0xdd})
	tableGUIDs      = map[guid]string{metadataGUID: "SEV metadata", hashRangeGUID: "kernel hash table", resetBlockGUID: "reset block", svsmInfoGUID: "SVSM info"}
	metadataMagic   = [4]byte{'A', 'S', 'E', 'V'}
	metadataVersion = uint32(1)
)

const (
	footerFromEnd  = 0x20   // the table ends this far before the end of the image
	entryTrailer   = 2 + 16 // length and GUID, behind an entry's data
	metadataHeader = 16
	metadataEntry  = 12
)

// ParseFirmware takes an image apart. It keeps the bytes, which must not change. An image without SEV metadata is no error here: see Launch.Digests.
func ParseFirmware(image []byte) (*Firmware, error) {
	if len(image) == 0 || len(image)%PageSize != 0 || len(image) > MaxFirmware {
		return nil, fmt.Errorf("firmware: got %d bytes, want whole pages, at most %d bytes", len(image), MaxFirmware)
	}
	entries, err := footerTable(image)
	if err != nil {
		return nil, err
	}
	f := &Firmware{image: image}
	if data, ok := entries[resetBlockGUID]; ok {
		if f.ResetEIP, err = oneWord(data, "reset block", 4); err != nil {
			return nil, err
		}
	}
	if data, ok := entries[hashRangeGUID]; ok {
		if len(data) != 8 {
			return nil, fmt.Errorf("firmware: kernel hash table: got %d bytes, want 8", len(data))
		}
		// A build that does not check hashes has the entry all the same, filled with zeros.
		if r := (Range{binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])}); r != (Range{}) {
			f.HashTable = &r
		}
	}
	if data, ok := entries[svsmInfoGUID]; ok {
		if f.SVSMEntry, err = oneWord(data, "SVSM info", len(data)); err != nil {
			return nil, err
		}
	}
	if data, ok := entries[metadataGUID]; ok {
		if f.Sections, err = sections(image, data); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// ReadFirmware is ParseFirmware of a file, which it reads no further than MaxFirmware. It returns the bytes too.
func ReadFirmware(path string) (*Firmware, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	image, err := io.ReadAll(io.LimitReader(f, MaxFirmware+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read firmware %q: %w", path, err)
	}
	fw, err := ParseFirmware(image)
	if err != nil {
		return nil, nil, fmt.Errorf("read %q: %w", path, err)
	}
	return fw, image, nil
}

func oneWord(data []byte, what string, want int) (*uint32, error) {
	if len(data) < 4 || len(data) != want {
		return nil, fmt.Errorf("firmware: %s: got %d bytes, want %d", what, len(data), max(want, 4))
	}
	v := binary.LittleEndian.Uint32(data)
	return &v, nil
}

// footerTable reads the GUID table at the end of an image, from its end to its beginning: data, length, GUID. Entries we do not use are passed over.
func footerTable(image []byte) (map[guid][]byte, error) {
	end := len(image) - footerFromEnd
	if guid(image[end-16:end]) != footerGUID {
		return nil, fmt.Errorf("firmware: no GUID table at the end of %d bytes (an image for SEV has one)", len(image))
	}
	size := int(binary.LittleEndian.Uint16(image[end-entryTrailer:]))
	if size < entryTrailer || size > end {
		return nil, fmt.Errorf("firmware: GUID table: got a length of %d bytes, want %d to %d", size, entryTrailer, end)
	}
	table := image[end-size : end-entryTrailer]
	entries := map[guid][]byte{}
	for len(table) > 0 {
		if len(table) < entryTrailer {
			return nil, fmt.Errorf("firmware: GUID table: %d bytes are left over", len(table))
		}
		id := guid(table[len(table)-16:])
		size := int(binary.LittleEndian.Uint16(table[len(table)-entryTrailer:]))
		if size < entryTrailer || size > len(table) {
			return nil, fmt.Errorf("firmware: GUID table: entry %x: got a length of %d bytes, want %d to %d", id[:], size, entryTrailer, len(table))
		}
		if name, ours := tableGUIDs[id]; ours {
			// Readers differ in which of two they take.
			if _, twice := entries[id]; twice {
				return nil, fmt.Errorf("firmware: GUID table: got two entries %q, want one", name)
			}
			entries[id] = table[len(table)-size : len(table)-entryTrailer]
		}
		table = table[:len(table)-size]
	}
	return entries, nil
}

// sections reads the metadata that an entry of the GUID table points to, as a distance from the image's end.
func sections(image, entry []byte) ([]Section, error) {
	fromEnd, err := oneWord(entry, "SEV metadata's offset", 4)
	if err != nil {
		return nil, err
	}
	if *fromEnd < metadataHeader || uint64(*fromEnd) > uint64(len(image)) {
		return nil, fmt.Errorf("firmware: SEV metadata: got an offset of %#x from the end, want %#x to %#x", *fromEnd, metadataHeader, len(image))
	}
	b := image[len(image)-int(*fromEnd):]
	size, version, count := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	switch {
	case [4]byte(b) != metadataMagic:
		return nil, fmt.Errorf("firmware: SEV metadata: got magic %q, want %q", b[:4], metadataMagic[:])
	case version != metadataVersion:
		return nil, fmt.Errorf("firmware: SEV metadata: got version %d, want %d", version, metadataVersion)
	case count > maxSections:
		return nil, fmt.Errorf("firmware: SEV metadata: got %d sections, want at most %d", count, maxSections)
	case size != metadataHeader+count*metadataEntry:
		return nil, fmt.Errorf("firmware: SEV metadata: got %d bytes for %d sections, want %d", size, count, metadataHeader+count*metadataEntry)
	case uint64(size) > uint64(len(b)):
		return nil, fmt.Errorf("firmware: SEV metadata: got %d bytes, want at most the %d up to the image's end", size, len(b))
	}
	out := make([]Section, 0, count)
	pages := uint64(0)
	for b := b[metadataHeader:size]; len(b) > 0; b = b[metadataEntry:] {
		s := Section{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), SectionKind(binary.LittleEndian.Uint32(b[8:]))}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("firmware: SEV metadata: section %d: %w", len(out), err)
		}
		if pages += uint64(s.Size) / PageSize; pages > maxSectionPages {
			return nil, fmt.Errorf("firmware: SEV metadata: got more than %d pages in its sections", maxSectionPages)
		}
		out = append(out, s)
	}
	return out, nil
}

func (s Section) check() error {
	if s.Address%PageSize != 0 || s.Size%PageSize != 0 || uint64(s.Address)+uint64(s.Size) > fourGiB {
		return fmt.Errorf("got %#x bytes at %#x, want whole pages below 4 GiB", s.Size, s.Address)
	}
	switch s.Kind {
	case SectionMemory, SectionSVSMCAA:
		return nil
	case SectionSecrets, SectionCPUID, SectionKernelHashes:
		if s.Size != PageSize {
			return fmt.Errorf("got %#x bytes of kind %#x, want one page", s.Size, uint32(s.Kind))
		}
		return nil
	}
	return fmt.Errorf("got kind %#x, want one of 1, 2, 3, 4, 0x10", uint32(s.Kind))
}

// Size is the length of the image in bytes.
func (f *Firmware) Size() int { return len(f.image) }

// Digest is the launch digest after the firmware's own pages, which end at 4 GiB: the value that sev-snp-measure calls OVMF hash. Given as
// Launch.Firmware it stands for an image that is not at hand.
func (f *Firmware) Digest() Digest { return f.digestBelow(Digest{}, fourGiB) }

// digestBelow extends a digest by the image's pages, which end at an address.
func (f *Firmware) digestBelow(seed Digest, end uint64) Digest {
	c := Context{digest: seed}
	// Whole pages at a page boundary: nothing that Update refuses.
	if err := c.Update(PageNormal, end-uint64(len(f.image)), f.image); err != nil {
		panic(err)
	}
	return c.Digest()
}

// section returns the first section of a kind.
func (f *Firmware) section(k SectionKind) (Section, bool) {
	for _, s := range f.Sections {
		if s.Kind == k {
			return s, true
		}
	}
	return Section{}, false
}
