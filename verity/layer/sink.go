package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cloister-cc/cloister/verity"
)

// sink takes a file system as a converter writes it, hashes it meanwhile and, if there is a file, keeps it. Both converters
// write their data in order and come back for the superblock: what is written twice is whole blocks at the start. Without a
// file nothing can be read back, and a converter that wants to is refused.
type sink struct {
	tree  *verity.TreeHasher
	out   *os.File // nil keeps nothing
	spool *os.File // lowest level of the tree; nil keeps it in memory
	pos   int64
	end   int64 // of what was written
}

func newSink(ctx context.Context, out *os.File, opts Options) (*sink, error) {
	s := &sink{out: out}
	o := verity.TreeOptions{BuildOptions: verity.BuildOptions{Workers: opts.Workers}}
	// Without it the lowest level of the tree would stay in memory: 1/128 of the disk.
	spool, err := unlinked(opts.TempDir)
	if err != nil {
		return nil, err
	}
	s.spool, o.Spool = spool, spool
	if s.tree, err = verity.NewTreeHasher(ctx, o); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return s, nil
}

func (s *sink) Write(p []byte) (int, error) {
	if s.pos > s.end {
		if err := s.tree.WriteZeros(s.pos - s.end); err != nil {
			return 0, err
		}
		s.end = s.pos
	}
	if err := s.hash(p); err != nil {
		return 0, err
	}
	if s.out != nil && (s.pos < s.end || !zeros(p)) {
		if _, err := s.out.WriteAt(p, s.pos); err != nil {
			return 0, err
		}
	}
	s.pos += int64(len(p))
	s.end = max(s.end, s.pos)
	return len(p), nil
}

func (s *sink) hash(p []byte) error {
	if s.pos == s.end {
		_, err := s.tree.Write(p)
		return err
	}
	if s.pos%verity.BlockSize != 0 || len(p)%verity.BlockSize != 0 || s.pos+int64(len(p)) > s.end {
		return fmt.Errorf("converter wrote %d bytes at %d of %d, want whole blocks that were written before", len(p), s.pos, s.end)
	}
	return s.tree.HashAt(uint64(s.pos/verity.BlockSize), p)
}

func (s *sink) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.end
	}
	if offset < 0 {
		return 0, fmt.Errorf("converter seeks to %d", offset)
	}
	s.pos = offset
	return offset, nil
}

func (s *sink) Read(p []byte) (int, error) {
	if s.out == nil {
		return 0, fmt.Errorf("converter reads %d bytes at %d back, which were not kept", len(p), s.pos)
	}
	n, err := s.out.ReadAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

// finish ends the file system and returns its size and root. With a file, superblock and tree follow in it.
func (s *sink) finish() (verity.Hash, int64, error) {
	root, err := s.tree.Finish(s.end)
	if err != nil {
		return verity.Hash{}, 0, err
	}
	if s.out == nil {
		return root, s.end, nil
	}
	if err := s.out.Truncate(s.end); err != nil { // there may be zeros at the end
		return verity.Hash{}, 0, err
	}
	return root, s.end, s.seal(root)
}

func (s *sink) seal(root verity.Hash) error {
	sb := verity.NewSuperblock(root, uint64(s.end/verity.BlockSize))
	raw, err := sb.Marshal()
	if err != nil {
		return err
	}
	block := make([]byte, verity.BlockSize)
	copy(block, raw)
	if _, err := s.out.WriteAt(block, s.end); err != nil {
		return fmt.Errorf("write verity superblock: %w", err)
	}
	return s.tree.WriteTree(io.NewOffsetWriter(s.out, s.end+verity.BlockSize))
}

func (s *sink) Close() error { return errors.Join(s.tree.Close(), s.spool.Close()) }
