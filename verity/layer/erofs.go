package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/erofs/go-erofs"
)

// writeEROFS makes an EROFS image of a tree. go-erofs writes what a file system of Go's interface holds, sorted by name: all
// that it would not do from calls of its own (setuid bits, entries that come twice, directories after their content) is done
// in the tree before.
func writeEROFS(ctx context.Context, root *node, disk io.WriteSeeker) (err error) {
	defer refusePanic(&err)
	// The build time is what inodes without a time of their own have; nothing in the image may come from the clock.
	w := erofs.Create(disk, erofs.WithBuildTime(0, 0))
	if err := w.CopyFrom(&treeFS{ctx, root}); err != nil {
		return fmt.Errorf("make EROFS: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("make EROFS: %w", err)
	}
	return nil
}

// treeFS shows a tree as Go's file system interfaces.
type treeFS struct {
	ctx  context.Context
	root *node
}

func (t *treeFS) find(op, name string) (*node, error) {
	n := t.root
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if n = n.children[part]; n == nil {
				return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
		}
	}
	return n, t.ctx.Err()
}

func (t *treeFS) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info{path.Base(name), n}, nil
}

func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(n.children))
	for _, name := range n.names() {
		entries = append(entries, fs.FileInfoToDirEntry(info{name, n.children[name]}))
	}
	return entries, nil
}

func (t *treeFS) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	return n.link, nil
}

func (t *treeFS) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.kind != regular || n.data.in == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("no content")}
	}
	return &file{info{path.Base(name), n}, t.ctx, io.NewSectionReader(n.data.in, n.data.off, n.size)}, nil
}

// file reads a file's content where it lies.
type file struct {
	info
	ctx context.Context
	in  *io.SectionReader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

func (f *file) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.in.Read(p)
}

// info is a node under its name.
type info struct {
	name string
	n    *node
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.n.size }
func (i info) ModTime() time.Time { return time.Unix(i.n.seconds, int64(i.n.nanos)) }
func (i info) IsDir() bool        { return i.n.kind == directory }

var fileModes = map[kind]fs.FileMode{
	regular: 0, directory: fs.ModeDir, symlink: fs.ModeSymlink, fifo: fs.ModeNamedPipe,
	charDevice: fs.ModeDevice | fs.ModeCharDevice, blockDevice: fs.ModeDevice, whiteout: fs.ModeDevice | fs.ModeCharDevice,
}

const (
	setuid = 0o4000
	setgid = 0o2000
	sticky = 0o1000
)

func (i info) Mode() fs.FileMode {
	mode := fileModes[i.n.kind] | fs.FileMode(i.n.mode)&fs.ModePerm
	for bit, flag := range map[uint16]fs.FileMode{setuid: fs.ModeSetuid, setgid: fs.ModeSetgid, sticky: fs.ModeSticky} {
		if i.n.mode&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// Sys is how go-erofs learns what Go's interface has no words for. A whiteout is a character device 0:0.
func (i info) Sys() any {
	n := i.n
	stat := &erofs.Stat{
		Mode: i.Mode(), Size: n.size, UID: n.uid, GID: n.gid, Rdev: n.device, Mtime: uint64(n.seconds), MtimeNs: n.nanos, Nlink: 1,
		Xattrs: n.xattrs,
	}
	if n.kind == directory {
		stat.Nlink = 2 + n.subdirectories()
	}
	if n.opaque {
		stat.Xattrs = map[string]string{opaqueXattr: "y"}
		for name, value := range n.xattrs {
			if name != opaqueXattr {
				stat.Xattrs[name] = value
			}
		}
	}
	return stat
}
