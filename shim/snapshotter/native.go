package snapshotter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// Bounds of a layer that is an EROFS image, where the configuration has none: those of package layer.
const (
	nativeSize   = 64 << 30
	nativeRatio  = 1200
	nativeFreely = 256 << 20
	nativeWindow = 128 << 20
)

// takeNative keeps an EROFS image as it is. One without superblock and hash tree behind it gets them; its bytes stay the same.
func (s *Snapshotter) takeNative(ctx context.Context, d *draft, stream io.Reader, compressed bool, want string) error {
	name := fileOf(layer.EROFS, true)
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := s.copyImage(ctx, io.MultiWriter(f, sum), stream, compressed)
	if err != nil {
		return err
	}
	diffID := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if want != "" && diffID != want {
		return errUnsuitable("got %s, want %s: %w", diffID, want, layer.ErrDiffID)
	}
	img, err := sealImage(ctx, f, size)
	if err != nil {
		return err
	}
	if d.facts.Accounts, err = accountsOfEROFS(io.NewSectionReader(f, 0, img.DataSize())); err != nil {
		s.config.Log.Warn("user names of an EROFS layer cannot be read", zap.String("layer", diffID), zap.Error(err))
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d.facts.DiffID, d.facts.Native = diffID, true
	d.facts.Disks[string(layer.EROFS)] = disk{File: name, Root: img.Root.String(), Size: info.Size()}
	return f.Sync()
}

// sealImage returns the verity disk that an image is, or makes it one.
func sealImage(ctx context.Context, f *os.File, size int64) (*verity.Image, error) {
	img, err := verity.Inspect(f, size, verity.InspectOptions{AnySalt: true})
	if err != nil {
		padded := (size + verity.BlockSize - 1) / verity.BlockSize * verity.BlockSize
		if err := f.Truncate(padded); err != nil {
			return nil, err
		}
		if img, err = verity.Seal(ctx, f, padded, verity.BuildOptions{}); err != nil {
			return nil, errUnsuitable("not an EROFS image of 4 KiB blocks that fills its blob: %w", err)
		}
	}
	if img.FS != verity.EROFS {
		return nil, errUnsuitable("a layer of an EROFS media type is %s", img.FS)
	}
	return img, nil
}

func (s *Snapshotter) copyImage(ctx context.Context, to io.Writer, stream io.Reader, compressed bool) (int64, error) {
	taken := &counter{r: stream}
	plain := io.Reader(taken)
	if compressed {
		z, err := zstd.NewReader(taken, zstd.WithDecoderMaxWindow(nativeWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return 0, err
		}
		defer z.Close()
		plain = z
	}
	most, ratio := s.config.Limits.Size, s.config.Limits.Ratio
	if most <= 0 {
		most = nativeSize
	}
	if ratio <= 0 {
		ratio = nativeRatio
	}
	var size int64
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return size, context.Cause(ctx)
		}
		n, err := plain.Read(buf)
		size += int64(n)
		switch {
		case size > most:
			return size, errUnsuitable("the image is larger than %d bytes, the limit", most)
		case compressed && size > nativeFreely && size/ratio > taken.n:
			return size, errUnsuitable("%d compressed bytes became %d, more than %d times as many", taken.n, size, ratio)
		}
		if _, werr := to.Write(buf[:n]); werr != nil {
			return size, werr
		}
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
