package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

const (
	modeBits = 0o7777
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1

	xattrRecord   = "SCHILY.xattr."
	sparseRecord  = "GNU.sparse."
	maxXattrValue = 65535
	// inlineFile is the longest content that go-erofs may put beside the inode, which it does in memory.
	inlineFile = 4096
)

// node makes the node of an entry that is not a whiteout.
func (s *scanner) node(h *tar.Header, at int64, content io.Reader) (*node, error) {
	refuse := func(err error) (*node, error) { return nil, &EntryError{h.Name, err.Error()} }
	if h.Typeflag == tar.TypeLink {
		n, err := s.hardLink(h.Linkname)
		if err == nil {
			err = s.charge(h.Name)
		}
		if err != nil {
			return refuse(err)
		}
		return n, nil
	}
	k, ok := kinds[h.Typeflag]
	if !ok {
		return refuse(fmt.Errorf("type %q is none that a layer may have", h.Typeflag))
	}
	n := &node{kind: k}
	if err := s.attributes(n, h); err != nil {
		return nil, err
	}
	var err error
	switch k {
	case regular:
		err = s.content(n, h, at, content)
	case symlink:
		err = n.setTarget(h.Linkname)
	case charDevice, blockDevice:
		err = n.setDevice(h.Devmajor, h.Devminor)
	}
	if err == nil {
		err = s.charge(h.Name)
	}
	if err != nil {
		return refuse(err)
	}
	return n, nil
}

// attributes takes mode, owner, times and extended attributes of an entry.
func (s *scanner) attributes(n *node, h *tar.Header) error {
	refuse := func(format string, args ...any) error { return &EntryError{h.Name, fmt.Sprintf(format, args...)} }
	for what, id := range map[string]int{"user": h.Uid, "group": h.Gid} {
		if id < 0 || int64(id) >= math.MaxUint32 { // the last is "no change" to the kernel
			return refuse("%s id %d, want 0 to %d", what, id, uint32(math.MaxUint32)-1)
		}
	}
	if h.Mode < 0 {
		return refuse("mode %d", h.Mode)
	}
	n.mode = uint16(h.Mode & modeBits)
	n.uid, n.gid = uint32(h.Uid), uint32(h.Gid)
	n.seconds, n.nanos = h.ModTime.Unix(), uint32(h.ModTime.Nanosecond())
	n.xattrs = nil
	for _, record := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		if err := s.xattr(n, name, h.PAXRecords[record]); err != nil {
			return refuse("%v", err)
		}
	}
	return nil
}

// namespaces are the extended attributes that an EROFS image can hold as go-erofs writes them, and the kernel reads back.
var namespaces = []string{"user.", "trusted.", "security."}

// overlayRedirects are attributes by which a layer would have overlayfs take a file's name or content from elsewhere.
var overlayRedirects = []string{"trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.redirect", "user.overlay.metacopy"}

func (s *scanner) xattr(n *node, name, value string) error {
	if slices.Contains(overlayRedirects, name) {
		return fmt.Errorf("extended attribute %s is overlayfs's own", quote(name))
	}
	if s.format == Ext4 {
		return nil // the converter judges them
	}
	space := ""
	for _, prefix := range namespaces {
		if strings.HasPrefix(name, prefix) && len(name) > len(prefix) {
			space = prefix
		}
	}
	switch {
	case space == "":
		return fmt.Errorf("EROFS cannot hold the extended attribute %s: want one of user, trusted or security", quote(name))
	case len(name) > maxName:
		return fmt.Errorf("extended attribute with a name of %d bytes, longer than %d", len(name), maxName)
	case len(value) > maxXattrValue:
		return fmt.Errorf("extended attribute %s with %d bytes, more than %d", quote(name), len(value), maxXattrValue)
	}
	if n.xattrs == nil {
		n.xattrs = map[string]string{}
	}
	n.xattrs[name] = value
	if err := xattrsFit(n.xattrs); err != nil {
		return err
	}
	return s.addInline(int64(len(name) + len(value)))
}

// xattrsFit: an EROFS inode says in 16 bits how many words of 4 bytes its attributes take, after a header.
func xattrsFit(xattrs map[string]string) error {
	const header, most = 12, math.MaxUint16 - 1
	sum := len(opaqueXattr) + header
	for name, value := range xattrs {
		sum += len(name) + len(value) + 8
	}
	if sum/4 > most {
		return fmt.Errorf("extended attributes take %d bytes, more than %d", sum, most*4)
	}
	return nil
}

// content notes where a file's bytes are.
func (s *scanner) content(n *node, h *tar.Header, at int64, content io.Reader) error {
	if err := s.addSize(h.Size); err != nil {
		return err
	}
	n.size = h.Size
	if h.Size <= inlineFile {
		if err := s.addInline(h.Size); err != nil {
			return err
		}
	}
	if h.Size == 0 || s.data == nil {
		return nil
	}
	if !isSparse(h) {
		n.data = section{s.data, at}
		return nil
	}
	// The tar has the file's holes only in its headers: what lies there is not the content.
	off, err := s.sparse.copy(content, h.Size)
	n.data = section{s.sparse, off}
	return err
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, sparseRecord) {
			return true
		}
	}
	return false
}

// hardLink returns the node that a hard link's name stands for.
func (s *scanner) hardLink(target string) (*node, error) {
	if s.format == EROFS && s.links == RefuseHardLinks {
		return nil, fmt.Errorf("a hard link to %s, which an EROFS image has not: allow copies, or build ext4", quote(target))
	}
	parts, err := splitPath(target)
	if err != nil {
		return nil, fmt.Errorf("a hard link to %s: %w", quote(target), err)
	}
	n := s.root
	for _, part := range parts {
		child := n.children[part]
		if child == nil {
			return nil, fmt.Errorf("a hard link to %s, which is not there before it in this layer", quote(target))
		}
		n = child
	}
	switch n.kind {
	case directory:
		return nil, fmt.Errorf("a hard link to %s, which is a directory", quote(target))
	case whiteout:
		return nil, fmt.Errorf("a hard link to %s, which is a whiteout", quote(target))
	}
	if s.format == EROFS {
		if err := s.addSize(n.size); err != nil { // the content is there once a name
			return nil, err
		}
		if n.size <= inlineFile {
			if err := s.addInline(n.size); err != nil {
				return nil, err
			}
		}
	}
	n.linked = true
	return n, nil
}

// setTarget takes any target: a symlink is followed within the container's root when it is used, never while a layer is built.
func (n *node) setTarget(target string) error {
	switch {
	case target == "":
		return errors.New("a symbolic link to nothing")
	case len(target) > maxPath:
		return fmt.Errorf("a symbolic link with %d bytes, more than %d", len(target), maxPath)
	case strings.ContainsRune(target, 0):
		return errors.New("a symbolic link with a NUL byte")
	}
	n.link = target
	n.mode = 0o777 // whatever the tar says: no file system has another
	n.size = int64(len(target))
	return nil
}

// setDevice takes device nodes as they are, as OCI does: the guest mounts layers and overlays nodev, so that none can be opened
// by way of an image.
func (n *node) setDevice(major, minor int64) error {
	if major < 0 || major > maxMajor || minor < 0 || minor > maxMinor {
		return fmt.Errorf("device %d:%d, want at most %d:%d", major, minor, maxMajor, maxMinor)
	}
	n.device = uint32(minor&0xff | major<<8 | minor&^0xff<<12)
	return nil
}
