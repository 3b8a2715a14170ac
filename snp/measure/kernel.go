package measure

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Hashes are what the firmware checks a directly booted kernel against.
type Hashes struct{ Kernel, Initrd, Cmdline [32]byte }

// HashParts hashes kernel, initrd and command line as QEMU does with kernel-hashes=on: the command line with its ending NUL.
func HashParts(kernel, initrd []byte, cmdline string) Hashes {
	return Hashes{Kernel: sha256.Sum256(kernel), Initrd: sha256.Sum256(initrd), Cmdline: hashCmdline(cmdline)}
}

// HashFiles is HashParts over files.
func HashFiles(kernel, initrd, cmdline string) (Hashes, error) {
	h := Hashes{Cmdline: hashCmdline(cmdline)}
	for path, sum := range map[string]*[32]byte{kernel: &h.Kernel, initrd: &h.Initrd} {
		if err := hashFile(path, sum); err != nil {
			return Hashes{}, fmt.Errorf("measure %q: %w", path, err)
		}
	}
	return h, nil
}

func hashCmdline(cmdline string) [32]byte { return sha256.Sum256(append([]byte(cmdline), 0)) }

func hashFile(path string, sum *[32]byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	h.Sum(sum[:0])
	return nil
}

// guid is a GUID as firmware stores it: the first three groups little endian.
type guid [16]byte

func efiGUID(a uint32, b, c uint16, d [8]byte) (g guid) {
	binary.LittleEndian.PutUint32(g[0:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	copy(g[8:], d[:])
	return g
}

var (
	hashTableGUID   = efiGUID(0x9438d606, 0x4f22, 0x4cc9, [8]byte{0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21})
	kernelEntryGUID = efiGUID(0x4de79437, 0xabd2, 0x427f, [8]byte{0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b})
	initrdEntryGUID = efiGUID(0x44baf731, 0x3a2f, 0x4bd7, [8]byte{0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d})
	cmdlnEntryGUID  = efiGUID(0x97d02dd8, 0xbd20, 0x4c94, [8]byte{0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a})
)

const (
	hashEntrySize = 16 + 2 + 32
	hashTableSize = 16 + 2 + 3*hashEntrySize
)

// Table is the GUID table that holds the hashes: command line, initrd, kernel, padded with zeros to a multiple of 16.
func (h Hashes) Table() []byte {
	b := make([]byte, 0, (hashTableSize+15)&^15)
	b = append(b, hashTableGUID[:]...)
	b = binary.LittleEndian.AppendUint16(b, hashTableSize)
	for _, e := range []struct {
		id  guid
		sum [32]byte
	}{{cmdlnEntryGUID, h.Cmdline}, {initrdEntryGUID, h.Initrd}, {kernelEntryGUID, h.Kernel}} {
		b = append(b, e.id[:]...)
		b = binary.LittleEndian.AppendUint16(b, hashEntrySize)
		b = append(b, e.sum[:]...)
	}
	return b[:cap(b)]
}

// Page is the zeroed page that carries the table at the offset the firmware advertises.
func (h Hashes) Page(offset int) ([]byte, error) {
	table := h.Table()
	if offset < 0 || offset+len(table) > PageSize {
		return nil, fmt.Errorf("kernel hashes page: got table offset %#x, want room for %d bytes in a page", offset, len(table))
	}
	page := make([]byte, PageSize)
	copy(page[offset:], table)
	return page, nil
}

// Where the emulated machine has its kernel-hashes page; OVMF's AmdSev flavour advertises the same range.
const (
	emulatedHashesGPA    = 0x810000
	emulatedHashesOffset = 0xC00
)

// Emulated is the MEASUREMENT of a virtual machine without SEV-SNP firmware, as the software SNP processor reports it: a launch digest
// over the kernel-hashes page alone. It is bound to kernel, initrd and command line exactly as a real one is, and can never equal a real one,
// which begins with firmware pages.
func (h Hashes) Emulated() Digest {
	page, err := h.Page(emulatedHashesOffset)
	if err != nil {
		panic(err) // constants above: the table fits
	}
	var c Context
	if err := c.Update(PageNormal, emulatedHashesGPA, page); err != nil {
		panic(err)
	}
	return c.Digest()
}

// Emulated is HashParts(kernel, initrd, cmdline).Emulated().
func Emulated(kernel, initrd []byte, cmdline string) [48]byte {
	return HashParts(kernel, initrd, cmdline).Emulated()
}

// ParseHashes reads the three hashes in hex, as an image's measurements.json has them.
func ParseHashes(kernel, initrd, cmdline string) (Hashes, error) {
	var h Hashes
	for _, p := range []struct {
		name, text string
		to         *[32]byte
	}{{"kernel", kernel, &h.Kernel}, {"initrd", initrd, &h.Initrd}, {"cmdline", cmdline, &h.Cmdline}} {
		b, err := hex.DecodeString(p.text)
		if err != nil || len(b) != len(p.to) {
			return Hashes{}, fmt.Errorf("hash of %s: got %.70q, want %d bytes in hex", p.name, p.text, len(p.to))
		}
		*p.to = [32]byte(b)
	}
	return h, nil
}
