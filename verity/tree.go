package verity

// digestsPerBlock is the fan-out of the tree.
const digestsPerBlock = BlockSize / HashSize

// treeLevels returns the blocks of each level of the tree, lowest level first. One data block needs no tree.
func treeLevels(dataBlocks uint64) []uint64 {
	var levels []uint64
	for n := dataBlocks; n > 1; {
		n = (n + digestsPerBlock - 1) / digestsPerBlock
		levels = append(levels, n)
	}
	return levels
}

// treeBlocks is the length of the whole tree in blocks.
func treeBlocks(dataBlocks uint64) uint64 {
	var sum uint64
	for _, n := range treeLevels(dataBlocks) {
		sum += n
	}
	return sum
}

// levelOffsets returns where each level starts, in bytes from the start of the tree: the top level is stored first.
func levelOffsets(levels []uint64) []int64 {
	offsets := make([]int64, len(levels))
	var at int64
	for i := len(levels) - 1; i >= 0; i-- {
		offsets[i] = at
		at += int64(levels[i]) * BlockSize
	}
	return offsets
}
