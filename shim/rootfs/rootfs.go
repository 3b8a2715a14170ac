package rootfs

// Manifest is the name of the file that lies beside the mount source of one of our snapshots.
const Manifest = "layers.json"

// ViewDir is the last component of that mount source: a directory with nothing in it but what the host needs to resolve user names.
const ViewDir = "view"

// The file systems of a layer's disk, as mount knows them.
const (
	Ext4  = "ext4"
	EROFS = "erofs"
)

// MaxLayers is how many layers a root file system may have. containerd's own snapshotters end at 128; images have up to 127.
const MaxLayers = 512

// Disk is one layer in one format: a file with a file system, the verity superblock and the hash tree.
type Disk struct {
	Path   string `json:"path"` // absolute
	Root   string `json:"root"` // lower-case hex
	Format string `json:"-"`    // Ext4 or EROFS; the manifest says it by the member's name
}

// Layer is one layer of an image in every format that this node has of it.
type Layer struct {
	DiffID string `json:"diff_id"` // "sha256:<hex>"; empty where the snapshotter does not say
	Ext4   *Disk  `json:"ext4,omitempty"`
	EROFS  *Disk  `json:"erofs,omitempty"`
}

// In returns the layer's disk in a format, or nil.
func (l Layer) In(format string) *Disk {
	switch format {
	case Ext4:
		return l.Ext4
	case EROFS:
		return l.EROFS
	}
	return nil
}

// Rootfs is a container's root file system, its layers from the base up.
type Rootfs struct {
	Layers []Layer `json:"layers"`
}
