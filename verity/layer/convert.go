package layer

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity"
)

// tarRecord is what every tar's length is a multiple of.
const tarRecord = 512

// Convert writes the verity disk of one layer to out, which must be empty and open for reading and writing. The tar may be
// plain or compressed with gzip or zstd. The layer is read once, from its first byte to its last.
func Convert(ctx context.Context, tar io.Reader, out *os.File, opts Options) (Result, error) {
	switch info, err := out.Stat(); {
	case err != nil:
		return Result{}, fmt.Errorf("convert layer: %w", err)
	case info.Size() != 0:
		return Result{}, fmt.Errorf("convert layer: output %q: got %d bytes in it, want none", out.Name(), info.Size())
	}
	res, err := convert(ctx, tar, out, opts)
	if err != nil {
		return Result{}, fmt.Errorf("convert layer: %w", err)
	}
	img, err := verity.Inspect(out, res.Size, verity.InspectOptions{})
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("convert layer: %w", err)
	case img.Root != res.RootHash || img.DataSize() != res.DataSize:
		return Result{}, fmt.Errorf("convert layer: root hash: read %s back, want %s: %w", img.Root, res.RootHash, verity.ErrChanged)
	}
	return res, nil
}

// Root returns the root hash of one layer, in the format of opts, without making its disk. The tar may be plain or compressed
// with gzip or zstd; what is compressed is kept for EROFS, uncompressed, in a file without a name.
func Root(ctx context.Context, tar io.Reader, opts Options) (Result, error) {
	res, err := convert(ctx, tar, nil, opts)
	if err != nil {
		return Result{}, fmt.Errorf("layer root: %w", err)
	}
	return res, nil
}

func convert(ctx context.Context, tar io.Reader, out *os.File, opts Options) (_ Result, err error) {
	if opts, err = opts.withDefaults(); err != nil {
		return Result{}, err
	}
	disk, err := newSink(ctx, out, opts)
	if err != nil {
		return Result{}, err
	}
	defer disk.Close()
	write := convertExt4
	if opts.Format == EROFS {
		write = convertEROFS
	}
	diffID, err := write(ctx, tar, disk, opts)
	if err != nil {
		return Result{}, err
	}
	root, size, err := disk.finish()
	if err != nil {
		return Result{}, err
	}
	return Result{RootHash: root, DiffID: diffID, DataSize: size, Size: verity.DiskSize(size)}, nil
}

// convertExt4 converts while the layer is read.
func convertExt4(ctx context.Context, tar io.Reader, disk *sink, opts Options) (string, error) {
	return flow(ctx, tar, opts, newScanner(opts), func(ctx context.Context, in *chunkReader) error {
		return writeExt4(in, disk)
	})
}

// convertEROFS reads the layer's headers to the end first: an EROFS image has its files sorted by name.
func convertEROFS(ctx context.Context, tar io.Reader, disk *sink, opts Options) (_ string, err error) {
	s := newScanner(opts)
	if s.sparse, err = newSpool(opts.TempDir); err != nil {
		return "", err
	}
	defer s.sparse.Close()
	if f, info := plainFile(tar); f != nil {
		return convertPlain(ctx, f, info, tar, disk, opts, s)
	}
	whole, err := newSpool(opts.TempDir)
	if err != nil {
		return "", err
	}
	defer whole.Close()
	s.data = whole
	diffID, err := flow(ctx, tar, opts, s, func(_ context.Context, in *chunkReader) error {
		_, err := in.WriteTo(whole)
		return err
	})
	if err != nil {
		return "", err
	}
	return diffID, writeEROFS(ctx, s.root, disk)
}

// convertPlain makes the image from a plain tar in a file while the diff id is still being hashed: headers and contents are read
// where they lie, with nothing kept.
func convertPlain(ctx context.Context, f plain, before fs.FileInfo, tar io.Reader, disk *sink, opts Options, s *scanner) (diffID string, err error) {
	s.data = f
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		diffID, err = flow(ctx, tar, opts, nil, func(context.Context, *chunkReader) error { return nil })
		return err
	})
	g.Go(func() error {
		if err := s.scan(&plainReader{ctx: ctx, SectionReader: io.NewSectionReader(f, 0, before.Size())}); err != nil {
			return err
		}
		return writeEROFS(ctx, s.root, disk)
	})
	if err := g.Wait(); err != nil {
		return "", err
	}
	if after, err := f.Stat(); err != nil || !unchanged(before, after) {
		return "", errors.Join(errors.New("the layer's file was changed while it was read"), err)
	}
	return diffID, nil
}

// plainReader reads a tar where it lies.
type plainReader struct {
	ctx context.Context
	*io.SectionReader
}

func (r *plainReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.SectionReader.Read(p)
}

func (r *plainReader) position() int64 {
	at, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0 // a SectionReader always knows
	}
	return at
}

// flow runs the stages over a layer: to is given the stream behind the scanner, of which there may be none. It returns the diff
// id, which was checked.
func flow(ctx context.Context, tar io.Reader, opts Options, s *scanner, to func(context.Context, *chunkReader) error) (string, error) {
	plain, taken, closePlain, err := decompress(tar)
	if err != nil {
		return "", err
	}
	defer closePlain()
	p := newPump(plain, taken, opts.Limits)
	sum := newDigest()
	if err := p.stages(ctx, sum, s, to); err != nil {
		return "", err
	}
	diffID := diffIDOf(sum)
	switch {
	case opts.DiffID != "" && opts.DiffID != diffID:
		return "", fmt.Errorf("got %s, want %s: %w", diffID, opts.DiffID, ErrDiffID)
	case opts.DiffID == "" && p.size%tarRecord != 0:
		// The tar reader takes a stream cut within padding for its end. A known diff id rules that out; without one, a
		// cut layer would become a disk that lacks files and says nothing.
		return "", fmt.Errorf("length %d is not a multiple of %d: %w", p.size, tarRecord, io.ErrUnexpectedEOF)
	}
	return diffID, nil
}

func (p *pump) stages(ctx context.Context, sum hash.Hash, s *scanner, to func(context.Context, *chunkReader) error) error {
	g, ctx := errgroup.WithContext(ctx)
	hashed, scanned, passed := make(chan *chunk, chunkCount), make(chan *chunk, chunkCount), make(chan *chunk, chunkCount)
	g.Go(func() error { return p.run(ctx, hashed, scanned) })
	g.Go(func() error { return digest(ctx, hashed, sum) })
	g.Go(func() error {
		in := &chunkReader{ctx: ctx, in: scanned, pass: passed}
		if s != nil {
			if err := s.scan(in); err != nil {
				return err
			}
		}
		// What follows the tar's end marker belongs to the diff id as well.
		if err := in.drain(); err != nil {
			return err
		}
		close(passed)
		return nil
	})
	g.Go(func() error {
		in := &chunkReader{ctx: ctx, in: passed}
		if err := to(ctx, in); err != nil {
			return err
		}
		return in.drain()
	})
	return g.Wait()
}

// plain is a tar that can be read a second time; *os.File is one.
type plain interface {
	io.ReaderAt
	io.Seeker
	Stat() (fs.FileInfo, error)
}

// plainFile returns the tar's file if it is a regular one, not compressed, and at its start.
func plainFile(tar io.Reader) (plain, fs.FileInfo) {
	f, ok := tar.(plain)
	if !ok {
		return nil, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || at != 0 {
		return nil, nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	magic := make([]byte, len(zstdMagic))
	if n, _ := f.ReadAt(magic, 0); n < len(magic) || compression(magic) != "" {
		return nil, nil
	}
	return f, info
}

func unchanged(a, b fs.FileInfo) bool { return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) }
