package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// dataLink is kubelet's name for the link through which a volume's files are read; a refresh moves it to a new directory.
const dataLink = "..data"

// Copy does one CopyFile request: a directory, a link, or one chunk of a file.
func (a *Area) Copy(req *api.CopyFileRequest) error {
	parts, err := split(req.GetPath())
	if err != nil {
		return err
	}
	if req.GetUid() < 0 || req.GetGid() < 0 {
		return invalid("copy file %s: got owner %d:%d, want no negative id", quote(req.GetPath()), req.GetUid(), req.GetGid())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch req.GetFileMode() & unix.S_IFMT {
	case unix.S_IFREG, 0: // a mode without a type is a file's, as for Kata's agent
		err = a.copyFile(parts, req)
	case unix.S_IFDIR:
		err = a.copyDir(parts, req)
	case unix.S_IFLNK:
		err = a.copyLink(parts, req)
	default:
		err = invalid("got file type %#o, want a file, a directory or a link", req.GetFileMode()&unix.S_IFMT)
	}
	if err != nil {
		return fmt.Errorf("copy file %s: %w", quote(req.GetPath()), err)
	}
	return nil
}

// fileMode and dirMode bound what the host asks for: owner may always read and write, nobody else writes, files are not
// executable, and the setuid, setgid and sticky bits do not exist.
func fileMode(mode uint32) fs.FileMode { return fs.FileMode(mode)&0o644 | 0o600 }
func dirMode(mode uint32) fs.FileMode  { return fs.FileMode(mode)&0o755 | 0o700 }

func (a *Area) copyDir(parts []string, req *api.CopyFileRequest) error {
	last := len(parts) - 1
	parent, err := a.walk(parts[:last], dirMode(req.GetDirMode()))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := a.ensureDir(parent, path.Join(parts...), parts[last], dirMode(req.GetFileMode())); err != nil {
		return err
	}
	dir, err := descend(parent, parts[last])
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Chown(".", int(req.GetUid()), int(req.GetGid())); err != nil {
		return err
	}
	return dir.Chmod(".", dirMode(req.GetFileMode()))
}

func (a *Area) copyLink(parts []string, req *api.CopyFileRequest) error {
	target := string(req.GetData())
	if err := checkTarget(parts, target); err != nil {
		return err
	}
	at, last := path.Join(parts...), len(parts)-1
	old, exists := a.entries[at]
	if exists && old.kind == kindDir {
		return invalid("got a link, want a directory as before")
	}
	parent, err := a.walk(parts[:last], dirMode(req.GetDirMode()))
	if err != nil {
		return err
	}
	defer parent.Close()
	// After the directories, which take their share. A refresh needs room for the new link while the old one is there; it
	// is the same entry afterwards.
	if err := a.reserve(1, charge(int64(len(target)))); err != nil {
		return err
	}
	name := a.nextPart()
	if err := a.parts.Symlink(target, name); err != nil {
		return err
	}
	err = a.parts.Lchown(name, int(req.GetUid()), int(req.GetGid()))
	if err == nil {
		err = a.publish(name, parent, parts[last])
	}
	if err != nil {
		return errors.Join(err, a.parts.Remove(name))
	}
	a.settle(at, entry{kind: kindLink, bytes: charge(int64(len(target))), target: target})
	if parts[last] == dataLink && exists && old.kind == kindLink && old.target != target {
		return a.retire(parent, path.Dir(at), old.target)
	}
	return nil
}

// retire removes the directory that ..data pointed to before, as kubelet does after a refresh: its new content never
// comes through CopyFile again, and refreshes for the life of a pod would fill the area.
func (a *Area) retire(parent *os.Root, dir, target string) error {
	if !strings.HasPrefix(target, "..") || !isComponent(target) {
		return nil
	}
	return a.removeTree(parent, target, path.Join(dir, target))
}

func (a *Area) copyFile(parts []string, req *api.CopyFileRequest) error {
	at, last := path.Join(parts...), len(parts)-1
	size, offset, data := req.GetFileSize(), req.GetOffset(), req.GetData()
	// Written so that nothing can wrap: all three are known to be in range before they are subtracted.
	if size < 0 || size > a.maxBytes {
		return invalid("got size %d, want 0 to %d", size, a.maxBytes)
	}
	if offset < 0 || offset > size || int64(len(data)) > size-offset {
		return invalid("got %d bytes at offset %d, want them inside %d", len(data), offset, size)
	}
	if size > 0 && len(data) == 0 {
		return nil // kata-agent-ctl announces a file's size and sends no byte of it; that is no error and no file
	}
	if a.entries[at].kind == kindDir {
		return invalid("got a file, want a directory as before")
	}
	p, err := a.begin(at, size, offset)
	if err != nil {
		return err
	}
	if err := a.writeChunk(p, offset, data); err != nil {
		a.drop(at)
		return err
	}
	if p.have < p.size {
		return nil
	}
	if err := a.finish(parts[:last], parts[last], at, p, req); err != nil {
		a.drop(at)
		return err
	}
	return nil
}

// begin finds or starts the copy that a chunk belongs to. A chunk at offset 0 starts anew; any other must join what is
// there, so that a file is complete exactly when its last byte is: no holes.
func (a *Area) begin(at string, size, offset int64) (*pending, error) {
	if offset == 0 {
		a.drop(at)
		if err := a.reserve(1, charge(size)); err != nil {
			return nil, err
		}
		p := &pending{name: a.nextPart(), size: size}
		a.pending[at] = p
		a.bytes += charge(size)
		return p, nil
	}
	p, ok := a.pending[at]
	if !ok || p.size != size || offset > p.have {
		have := int64(0)
		if ok {
			have = p.have
		}
		return nil, invalid("got offset %d of %d, want a chunk that joins the %d bytes before it", offset, size, have)
	}
	return p, nil
}

func (a *Area) nextPart() string {
	a.serial++
	return strconv.FormatUint(a.serial, 10)
}

func (a *Area) writeChunk(p *pending, offset int64, data []byte) error {
	flags := os.O_WRONLY
	if offset == 0 {
		flags |= os.O_CREATE | os.O_EXCL
	}
	file, err := a.parts.OpenFile(p.name, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, offset)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	p.have = max(p.have, offset+int64(len(data)))
	return nil
}

// finish gives a complete file its owner and mode and moves it to its place.
func (a *Area) finish(dirs []string, name, at string, p *pending, req *api.CopyFileRequest) error {
	if err := a.parts.Chown(p.name, int(req.GetUid()), int(req.GetGid())); err != nil {
		return err
	}
	// After chown, which clears bits of a mode.
	if err := a.parts.Chmod(p.name, fileMode(req.GetFileMode())); err != nil {
		return err
	}
	parent, err := a.walk(dirs, dirMode(req.GetDirMode()))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := a.publish(p.name, parent, name); err != nil {
		return err
	}
	delete(a.pending, at)
	a.bytes -= charge(p.size)
	a.settle(at, entry{kind: kindFile, bytes: charge(p.size)})
	return nil
}

// settle records what is now at a place, instead of what was.
func (a *Area) settle(at string, e entry) {
	a.forget(at)
	a.entries[at] = e
	a.bytes += e.bytes
}

// publish renames a part into place. rename replaces a link and never follows it, and a reader sees the old content or
// the new, nothing between.
func (a *Area) publish(part string, parent *os.Root, name string) error {
	from, err := a.parts.Open(".")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer to.Close()
	if err := unix.Renameat(int(from.Fd()), part, int(to.Fd()), name); err != nil {
		return &os.LinkError{Op: "rename", Old: part, New: name, Err: err}
	}
	return nil
}
