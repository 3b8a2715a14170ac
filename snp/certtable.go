package snp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// GUID is a certificate's kind in the host's table, in the byte order of the table (RFC 4122, big endian).
type GUID [16]byte

// The certificate kinds of the SEV-SNP GHCB protocol.
var (
	GUIDVCEK = GUID{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}
	GUIDVLEK = GUID{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}
	GUIDASK  = GUID{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82}
	GUIDARK  = GUID{0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae}
	// GUIDCPU is go-sev-guest's entry that names the processor, which a report of version 2 does not.
	GUIDCPU = GUID{0xec, 0xae, 0x0c, 0x0f, 0x95, 0x02, 0x43, 0xb1, 0xaf, 0xa2, 0x0a, 0xe2, 0xe0, 0xd5, 0x65, 0xb6}
	GUIDCRL = GUID{0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea}
)

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// Cert is one blob of the table, usually DER.
type Cert struct {
	GUID GUID
	Data []byte
}

const (
	certEntrySize = 24
	// maxCertEntries bounds the table before anything is kept. Hosts send three to five.
	maxCertEntries = 32
)

// ParseCerts reads the host's certificate table: entries of GUID, offset and length, an entry of zeros, then the blobs. An empty
// table, and one whose first entry is the zero entry, hold no certificates. Offsets are the host's, so they are compared in 64 bits:
// in 32 a sum that wraps would pass. Blobs may not reach into the entries, and entries without bytes are skipped.
func ParseCerts(table []byte) ([]Cert, error) {
	certs, _, err := parseCerts(table)
	return certs, err
}

// parseCerts also returns where the last blob ends.
func parseCerts(table []byte) (certs []Cert, end int, err error) {
	if len(table) == 0 {
		return nil, 0, nil
	}
	entries, err := countEntries(table)
	if err != nil {
		return nil, 0, err
	}
	start := (entries + 1) * certEntrySize
	end = start
	certs = make([]Cert, 0, entries)
	for i := range entries {
		e := table[i*certEntrySize : (i+1)*certEntrySize]
		off, n := uint64(binary.LittleEndian.Uint32(e[16:])), uint64(binary.LittleEndian.Uint32(e[20:]))
		if n == 0 {
			continue
		}
		if off < uint64(start) || off+n > uint64(len(table)) {
			return nil, 0, fmt.Errorf("certificate table: entry %d: got offset %d length %d, want within %d to %d", i, off, n, start, len(table))
		}
		certs = append(certs, Cert{GUID: GUID(e[:16]), Data: table[off : off+n : off+n]})
		end = max(end, int(off+n))
	}
	if len(certs) == 0 {
		certs = nil
	}
	return certs, end, nil
}

// countEntries finds the closing entry.
func countEntries(table []byte) (int, error) {
	var zero [certEntrySize]byte
	for i := range maxCertEntries + 1 {
		rest := table[i*certEntrySize:]
		if len(rest) < certEntrySize {
			return 0, fmt.Errorf("certificate table: entry %d: got %d bytes, want %d: the closing entry is missing", i, len(rest), certEntrySize)
		}
		if bytes.Equal(rest[:certEntrySize], zero[:]) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("certificate table: got more than %d entries", maxCertEntries)
}

// ParseCPUEntry reads the blob of a GUIDCPU entry: its own size, which is 8, and the processor's signature, both 32 bits and little endian.
func ParseCPUEntry(b []byte) (CPUID, error) {
	if len(b) != 8 || binary.LittleEndian.Uint32(b) != 8 {
		return CPUID{}, fmt.Errorf("certificate table: processor entry: got %d bytes %.32x, want 8 that begin with their own number", len(b), b)
	}
	return CPUIDOf(binary.LittleEndian.Uint32(b[4:])), nil
}

// MarshalCerts builds a certificate table.
func MarshalCerts(certs []Cert) []byte {
	if len(certs) == 0 {
		return nil
	}
	off := (len(certs) + 1) * certEntrySize
	table := make([]byte, off)
	for i, c := range certs {
		e := table[i*certEntrySize:]
		copy(e, c.GUID[:])
		binary.LittleEndian.PutUint32(e[16:], uint32(off))
		binary.LittleEndian.PutUint32(e[20:], uint32(len(c.Data)))
		off += len(c.Data)
	}
	for _, c := range certs {
		table = append(table, c.Data...)
	}
	return table
}

// trimCerts drops the padding that follows the last blob: the ioctl rounds the table up to pages and configfs does not, and evidence should not
// depend on the way it was fetched. A table that does not parse is kept as it came, for the verifier to refuse.
func trimCerts(table []byte) []byte {
	certs, end, err := parseCerts(table)
	switch {
	case err != nil:
		return table
	case len(certs) == 0:
		return nil
	}
	return table[:end:end]
}
