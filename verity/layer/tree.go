package layer

import (
	"archive/tar"
	"io"
	"maps"
	"slices"
)

// kind is what an entry of the tree is.
type kind byte

const (
	regular kind = iota
	directory
	symlink
	charDevice
	blockDevice
	fifo
	whiteout // of a name of lower layers; of the same layer's only where a format can say so
)

// node is one entry of a layer.
type node struct {
	kind     kind
	opaque   bool // a directory that hides what lower layers have in it
	linked   bool // a hard link has been made of it or to it
	mode     uint16
	uid, gid uint32
	device   uint32 // as Linux's new_encode_dev
	seconds  int64  // mtime
	nanos    uint32
	size     int64
	data     section
	link     string // a symlink's target
	xattrs   map[string]string
	children map[string]*node
}

// section is where a file's content lies; in is nil for a file without any and where nobody asked.
type section struct {
	in  io.ReaderAt
	off int64
}

// newDirectory is what a directory is that the tar only implies.
func newDirectory() *node { return &node{kind: directory, mode: 0o755} }

// names are sorted: nothing may depend on the order of a map.
func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

func (n *node) put(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// subdirectories is what makes a directory's link count.
func (n *node) subdirectories() int {
	count := 0
	for _, c := range n.children {
		if c.kind == directory {
			count++
		}
	}
	return count
}

// kinds are the types of entries that a layer may have.
var kinds = map[byte]kind{
	tar.TypeReg: regular, tar.TypeCont: regular, tar.TypeGNUSparse: regular,
	tar.TypeDir: directory, tar.TypeSymlink: symlink, tar.TypeChar: charDevice, tar.TypeBlock: blockDevice, tar.TypeFifo: fifo,
}
