package rootfs

// Manifest is the name of the file that lies beside the mount source of one of our snapshots.
const Manifest = "layers.json"

// ViewDir is the last component of that mount source: a directory with nothing in it but what the host needs to resolve user names.
const ViewDir = "view"

// Disk is one layer in one format: a file with a file system, the verity superblock and the hash tree.
type Disk struct {
	Path string `json:"path"`
	Root string `json:"root"` // lower-case hex
}

// Layer is one layer of an image in every format that this node has of it.
type Layer struct {
	DiffID string `json:"diff_id"` // "sha256:<hex>"; empty where the snapshotter does not say
	Ext4   *Disk  `json:"ext4,omitempty"`
	EROFS  *Disk  `json:"erofs,omitempty"`
}

// Rootfs is a container's root file system, its layers from the base up.
type Rootfs struct {
	Layers []Layer `json:"layers"`
}
