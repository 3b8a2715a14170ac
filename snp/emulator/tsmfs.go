package emulator

import (
	"context"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The tree: / holds tsm, that holds report, that holds the entries, those hold the attributes. Nodes keep no state: all of it is in tsm, so
// that the kernel may forget them at will.

func newTSM(proc *Processor) fs.InodeEmbedder {
	state := newTSMState(proc)
	return &dirNode{name: "tsm", child: &dirNode{name: "report", child: &reportNode{tsm: state}}}
}

const (
	dirMode = syscall.S_IFDIR | 0o755
	// attributeSize is what stat shows of attribute files, as in configfs; reads go by content.
	attributeSize = 4096
)

// kept makes what is in a directory stay there, as configfs does: without it go-fuse would take the default of removing.
type kept struct{}

func (kept) Unlink(context.Context, string) syscall.Errno { return syscall.EPERM }
func (kept) Rmdir(context.Context, string) syscall.Errno  { return syscall.EPERM }

// dirNode is a fixed directory with one child.
type dirNode struct {
	fs.Inode
	kept
	name  string
	child fs.InodeEmbedder
}

var _ interface {
	fs.NodeOnAdder
	fs.NodeGetattrer
	fs.NodeUnlinker
	fs.NodeRmdirer
} = (*dirNode)(nil)

func (d *dirNode) OnAdd(ctx context.Context) {
	d.AddChild(d.name, d.NewPersistentInode(ctx, d.child, fs.StableAttr{Mode: syscall.S_IFDIR}), true)
}

func (d *dirNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = dirMode
	return 0
}

// reportNode is the directory in which clients make entries.
type reportNode struct {
	fs.Inode
	kept // but Rmdir
	tsm  *tsm
}

var _ interface {
	fs.NodeGetattrer
	fs.NodeLookuper
	fs.NodeMkdirer
	fs.NodeRmdirer
	fs.NodeUnlinker
	fs.NodeReaddirer
} = (*reportNode)(nil)

func (r *reportNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = dirMode
	return 0
}

func (r *reportNode) node(ctx context.Context, e *tsmEntry, out *fuse.EntryOut) *fs.Inode {
	out.Mode = dirMode
	return r.NewInode(ctx, &entryNode{entry: e}, fs.StableAttr{Mode: syscall.S_IFDIR})
}

func (r *reportNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	e, ok := r.tsm.get(name)
	if !ok {
		return nil, syscall.ENOENT
	}
	return r.node(ctx, e, out), 0
}

func (r *reportNode) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	e, errno := r.tsm.make(name)
	if errno != 0 {
		return nil, errno
	}
	return r.node(ctx, e, out), 0
}

func (r *reportNode) Rmdir(_ context.Context, name string) syscall.Errno { return r.tsm.remove(name) }

func (r *reportNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var list []fuse.DirEntry
	for _, name := range r.tsm.names() {
		list = append(list, fuse.DirEntry{Name: name, Mode: syscall.S_IFDIR})
	}
	return fs.NewListDirStream(list), 0
}

// entryNode is one report.
type entryNode struct {
	fs.Inode
	kept
	entry *tsmEntry
}

var _ interface {
	fs.NodeGetattrer
	fs.NodeLookuper
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeReaddirer
} = (*entryNode)(nil)

func (n *entryNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = dirMode
	return 0
}

func (n *entryNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	for _, a := range attributes {
		if a.name == name {
			out.Mode, out.Size = syscall.S_IFREG|a.mode, attributeSize
			return n.NewInode(ctx, &attributeNode{entry: n.entry, attr: a}, fs.StableAttr{Mode: syscall.S_IFREG}), 0
		}
	}
	return nil, syscall.ENOENT
}

func (n *entryNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var list []fuse.DirEntry
	for _, a := range attributes {
		list = append(list, fuse.DirEntry{Name: a.name, Mode: syscall.S_IFREG})
	}
	return fs.NewListDirStream(list), 0
}

// attributeNode is one file.
type attributeNode struct {
	fs.Inode
	entry *tsmEntry
	attr  attribute
}

var _ interface {
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFlusher
} = (*attributeNode)(nil)

func (n *attributeNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|n.attr.mode, attributeSize
	return 0
}

// Setattr accepts the truncation that O_TRUNC brings and nothing has to follow from.
func (n *attributeNode) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.Getattr(ctx, f, out)
}

// value is what an open file reads: the kernel builds an attribute once per open, so that a reader never sees two versions mixed.
type value struct {
	mu    sync.Mutex
	b     []byte
	errno syscall.Errno
	ready bool
}

func (n *attributeNode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	switch mode := flags & syscall.O_ACCMODE; {
	case mode != syscall.O_RDONLY && n.attr.set == nil, mode != syscall.O_WRONLY && n.attr.get == nil:
		return nil, 0, syscall.EACCES // root too: there is no such operation
	}
	return &value{}, fuse.FOPEN_DIRECT_IO, 0
}

func (n *attributeNode) Read(ctx context.Context, f fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	v, ok := f.(*value)
	if !ok {
		return nil, syscall.EBADF
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.ready || off == 0 {
		v.b, v.errno = n.entry.readAttribute(ctx, n.attr)
		v.ready = true
	}
	if v.errno != 0 {
		return nil, v.errno
	}
	if off < 0 || off >= int64(len(v.b)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(v.b[off:min(int64(len(v.b)), off+int64(len(dest)))]), 0
}

// Write takes one write as the whole value. One that continues another is refused: a nonce in two halves would be two nonces.
func (n *attributeNode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if off != 0 || n.attr.set == nil {
		return 0, syscall.EINVAL
	}
	if errno := errnoOf(n.attr.set(n.entry, data)); errno != 0 {
		return 0, errno
	}
	return uint32(len(data)), 0
}

func (n *attributeNode) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }
