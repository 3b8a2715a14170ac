package verity

import (
	"errors"
	"fmt"
	"io"
)

// finishedTree is what Finish made.
type finishedTree struct {
	size    int64
	root    Hash
	levels  []uint64
	offsets []int64
	upper   [][]byte // the levels above the lowest
}

// Finish ends the data, which is size bytes long, and returns the root hash. What was not given up to size is zeros; data
// beyond it, or a part of a block, is an error.
func (t *TreeHasher) Finish(size int64) (Hash, error) {
	if err := checkDataSize(size); err != nil {
		return Hash{}, fmt.Errorf("hash tree: %w", err)
	}
	if err := t.flushBlocks(); err != nil {
		return Hash{}, err
	}
	if rest := len(t.pending.buf); rest > 0 {
		return Hash{}, fmt.Errorf("hash tree: the data ends with %d bytes of a block, want whole blocks", rest)
	}
	blocks := uint64(size / BlockSize)
	if t.end > blocks {
		return Hash{}, fmt.Errorf("hash tree: data size: got %d, want at least the %d bytes that were written", size, t.end*BlockSize)
	}
	t.stopWorkers()
	if t.ctx.Err() != nil {
		return Hash{}, t.usable()
	}
	tree := &finishedTree{size: size, levels: treeLevels(blocks)}
	tree.offsets = levelOffsets(tree.levels)
	if err := t.hashUp(tree); err != nil {
		return Hash{}, fmt.Errorf("hash tree: %w", err)
	}
	t.tree = tree
	return tree.root, nil
}

// hashUp builds the upper levels.
func (t *TreeHasher) hashUp(tree *finishedTree) error {
	if len(tree.levels) == 0 {
		var node [BlockSize]byte
		err := t.readNode(node[:], 0, 1)
		tree.root = Hash(node[:HashSize])
		return err
	}
	below := make([]byte, roundUp(int(tree.levels[0])*HashSize))
	sums := below
	err := t.nodes(tree, func(_ int64, nodes []byte) error {
		t.leaf.sums(sums, nodes)
		sums = sums[len(nodes)/BlockSize*HashSize:]
		return nil
	})
	if err != nil {
		return err
	}
	for level := 1; level < len(tree.levels); level++ {
		tree.upper = append(tree.upper, below)
		above := make([]byte, roundUp(int(tree.levels[level])*HashSize))
		t.leaf.sums(above, below)
		below = above
	}
	tree.root = Hash(below[:HashSize])
	return nil
}

// nodesAtOnce is how many blocks of the lowest level are taken together: 1 MiB.
const nodesAtOnce = 256

// nodes calls do with the lowest level of the tree, piece by piece; off is from the level's start.
func (t *TreeHasher) nodes(tree *finishedTree, do func(off int64, nodes []byte) error) error {
	blocks := uint64(tree.size / BlockSize)
	buf := make([]byte, min(tree.levels[0], nodesAtOnce)*BlockSize)
	for first := uint64(0); first < tree.levels[0]; first += nodesAtOnce {
		n := min(nodesAtOnce, tree.levels[0]-first)
		for i := range n {
			if err := t.readNode(buf[i*BlockSize:(i+1)*BlockSize], first+i, blocks); err != nil {
				return err
			}
		}
		if err := do(int64(first)*BlockSize, buf[:n*BlockSize]); err != nil {
			return err
		}
	}
	return nil
}

// readNode returns one block of the lowest level of a tree over so many data blocks.
func (t *TreeHasher) readNode(node []byte, index, blocks uint64) error {
	var g *group
	if index < uint64(len(t.groups)) {
		g = t.groups[index]
	}
	switch {
	case g == nil:
		t.leaf.zeroSums(node)
	case g.node != nil:
		copy(node, g.node[:])
	default:
		at := int64(index) * BlockSize
		if err := readBlock(t.opts.Spool, node, at, at+BlockSize); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if left := blocks - index*digestsPerBlock; left < digestsPerBlock {
		clear(node[left*HashSize:]) // there is no data below
	}
	return nil
}

var errNotFinished = errors.New("hash tree: not finished")

// WriteTree writes the tree, top level first, at the start of w. Data of one block has no tree.
func (t *TreeHasher) WriteTree(w io.WriterAt) error {
	if t.tree == nil {
		return errNotFinished
	}
	if len(t.tree.levels) == 0 {
		return nil
	}
	for i, level := range t.tree.upper {
		if err := writeTree(w, level, t.tree.offsets[i+1]); err != nil {
			return err
		}
	}
	return t.nodes(t.tree, func(off int64, nodes []byte) error {
		return writeTree(w, nodes, t.tree.offsets[0]+off)
	})
}

// Seal appends superblock and tree to the data, which the caller has written to the start of disk, as [Seal] does.
func (t *TreeHasher) Seal(disk Disk) (*Image, error) {
	if t.tree == nil {
		return nil, errNotFinished
	}
	if err := t.WriteTree(io.NewOffsetWriter(disk, t.tree.size+BlockSize)); err != nil {
		return nil, err
	}
	return writeSuperblock(disk, t.tree.size, t.tree.root, t.opts.Salt)
}

func writeTree(w io.WriterAt, p []byte, off int64) error {
	if _, err := w.WriteAt(p, off); err != nil {
		return fmt.Errorf("hash tree: write at %d: %w", off, err)
	}
	return nil
}
