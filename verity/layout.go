package verity

// NewSuperblock is the superblock of a disk with this root, the default salt, and a UUID that follows from the root.
func NewSuperblock(root Hash, dataBlocks uint64) *Superblock {
	return &Superblock{UUID: uuidOf(root), DataBlocks: dataBlocks, Salt: DefaultSalt()}
}

// DiskSize is the length of a disk whose file system has dataSize bytes, with superblock and tree.
func DiskSize(dataSize int64) int64 {
	return dataSize + BlockSize + int64(treeBlocks(uint64(dataSize/BlockSize)))*BlockSize
}
