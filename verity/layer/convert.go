package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/cloister-cc/cloister/verity"
)

// maxDiskSize is an input of the image's layout, not only a limit: the group descriptors are laid out for it. ACI's tools use
// this number; another one gives other roots.
const maxDiskSize = 128 << 30

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

// Options controls Convert and Root.
type Options struct {
	// Workers is how many cores hash the tree; 0 means all. The result does not depend on it.
	Workers int
	// Format is the file system of the disk; "" means Ext4.
	Format Format
	// DiffID, if set, must be the SHA-256 of the uncompressed stream ("sha256:<hex>"); anything else is ErrDiffID.
	DiffID string
}

// ErrDiffID says that a layer's bytes are not the ones its diff id names.
var ErrDiffID = errors.New("layer does not have its diff id")

// tarRecord is what every tar's length is a multiple of.
const tarRecord = 512

// Result describes a finished disk.
type Result struct {
	RootHash verity.Hash `json:"root_hash"`
	DiffID   string      `json:"diff_id"`   // of the uncompressed stream, as OCI image configurations name it
	DataSize int64       `json:"data_size"` // of the file system
	Size     int64       `json:"size"`      // of the whole disk
}

// Convert writes the verity disk of one layer to out, which must be empty and open for reading and writing. The tar may be
// plain or compressed with gzip or zstd.
func Convert(ctx context.Context, tar io.Reader, out *os.File, opts Options) (Result, error) {
	if opts.Format != "" && opts.Format != Ext4 {
		return Result{}, fmt.Errorf("convert layer: format %.40q is not supported", string(opts.Format))
	}
	switch info, err := out.Stat(); {
	case err != nil:
		return Result{}, fmt.Errorf("convert layer: %w", err)
	case info.Size() != 0:
		return Result{}, fmt.Errorf("convert layer: output %q: got %d bytes in it, want none", out.Name(), info.Size())
	}
	plain, closePlain, err := decompress(tar)
	if err != nil {
		return Result{}, err
	}
	defer closePlain()
	in := &stream{ctx: ctx, r: plain, sum: sha256.New()}
	if err := tar2ext4.ConvertTarToExt4(in, out, tar2ext4.ConvertWhiteout, tar2ext4.MaximumDiskSize(maxDiskSize)); err != nil {
		return Result{}, fmt.Errorf("convert layer: %w", err)
	}
	// What follows the tar's end marker belongs to the diff id as well.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return Result{}, fmt.Errorf("convert layer: %w", err)
	}
	diffID := "sha256:" + hex.EncodeToString(in.sum.Sum(nil))
	switch {
	case opts.DiffID != "" && opts.DiffID != diffID:
		return Result{}, fmt.Errorf("convert layer: got %s, want %s: %w", diffID, opts.DiffID, ErrDiffID)
	case opts.DiffID == "" && in.n%tarRecord != 0:
		// The tar reader takes a stream cut within padding for its end. A known diff id rules that out; without one, a
		// cut layer would become a disk that lacks files and says nothing.
		return Result{}, fmt.Errorf("convert layer: length %d is not a multiple of %d: %w", in.n, tarRecord, io.ErrUnexpectedEOF)
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return Result{}, fmt.Errorf("convert layer: %w", err)
	}
	img, err := verity.Seal(ctx, out, size, verity.BuildOptions{Workers: opts.Workers})
	if err != nil {
		return Result{}, fmt.Errorf("convert layer: %w", err)
	}
	return Result{
		RootHash: img.Root,
		DiffID:   diffID,
		DataSize: img.DataSize(),
		Size:     img.DiskSize(),
	}, nil
}

// stream hashes and bounds the uncompressed layer while it is converted, and ends when the context does.
type stream struct {
	ctx context.Context
	r   io.Reader
	sum hash.Hash
	n   int64
}

func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	if s.n += int64(n); s.n > maxDiskSize {
		return n, fmt.Errorf("layer is larger than %d bytes", int64(maxDiskSize))
	}
	return n, err
}
