package guest

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// File types of a mode, as stat(2) has them.
const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
)

// entry is one file of the image; for a symlink the data is its target.
type entry struct {
	mode uint32
	data []byte
}

// tree is the root file system of the guest. Paths are relative, clean and slash-separated. Owner and time are not
// kept: every file belongs to root and is as old as the epoch.
type tree struct {
	entries map[string]entry
}

func newTree() *tree { return &tree{entries: map[string]entry{}} }

func (t *tree) dir(name string, perm uint32) error {
	return t.add(name, entry{mode: typeDir | perm})
}

func (t *tree) file(name string, perm uint32, data []byte) error {
	return t.add(name, entry{mode: typeRegular | perm, data: data})
}

func (t *tree) symlink(name, target string) error {
	return t.add(name, entry{mode: typeSymlink | 0o777, data: []byte(target)})
}

// add refuses a path that is taken: the kernel would silently let the later entry of an archive win.
func (t *tree) add(name string, e entry) error {
	if name == "" || name == "." || path.Clean(name) != name || path.IsAbs(name) || strings.HasPrefix(name, "..") {
		return fmt.Errorf("add %q to the image: want a clean relative path", name)
	}
	if _, taken := t.entries[name]; taken {
		return fmt.Errorf("add %q to the image: it is there already", name)
	}
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		p, ok := t.entries[parent]
		if !ok {
			t.entries[parent] = entry{mode: typeDir | 0o755}
		} else if p.mode&typeDir == 0 || p.mode&typeRegular != 0 {
			return fmt.Errorf("add %q to the image: %q is not a directory", name, parent)
		}
	}
	t.entries[name] = e
	return nil
}

// paths lists the tree in the order of the archive: a directory comes before what is in it.
func (t *tree) paths() []string { return slices.Sorted(maps.Keys(t.entries)) }

// writeCPIO writes the tree as a cpio archive in the "newc" form that the kernel unpacks into its root file system.
func (t *tree) writeCPIO(w io.Writer) error {
	out := &cpioWriter{w: bufio.NewWriterSize(w, 1<<20)}
	for i, name := range t.paths() {
		e := t.entries[name]
		links := 1
		if e.mode&0o170000 == typeDir {
			links = 2
		}
		out.entry(name, e.mode, i+1, links, e.data)
	}
	out.entry("TRAILER!!!", 0, 0, 1, nil)
	if out.err != nil {
		return fmt.Errorf("write initrd: %w", out.err)
	}
	return out.w.Flush()
}

type cpioWriter struct {
	w   *bufio.Writer
	n   int
	err error
}

func (c *cpioWriter) entry(name string, mode uint32, inode, links int, data []byte) {
	// magic, ino, mode, uid, gid, nlink, mtime, size, device (2), rdevice (2), size of the name with its NUL, checksum
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0))
	c.write(append([]byte(name), 0))
	c.pad()
	c.write(data)
	c.pad()
}

func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(p)
	c.n += n
}

func (c *cpioWriter) pad() { c.write(make([]byte, -c.n&3)) }
