package verity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// BuildOptions controls the tree builder.
type BuildOptions struct {
	// Salt goes before each block that is hashed. nil means DefaultSalt; an empty, non-nil salt means none.
	Salt []byte
	// Workers is how many cores hash at once; 0 means all.
	Workers int
}

// groupSize is the data below one block of the tree's lowest level: what a worker reads and hashes at a time. Smaller pieces,
// which would stay in a nearer cache, measured slower.
const groupSize = digestsPerBlock * BlockSize

// Build hashes the data area of size bytes and writes its tree, top level first, at the start of tree; nil keeps only the
// root. Memory does not grow with the disk beyond 32 bytes for each 512 KiB, and no block allocates.
func Build(ctx context.Context, data io.ReaderAt, size int64, tree io.WriterAt, opts BuildOptions) (Hash, error) {
	b, err := newBuilder(data, size, tree, opts)
	if err != nil {
		return Hash{}, err
	}
	if b.blocks == 1 {
		buf := make([]byte, len(b.salt)+BlockSize)
		if err := b.read(buf[len(b.salt):], 0); err != nil {
			return Hash{}, err
		}
		copy(buf, b.salt)
		return sha256.Sum256(buf), nil
	}
	if err := b.hashData(ctx, opts.Workers); err != nil {
		return Hash{}, err
	}
	return b.hashUp()
}

// builder holds one run. A group is the 128 data blocks below one block of the lowest tree level.
type builder struct {
	data    io.ReaderAt
	size    int64
	tree    io.WriterAt
	salt    []byte
	blocks  uint64
	levels  []uint64
	offsets []int64
	digests []byte // of the lowest level's blocks: one a group
	next    atomic.Uint64
}

func newBuilder(data io.ReaderAt, size int64, tree io.WriterAt, opts BuildOptions) (*builder, error) {
	if err := checkDataSize(size); err != nil {
		return nil, fmt.Errorf("build tree: %w", err)
	}
	if len(opts.Salt) > MaxSaltSize {
		return nil, fmt.Errorf("build tree: salt size: got %d, want at most %d", len(opts.Salt), MaxSaltSize)
	}
	salt := opts.Salt
	if salt == nil {
		salt = DefaultSalt()
	}
	b := &builder{data: data, size: size, tree: tree, salt: salt, blocks: uint64(size / BlockSize)}
	b.levels = treeLevels(b.blocks)
	b.offsets = levelOffsets(b.levels)
	if len(b.levels) > 0 {
		b.digests = make([]byte, roundUp(int(b.levels[0])*HashSize))
	}
	return b, nil
}

func checkDataSize(size int64) error {
	if size <= 0 || size%BlockSize != 0 || size > maxDataBlocks*BlockSize {
		return fmt.Errorf("data size: got %d, want a multiple of %d up to %d", size, BlockSize, int64(maxDataBlocks*BlockSize))
	}
	return nil
}

func roundUp(n int) int { return (n + BlockSize - 1) / BlockSize * BlockSize }

// hashData hashes all data blocks and writes the lowest level of the tree.
func (b *builder) hashData(ctx context.Context, workers int) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range min(uint64(workers), b.levels[0]) {
		g.Go(func() error {
			scratch := make([]byte, len(b.salt)+groupSize)
			node := make([]byte, len(b.salt)+BlockSize)
			for {
				group := b.next.Add(1) - 1
				if group >= b.levels[0] {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("build tree: %w", err)
				}
				if err := b.hashGroup(group, scratch, node); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// hashGroup makes one block of the lowest level.
func (b *builder) hashGroup(group uint64, scratch, node []byte) error {
	salt := len(b.salt)
	off := int64(group) * groupSize
	n := int(min(b.size-off, groupSize))
	if err := b.read(scratch[salt:salt+n], off); err != nil {
		return err
	}
	out := node[salt:]
	clear(out)
	// The salt is put right before each block, over the end of the block that was hashed just before: one call over one
	// contiguous piece is faster than a streaming digest and copies 32 bytes instead of 4096.
	for at := 0; at < n; at += BlockSize {
		copy(scratch[at:], b.salt)
		sum := sha256.Sum256(scratch[at : at+salt+BlockSize])
		copy(out, sum[:])
		out = out[HashSize:]
	}
	if err := b.write(node[salt:], b.offsets[0]+int64(group)*BlockSize); err != nil {
		return err
	}
	copy(node, b.salt)
	sum := sha256.Sum256(node)
	copy(b.digests[group*HashSize:], sum[:])
	return nil
}

// hashUp builds the upper levels from the digests of the lowest and returns the root.
func (b *builder) hashUp() (Hash, error) {
	node := make([]byte, len(b.salt)+BlockSize)
	copy(node, b.salt)
	below := b.digests
	for level := 1; level < len(b.levels); level++ {
		if err := b.write(below, b.offsets[level]); err != nil {
			return Hash{}, err
		}
		above := make([]byte, roundUp(int(b.levels[level])*HashSize))
		for i := range int(b.levels[level]) {
			copy(node[len(b.salt):], below[i*BlockSize:(i+1)*BlockSize])
			sum := sha256.Sum256(node)
			copy(above[i*HashSize:], sum[:])
		}
		below = above
	}
	return Hash(below[:HashSize]), nil
}

func (b *builder) read(p []byte, off int64) error {
	if err := readBlock(b.data, p, off, b.size); err != nil {
		return fmt.Errorf("build tree: %w", err)
	}
	return nil
}

func (b *builder) write(p []byte, off int64) error {
	if b.tree == nil {
		return nil
	}
	if _, err := b.tree.WriteAt(p, off); err != nil {
		return fmt.Errorf("build tree: write at %d: %w", off, err)
	}
	return nil
}
