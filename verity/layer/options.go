package layer

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/cloister-cc/cloister/verity"
)

// Format is a layer's file system. Each format gives a layer another root hash.
type Format = verity.FileSystem

// The formats a layer can be built in.
const (
	Ext4  = verity.Ext4
	EROFS = verity.EROFS
)

// ParseFormat reads the name of a format; "" is Ext4.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case "":
		return Ext4, nil
	case Ext4, EROFS:
		return f, nil
	}
	return "", fmt.Errorf("layer format: got %.40q, want ext4 or erofs", s)
}

// versions name what the converters write. A name changes whenever the bytes do, so that an upgrade never serves an old root
// from a cache.
var versions = map[Format]string{Ext4: "ext4-1", EROFS: "erofs-1"}

// FormatVersion names a format ("" is Ext4) and how its disks are made, for names of files and keys of caches. It is "" for what
// is no format.
func FormatVersion(f Format) string { return versions[cmp.Or(f, Ext4)] }

// HardLinks says what becomes of hard links in a format that has none (EROFS as go-erofs v0.3 writes it).
type HardLinks string

const (
	// CopyHardLinks gives each name a file with the same content: what is read is the same, the files are not one.
	CopyHardLinks HardLinks = "copy"
	// RefuseHardLinks refuses a layer that has a hard link.
	RefuseHardLinks HardLinks = "refuse"
)

// ParseHardLinks reads the name of a choice; "" is CopyHardLinks.
func ParseHardLinks(s string) (HardLinks, error) {
	switch h := HardLinks(s); h {
	case "":
		return CopyHardLinks, nil
	case CopyHardLinks, RefuseHardLinks:
		return h, nil
	}
	return "", fmt.Errorf("hard links: got %.40q, want copy or refuse", s)
}

// Limits bound what a layer may make of the machine. A zero field stands for its default.
type Limits struct {
	// Size is how many bytes the uncompressed stream may have, and how many all files together; default 64 GiB. A sparse file
	// counts with its whole length, in EROFS a hard link with its file's.
	Size int64
	// Ratio is how many bytes one compressed byte may become, counted once 256 MiB came out; default 1,200: gzip cannot do
	// more than 1,032, a hostile zstd frame 30,000.
	Ratio int64
	// Entries is how many entries the tar may have; default 1,048,576. Each costs memory, in ext4 some 1,100 bytes.
	Entries int
	// Inline is how many bytes of inodes, names and small files an EROFS image may have: go-erofs makes them in memory;
	// default 1 GiB.
	Inline int64
}

const (
	defaultSize    = 64 << 30
	defaultRatio   = 1200
	defaultEntries = 1 << 20
	defaultInline  = 1 << 30
	ratioFreely    = 256 << 20
)

func (l Limits) withDefaults() Limits {
	if l.Size <= 0 {
		l.Size = defaultSize
	}
	if l.Ratio <= 0 {
		l.Ratio = defaultRatio
	}
	if l.Entries <= 0 {
		l.Entries = defaultEntries
	}
	if l.Inline <= 0 {
		l.Inline = defaultInline
	}
	return l
}

// Options controls Convert and Root.
type Options struct {
	// Format is the file system of the disk; "" means Ext4.
	Format Format
	// Workers is how many cores hash the tree; 0 means all. The result does not depend on it.
	Workers int
	// DiffID, if set, must be the SHA-256 of the uncompressed stream ("sha256:<hex>"); anything else is ErrDiffID.
	DiffID string
	// HardLinks is what EROFS does with them; "" means CopyHardLinks. Ext4 has hard links and ignores it.
	HardLinks HardLinks
	// Limits bounds hostile layers.
	Limits Limits
	// Visit, if set, sees every entry of the tar that was taken, in order and before any result, with its content where the
	// converter does not need that (always in ext4; in EROFS of files that are not sparse). What it does not read is skipped.
	Visit func(h *tar.Header, content io.Reader) error
	// TempDir is where files without a name go: the tar of a compressed layer for EROFS, the lowest level of a tree that is
	// still being made (1/128 of the disk). "" means the system's.
	TempDir string
}

func (o Options) withDefaults() (Options, error) {
	var err error
	if o.Format, err = ParseFormat(string(o.Format)); err != nil {
		return o, err
	}
	if o.HardLinks, err = ParseHardLinks(string(o.HardLinks)); err != nil {
		return o, err
	}
	o.Limits = o.Limits.withDefaults()
	return o, nil
}

// ErrDiffID says that a layer's bytes are not the ones its diff id names.
var ErrDiffID = errors.New("layer does not have its diff id")

// EntryError says which entry of a tar was refused, and why.
type EntryError struct {
	Name   string // as the tar has it
	Reason string
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %s: %s", quote(e.Name), e.Reason) }

// quote makes a name of the archive one short line.
func quote(name string) string {
	const most = 128
	if len(name) > most {
		return fmt.Sprintf("%q…", name[:most])
	}
	return fmt.Sprintf("%q", name)
}

// Result describes a finished disk.
type Result struct {
	RootHash verity.Hash `json:"root_hash"`
	DiffID   string      `json:"diff_id"`   // of the uncompressed stream, as OCI image configurations name it
	DataSize int64       `json:"data_size"` // of the file system
	Size     int64       `json:"size"`      // of the whole disk
}
