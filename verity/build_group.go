package verity

import "context"

// groupHasher is one worker of a builder: it makes blocks of the tree's lowest level.
type groupHasher struct {
	b       *builder
	leaf    *leafHasher
	scratch []byte
	nodes   []byte
}

func newGroupHasher(b *builder) (*groupHasher, error) {
	leaf, err := newLeafHasher(b.salt)
	if err != nil {
		return nil, err
	}
	return &groupHasher{b: b, leaf: leaf, scratch: b.source.scratch(), nodes: make([]byte, maxBatch*BlockSize)}, nil
}

// hash makes, writes and hashes the blocks of the groups from first to before end, at most maxBatch.
func (w *groupHasher) hash(ctx context.Context, first, end uint64) error {
	nodes := w.nodes[:(end-first)*BlockSize]
	clear(nodes)
	for group := first; group < end; group++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.node(nodes[(group-first)*BlockSize:], group); err != nil {
			return err
		}
	}
	if len(w.b.levels) == 0 { // one data block has no tree: its digest is the root
		copy(w.b.digests, nodes[:HashSize])
		return nil
	}
	if err := w.b.write(nodes, w.b.offsets[0]+int64(first)*BlockSize); err != nil {
		return err
	}
	w.leaf.sums(w.b.digests[first*HashSize:], nodes)
	return nil
}

// node fills the block of one group.
func (w *groupHasher) node(node []byte, group uint64) error {
	off := int64(group) * groupSize
	end := min(off+groupSize, w.b.size)
	if w.b.source.hole(off, end) {
		w.leaf.zeroSums(node[:(end-off)/BlockSize*HashSize])
		return nil
	}
	for off < end {
		data, err := w.b.source.read(w.scratch, off, end)
		if err != nil {
			return err
		}
		w.leaf.sums(node, data)
		node = node[len(data)/BlockSize*HashSize:]
		off += int64(len(data))
	}
	return nil
}
