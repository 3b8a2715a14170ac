package measure

import (
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// PageSize is the unit of a launch measurement.
const PageSize = 4096

// PageType is what the firmware is told about a page at launch.
type PageType uint8

// Page types of SNP_LAUNCH_UPDATE.
const (
	PageNormal     PageType = 1
	PageVMSA       PageType = 2
	PageZero       PageType = 3
	PageUnmeasured PageType = 4
	PageSecrets    PageType = 5
	PageCPUID      PageType = 6
)

// pageInfoSize is the size of the PAGE_INFO structure that is hashed for each page.
const pageInfoSize = 0x70

// Digest is a launch digest.
type Digest [48]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads 96 hex digits.
func ParseDigest(s string) (Digest, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(Digest{}) {
		return Digest{}, fmt.Errorf("launch digest %.100q: got %d bytes, want %d in hex", s, len(b), len(Digest{}))
	}
	return Digest(b), nil
}

// Context is a running launch measurement; its zero value is the start.
type Context struct{ digest Digest }

// Digest returns the digest of the pages so far.
func (c *Context) Digest() Digest { return c.digest }

// Update adds memory at a guest address, page by page, in the order in which it is launched. Only normal pages and VMSAs count with their contents.
func (c *Context) Update(t PageType, gpa uint64, data []byte) error {
	if len(data)%PageSize != 0 || gpa%PageSize != 0 {
		return fmt.Errorf("measure page at %#x: got %d bytes, want whole pages at a page boundary", gpa, len(data))
	}
	for ; len(data) > 0; data, gpa = data[PageSize:], gpa+PageSize {
		var contents Digest
		if t == PageNormal || t == PageVMSA {
			contents = contentsOf(data[:PageSize])
		}
		c.page(t, gpa, contents)
	}
	return nil
}

func contentsOf(page []byte) Digest { return sha512.Sum384(page) }

// page extends the digest by one PAGE_INFO: digest, contents, length, type, no initial migration image, no permissions for lower levels, address.
func (c *Context) page(t PageType, gpa uint64, contents Digest) {
	var info [pageInfoSize]byte
	b := append(info[:0], c.digest[:]...)
	b = append(b, contents[:]...)
	b = append(b, pageInfoSize, 0, byte(t), 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, gpa)
	c.digest = sha512.Sum384(b)
}
