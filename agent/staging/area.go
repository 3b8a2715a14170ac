package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Limits of one sandbox's area.
const (
	MaxBytes   = 64 << 20
	MaxEntries = 10_000
)

// pageSize is what tmpfs takes for each begun piece of a file; counting it keeps our limit and the file system's equal.
const pageSize = 4096

// The two directories of an area: what containers are given, and what is not complete yet.
const (
	treeDir = "tree"
	partDir = "part"
)

// Area is the staging tree of one sandbox.
type Area struct {
	mu      sync.Mutex
	dir     string
	tree    *os.Root
	parts   *os.Root
	entries map[string]entry    // what is in the tree, by path
	pending map[string]*pending // what is being copied, by path
	bytes   int64               // of entries, and of pending as announced
	serial  uint64              // names the next file in parts; never reused

	maxBytes   int64
	maxEntries int
}

type kind int

const (
	kindFile kind = iota
	kindDir
	kindLink
)

// entry is one name in the tree.
type entry struct {
	kind   kind
	bytes  int64
	target string // of a link
}

// pending is a file of which bytes are missing.
type pending struct {
	name string // in parts
	size int64
	have int64 // bytes from the front that are there; there are no holes
}

// Mount puts a tmpfs of the area's size at dir: nothing on it runs, is setuid or is a device, whatever an entry says.
func Mount(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mount staging area: %w", err)
	}
	options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0700", int64(MaxBytes), MaxEntries+3) // 3: the root and its two directories
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount staging area at %q: %w", dir, err)
	}
	return nil
}

// New opens an empty area in dir, which must be a directory of the agent alone.
func New(dir string) (*Area, error) {
	a := &Area{
		dir:        dir,
		entries:    make(map[string]entry),
		pending:    make(map[string]*pending),
		maxBytes:   MaxBytes,
		maxEntries: MaxEntries,
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open staging area: %w", err)
	}
	defer root.Close()
	// Mkdir, not MkdirAll: an area that is not empty was not made by this agent.
	if err := errors.Join(root.Mkdir(treeDir, 0o711), root.Mkdir(partDir, 0o700)); err != nil {
		return nil, fmt.Errorf("open staging area: %w", err)
	}
	if a.tree, err = root.OpenRoot(treeDir); err != nil {
		return nil, fmt.Errorf("open staging area: %w", err)
	}
	if a.parts, err = root.OpenRoot(partDir); err != nil {
		a.tree.Close()
		return nil, fmt.Errorf("open staging area: %w", err)
	}
	return a, nil
}

// Close releases the area's descriptors; the files stay until the file system goes.
func (a *Area) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.tree.Close(), a.parts.Close())
}

// Resolve answers the path of a complete entry for a bind mount. The path holds no link and stays what it is: only
// CopyFile makes top entries, and it neither makes links of them nor changes a directory into a file.
func (a *Area) Resolve(source string) (string, error) {
	file, err := a.Open(source)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return file.Name(), nil
}

// Open is Resolve for a caller that mounts by descriptor: the entry opened with O_PATH, beneath the area.
func (a *Area) Open(source string) (*os.File, error) {
	name, err := ParseName(source)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := range a.pending {
		if at == name.Entry || strings.HasPrefix(at, name.Entry+"/") {
			return nil, fmt.Errorf("entry %q: %w", name.Entry, ErrIncomplete)
		}
	}
	if _, ok := a.entries[name.Entry]; !ok {
		return nil, fmt.Errorf("entry %q: %w", name.Entry, ErrNotFound)
	}
	top, err := a.tree.Open(".")
	if err != nil {
		return nil, fmt.Errorf("open entry %q: %w", name.Entry, err)
	}
	defer top.Close()
	fd, err := unix.Openat2(int(top.Fd()), name.Entry, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, fmt.Errorf("open entry %q: %w", name.Entry, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(a.dir, treeDir, name.Entry)), nil
}

// RemoveOwned removes every entry that was copied for one container or sandbox, so that containers that come and go do
// not fill the area.
func (a *Area) RemoveOwned(owner string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	tops := make(map[string]bool)
	collect := func(at string) {
		top, _, _ := strings.Cut(at, "/")
		if name, err := ParseName(top); err == nil && name.Owner == owner {
			tops[top] = true
		}
	}
	for at := range a.entries {
		collect(at)
	}
	for at := range a.pending {
		collect(at)
	}
	var errs []error
	for top := range tops {
		errs = append(errs, a.removeTree(a.tree, top, top))
	}
	return errors.Join(errs...)
}

// removeTree removes name in dir, which is at in the area, with all below it and all on its way there.
func (a *Area) removeTree(dir *os.Root, name, at string) error {
	if err := dir.RemoveAll(name); err != nil {
		return fmt.Errorf("remove entry %q: %w", at, err)
	}
	for p := range a.pending {
		if p == at || strings.HasPrefix(p, at+"/") {
			a.drop(p)
		}
	}
	for p := range a.entries {
		if p == at || strings.HasPrefix(p, at+"/") {
			a.forget(p)
		}
	}
	return nil
}

func (a *Area) forget(at string) {
	a.bytes -= a.entries[at].bytes
	delete(a.entries, at)
}

// drop gives up a copy that is not complete.
func (a *Area) drop(at string) {
	p, ok := a.pending[at]
	if !ok {
		return
	}
	delete(a.pending, at)
	a.bytes -= charge(p.size)
	_ = a.parts.Remove(p.name) // only this package knows the name; a failure costs the bytes, no more
}

// reserve refuses what would exceed the area's limits.
func (a *Area) reserve(entries int, bytes int64) error {
	if len(a.entries)+len(a.pending)+entries > a.maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, a.maxEntries)
	}
	if bytes > a.maxBytes-a.bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, a.maxBytes)
	}
	return nil
}

// charge is what a file of the size takes from the area.
func charge(size int64) int64 { return (size + pageSize - 1) / pageSize * pageSize }

// walk opens the directory at parts, making what is missing of it, without following a link.
func (a *Area) walk(parts []string, mode fs.FileMode) (*os.Root, error) {
	dir, err := a.tree.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	for i, part := range parts {
		if err := a.ensureDir(dir, path.Join(parts[:i+1]...), part, mode); err != nil {
			dir.Close()
			return nil, err
		}
		next, err := descend(dir, part)
		dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// ensureDir makes a directory unless the name exists; descend then finds out what it is.
func (a *Area) ensureDir(dir *os.Root, at, name string, mode fs.FileMode) error {
	if _, err := dir.Lstat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.reserve(1, 0); err != nil {
		return err
	}
	if err := dir.Mkdir(name, mode); err != nil {
		return fmt.Errorf("make directory %q: %w", at, err)
	}
	a.entries[at] = entry{kind: kindDir}
	// Mkdir's mode went through the umask.
	if err := dir.Chmod(name, mode); err != nil {
		return fmt.Errorf("make directory %q: %w", at, err)
	}
	return nil
}

// descend opens the directory called name in dir. os.Root follows links that stay inside; this does not: what was opened
// must be what was seen there, and that must be a directory. A container that swaps the name in between gets an error.
func descend(dir *os.Root, name string) (*os.Root, error) {
	seen, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, invalid("component %s: got %s, want a directory", quote(name), seen.Mode().Type())
	}
	return openSeen(dir, name, seen)
}

// openSeen opens name and insists that it is what was seen.
func openSeen(dir *os.Root, name string, seen fs.FileInfo) (*os.Root, error) {
	next, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := next.Stat(".")
	if err == nil && !os.SameFile(seen, opened) {
		err = invalid("component %s: changed while it was opened", quote(name))
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}
