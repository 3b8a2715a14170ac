package measure

import (
	"encoding/binary"
	"testing"
)

// imageSpec describes a firmware image as far as a measurement reads it.
type imageSpec struct {
	size       int // 0 is one page
	sections   []Section
	resetEIP   *uint32
	hashTable  *Range
	svsmEntry  *uint32
	metadataAt int // offset of the SEV metadata in the image
	change     func(image []byte)
}

func entry(data []byte, id guid) []byte {
	b := binary.LittleEndian.AppendUint16(append([]byte{}, data...), uint16(len(data)+entryTrailer))
	return append(b, id[:]...)
}

func words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func metadata(sections []Section) []byte {
	b := append(metadataMagic[:len(metadataMagic):len(metadataMagic)], words(uint32(metadataHeader+metadataEntry*len(sections)), 1, uint32(len(sections)))...)
	for _, s := range sections {
		b = append(b, words(s.Address, s.Size, uint32(s.Kind))...)
	}
	return b
}

// build lays an image out as OVMF's reset vector does: metadata somewhere, the table of entries 32 bytes before the end.
func (s imageSpec) build() []byte {
	if s.size == 0 {
		s.size = PageSize
	}
	image := make([]byte, s.size)
	var table []byte
	if s.sections != nil {
		copy(image[s.metadataAt:], metadata(s.sections))
		table = append(table, entry(words(uint32(s.size-s.metadataAt)), metadataGUID)...)
	}
	if s.hashTable != nil {
		table = append(table, entry(words(s.hashTable.Address, s.hashTable.Size), hashRangeGUID)...)
	}
	if s.svsmEntry != nil {
		table = append(table, entry(words(*s.svsmEntry), svsmInfoGUID)...)
	}
	if s.resetEIP != nil {
		table = append(table, entry(words(*s.resetEIP), resetBlockGUID)...)
	}
	putTable(image, table)
	if s.change != nil {
		s.change(image)
	}
	return image
}

// putTable writes entries and the footer that holds the length of both.
func putTable(image, entries []byte) {
	table := binary.LittleEndian.AppendUint16(append([]byte{}, entries...), uint16(len(entries)+entryTrailer))
	table = append(table, footerGUID[:]...)
	copy(image[len(image)-footerFromEnd-len(table):], table)
}

func (s imageSpec) parse(t testing.TB) *Firmware {
	t.Helper()
	fw, err := ParseFirmware(s.build())
	if err != nil {
		t.Fatal(err)
	}
	return fw
}

// amdSev is the layout of OVMF's AmdSev flavour.
func amdSev() imageSpec {
	eip := uint32(0x80b004)
	return imageSpec{resetEIP: &eip, hashTable: &Range{0x80fc00, 0x400}, sections: []Section{
		{0x800000, 0x9000, SectionMemory},
		{0x80a000, 0x3000, SectionMemory},
		{0x80d000, 0x1000, SectionSecrets},
		{0x80e000, 0x1000, SectionCPUID},
		{0x80f000, 0x1000, SectionKernelHashes},
		{0x810000, 0x10000, SectionMemory},
	}}
}
