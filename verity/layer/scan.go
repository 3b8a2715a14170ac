package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// scanner reads the headers of a tar, refuses what no layer may have, and keeps the tree that it describes.
type scanner struct {
	format  Format
	links   HardLinks
	limits  Limits
	data    io.ReaderAt // where the tar's bytes can be read again; nil keeps no content
	sparse  *spool      // content of sparse files, expanded; nil when data is
	root    *node
	entries int
	size    int64 // of all files
	inline  int64 // what go-erofs makes in memory
	visit   func(*tar.Header, io.Reader) error
}

func newScanner(o Options) *scanner {
	return &scanner{format: o.Format, links: o.HardLinks, limits: o.Limits, root: newDirectory(), visit: o.Visit}
}

// tarStream is a tar that says how far it was read.
type tarStream interface {
	io.ReadSeeker
	position() int64
}

// scan reads the tar to its end marker.
func (s *scanner) scan(in tarStream) error {
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		switch {
		case err == io.EOF && s.entries == 0 && in.position() == 0:
			return errors.New("read layer: it is empty")
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read tar: after entry %d, near byte %d: %w", s.entries, in.position(), err)
		}
		if s.entries++; s.entries > s.limits.Entries {
			return fmt.Errorf("layer has more than %d entries, the limit", s.limits.Entries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // comments of whoever made the archive; no attribute of a file comes from it
		}
		if err := s.entry(h, in.position(), tr); err != nil {
			return err
		}
		if s.visit == nil {
			continue
		}
		if err := s.visit(h, tr); err != nil {
			return err
		}
	}
}

func (s *scanner) entry(h *tar.Header, at int64, content io.Reader) error {
	refuse := func(format string, args ...any) error { return &EntryError{h.Name, fmt.Sprintf(format, args...)} }
	parts, err := splitPath(h.Name)
	if err != nil {
		return refuse("%v", err)
	}
	if h.Typeflag == tar.TypeReg && strings.HasSuffix(h.Name, "/") {
		return refuse("a regular file whose name ends in a slash")
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return refuse("the root of a layer is a directory")
		}
		return s.attributes(s.root, h)
	}
	parent, err := s.parent(parts[:len(parts)-1])
	if err != nil {
		return refuse("%v", err)
	}
	name := parts[len(parts)-1]
	if hidden, ok := strings.CutPrefix(name, whiteoutPrefix); ok {
		if err := s.whiteout(parent, hidden, len(parts) == 1); err != nil {
			return refuse("%v", err)
		}
		return nil
	}
	n, err := s.node(h, at, content)
	if err != nil {
		return err
	}
	if err := s.place(parent, name, n); err != nil {
		return refuse("%v", err)
	}
	return nil
}

const (
	maxPath = 4095 // of Linux, without its NUL
	maxName = 255

	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..opq" // after the prefix
	opaqueXattr    = "trusted.overlay.opaque"
)

// splitPath returns a path's components. A leading slash and "." mean nothing, as in other readers of layers; ".." is refused
// even where it would stay inside: no tool that makes layers writes it.
func splitPath(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("path of %d bytes, longer than %d", len(name), maxPath)
	}
	if strings.ContainsRune(name, 0) {
		return nil, errors.New("path with a NUL byte")
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, errors.New("path with a .. in it")
		case len(part) > maxName:
			return nil, fmt.Errorf("name of %d bytes, longer than %d", len(part), maxName)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// parent finds the directory of an entry, and makes those that the tar only implies. It never goes through a symlink.
func (s *scanner) parent(parts []string) (*node, error) {
	dir := s.root
	for i, part := range parts {
		if strings.HasPrefix(part, whiteoutPrefix) {
			return nil, fmt.Errorf("it lies below %s, which is a whiteout", quote(strings.Join(parts[:i+1], "/")))
		}
		child := dir.children[part]
		switch {
		case child == nil || child.kind == whiteout:
			made := newDirectory()
			if err := s.charge(part); err != nil {
				return nil, err
			}
			if err := s.place(dir, part, made); err != nil {
				return nil, err
			}
			child = dir.children[part]
		case child.kind == symlink:
			return nil, fmt.Errorf("it lies below %s, which is a symbolic link in this layer", quote(strings.Join(parts[:i+1], "/")))
		case child.kind != directory:
			return nil, fmt.Errorf("it lies below %s, which is not a directory in this layer", quote(strings.Join(parts[:i+1], "/")))
		}
		dir = child
	}
	return dir, nil
}

// whiteout takes the name of an entry without its prefix.
func (s *scanner) whiteout(parent *node, name string, atRoot bool) error {
	switch {
	case ".wh."+name == whiteoutPrefix+opaqueMarker:
		if atRoot && s.format == EROFS {
			return errors.New("overlayfs cannot make the root of a layer opaque")
		}
		parent.opaque = true
		return nil
	case strings.HasPrefix(name, whiteoutPrefix):
		return errors.New("metadata of AUFS, which no format for layers has")
	case name == "" || name == "." || name == "..":
		return errors.New("whiteout of nothing")
	}
	there := parent.children[name]
	switch {
	case there == nil:
		if err := s.charge(name); err != nil {
			return err
		}
		parent.put(name, &node{kind: whiteout})
	case there.kind == whiteout:
	case s.format == Ext4:
		return fmt.Errorf("whiteout of %s, which this layer holds as well", quote(name))
	case there.kind == directory:
		there.opaque = true // what lower layers have is gone, what this one has stays
	}
	return nil
}

// place puts an entry into its directory. Of several with one name the last counts, as when a tar is unpacked; directories are
// merged.
func (s *scanner) place(parent *node, name string, n *node) error {
	there := parent.children[name]
	switch {
	case there == nil:
	case there.kind == directory && n.kind == directory:
		there.mode, there.uid, there.gid, there.seconds, there.nanos, there.xattrs = n.mode, n.uid, n.gid, n.seconds, n.nanos, n.xattrs
		return nil
	case there.kind == whiteout && n.kind == directory:
		if s.format == Ext4 {
			return fmt.Errorf("a directory in the place of the whiteout of %s", quote(name))
		}
		n.opaque = true
	case s.format == Ext4 && there.linked:
		return fmt.Errorf("another entry for %s, which has a hard link", quote(name))
	}
	parent.put(name, n)
	return nil
}

// charge counts what a name costs in memory.
func (s *scanner) charge(name string) error {
	const inode, dirent = 64, 12
	return s.addInline(inode + dirent + int64(len(name)))
}

func (s *scanner) addInline(n int64) error {
	if s.inline += n; s.format == EROFS && s.inline > s.limits.Inline {
		return fmt.Errorf("inodes, names and small files of the layer take more than %d bytes, the limit of an EROFS image", s.limits.Inline)
	}
	return nil
}

func (s *scanner) addSize(n int64) error {
	if n < 0 || n > s.limits.Size-s.size {
		return fmt.Errorf("size of %d bytes: the layer's files are larger than %d bytes together, the limit", n, s.limits.Size)
	}
	s.size += n
	return nil
}
