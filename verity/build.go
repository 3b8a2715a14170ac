package verity

import (
	"context"
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

// groupSize is the data below one block of the tree's lowest level: what makes one of its blocks.
const groupSize = digestsPerBlock * BlockSize

// maxBatch is how many groups a worker takes together: 4 MiB of data.
const maxBatch = 8

// Build hashes the data area of size bytes and writes its tree, top level first, at the start of tree; nil keeps only the
// root. Holes of a regular *os.File are not read. Memory is a buffer for each worker and 32 bytes for each 512 KiB of data;
// no block allocates.
func Build(ctx context.Context, data io.ReaderAt, size int64, tree io.WriterAt, opts BuildOptions) (Hash, error) {
	b, err := newBuilder(data, size, tree, opts)
	if err != nil {
		return Hash{}, fmt.Errorf("build tree: %w", err)
	}
	defer b.source.close()
	if err := b.hashData(ctx, opts.Workers); err != nil {
		return Hash{}, fmt.Errorf("build tree: %w", err)
	}
	root, err := b.hashUp()
	if err != nil {
		return Hash{}, fmt.Errorf("build tree: %w", err)
	}
	return root, nil
}

// builder holds one run. A group is the 128 data blocks below one block of the lowest tree level.
type builder struct {
	source  *source
	size    int64
	tree    io.WriterAt
	salt    []byte
	leaf    *leafHasher
	groups  uint64
	levels  []uint64
	offsets []int64
	digests []byte // of the lowest level's blocks: one a group
	next    atomic.Uint64
}

func newBuilder(data io.ReaderAt, size int64, tree io.WriterAt, opts BuildOptions) (*builder, error) {
	if err := checkDataSize(size); err != nil {
		return nil, err
	}
	salt := opts.Salt
	if salt == nil {
		salt = DefaultSalt()
	}
	leaf, err := newLeafHasher(salt)
	if err != nil {
		return nil, err
	}
	b := &builder{size: size, tree: tree, salt: salt, leaf: leaf, groups: uint64((size + groupSize - 1) / groupSize)}
	b.levels = treeLevels(uint64(size / BlockSize))
	b.offsets = levelOffsets(b.levels)
	b.digests = make([]byte, roundUp(int(b.groups)*HashSize))
	b.source = newSource(data, size)
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
	// A worker takes several groups at a time, so that it can hash and write their blocks of the tree together.
	batch := max(1, min(maxBatch, b.groups/uint64(4*workers)))
	g, ctx := errgroup.WithContext(ctx)
	for range min(uint64(workers), b.groups) {
		g.Go(func() error {
			w, err := newGroupHasher(b)
			if err != nil {
				return err
			}
			for {
				end := b.next.Add(batch)
				if end-batch >= b.groups {
					return nil
				}
				if err := w.hash(ctx, end-batch, min(end, b.groups)); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// hashUp builds the upper levels from the digests of the lowest and returns the root.
func (b *builder) hashUp() (Hash, error) {
	below := b.digests
	for level := 1; level < len(b.levels); level++ {
		if err := b.write(below, b.offsets[level]); err != nil {
			return Hash{}, err
		}
		above := make([]byte, roundUp(int(b.levels[level])*HashSize))
		b.leaf.sums(above, below)
		below = above
	}
	return Hash(below[:HashSize]), nil
}

func (b *builder) write(p []byte, off int64) error {
	if b.tree == nil {
		return nil
	}
	if _, err := b.tree.WriteAt(p, off); err != nil {
		return fmt.Errorf("write at %d: %w", off, err)
	}
	return nil
}
