// Package measuretest makes firmware images for tests: no code, only the tables that a launch measurement reads, written down here a second time, in
// the form of OVMF's reset vector.
package measuretest

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// GUIDs of the table's entries.
const (
	Footer    = "96b582de-1fb2-45f7-baea-a366c55a082d"
	Metadata  = "dc886566-984a-4798-a75e-5585a7bf67cc"
	HashTable = "7255371f-3a3b-4b04-927b-1da6efa8d454"
	Reset     = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
	SVSMInfo  = "a789a612-0597-4c4b-a49f-cbb1fe9d1ddd"
)

// Section is an address, a size and a kind.
type Section [3]uint32

// Image describes a firmware image. What is nil is left out.
type Image struct {
	Size             int // in bytes, 0 is one page
	Sections         []Section
	MetadataAt       int // offset of the SEV metadata in the image
	ResetEIP         *uint32
	SVSMEntry        *uint32
	HashTableAddress uint32
	HashTableSize    uint32
	HasHashTable     bool
}

// Build lays the image out: metadata where it is wanted, the table 32 bytes before the end.
func (m Image) Build() []byte {
	image := make([]byte, max(m.Size, 4096))
	var table []byte
	if m.Sections != nil {
		words := []uint32{uint32(16 + 12*len(m.Sections)), 1, uint32(len(m.Sections))}
		for _, s := range m.Sections {
			words = append(words, s[:]...)
		}
		copy(image[m.MetadataAt:], append([]byte("ASEV"), Words(words...)...))
		table = append(table, Entry(Metadata, Words(uint32(len(image)-m.MetadataAt)))...)
	}
	if m.HasHashTable {
		table = append(table, Entry(HashTable, Words(m.HashTableAddress, m.HashTableSize))...)
	}
	if m.SVSMEntry != nil {
		table = append(table, Entry(SVSMInfo, Words(*m.SVSMEntry))...)
	}
	if m.ResetEIP != nil {
		table = append(table, Entry(Reset, Words(*m.ResetEIP))...)
	}
	PutTable(image, table)
	return image
}

// PutTable writes entries and, behind them, the footer with the length of both.
func PutTable(image, entries []byte) {
	footer := Entry(Footer, nil)
	binary.LittleEndian.PutUint16(footer, uint16(len(entries)+len(footer)))
	copy(image[len(image)-0x20-len(entries)-len(footer):], slices.Concat(entries, footer))
}

// Entry is one entry of the table: data, length, GUID.
func Entry(guid string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16(slices.Clone(data), uint16(len(data)+18))
	id, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil || len(id) != 16 {
		panic("measuretest: GUID " + guid)
	}
	slices.Reverse(id[0:4])
	slices.Reverse(id[4:6])
	slices.Reverse(id[6:8])
	return append(b, id...)
}

// Words are 32-bit numbers, little endian.
func Words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// AmdSev has the layout of OVMF's AmdSev flavour, with a place for kernel hashes.
func AmdSev() Image {
	eip := uint32(0x80b004)
	return Image{ResetEIP: &eip, HasHashTable: true, HashTableAddress: 0x80fc00, HashTableSize: 0x400, Sections: []Section{
		{0x800000, 0x9000, 1},
		{0x80a000, 0x3000, 1},
		{0x80d000, 0x1000, 2},
		{0x80e000, 0x1000, 3},
		{0x80f000, 0x1000, 0x10},
		{0x810000, 0x10000, 1},
	}}
}

// SVSM has the tables of a COCONUT-SVSM image.
func SVSM() Image {
	entry := uint32(0x40)
	return Image{Size: 2 * 4096, SVSMEntry: &entry, MetadataAt: 0x200, Sections: []Section{
		{0x8000, 0x1000, 3},
		{0x9000, 0x1000, 2},
		{0xa000, 0x2000, 1},
	}}
}
