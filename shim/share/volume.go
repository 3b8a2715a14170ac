package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/staging"
)

// dataLink is kubelet's link to the directory that holds a volume's files; the names in the volume lead through it.
const dataLink = "..data"

// maxPathDepth is the deepest path below a volume that the guest takes.
const maxPathDepth = 15

// volume is one mount's files in the guest.
type volume struct {
	set       *Set
	container string
	mount     specs.Mount
	path      string // the guest's
	used      usage  // guarded by set.mu

	mu   sync.Mutex // held while the files are brought
	sent map[string]entry
}

// entry is a file, directory or link of a volume as it was read.
type entry struct {
	at   string // below the volume; "" is itself
	mode fs.FileMode
	stat unix.Stat_t
	link string
	file *os.File // opened while the volume was read; nil when there were too many
}

// maxOpen is how many files of a volume are opened before the first is sent. Kubelet removes what it replaced, and an open file stays: the guest gets one version
// whole, and no half of one that is then left there.
const maxOpen = 256

// same says whether nothing has to be sent again. A file that is replaced has another inode or another time.
func (e entry) same(o entry) bool {
	if e.mode != o.mode || e.link != o.link || e.stat.Uid != o.stat.Uid || e.stat.Gid != o.stat.Gid {
		return false
	}
	return !e.mode.IsRegular() || e.stat.Ino == o.stat.Ino && e.stat.Size == o.stat.Size && e.stat.Mtim == o.stat.Mtim
}

func (v *volume) error(err error) error {
	return fmt.Errorf("copy the files of the mount at %q of container %q in pod %q: %w", v.mount.Destination, v.container, v.set.sandbox, err)
}

// bring copies what is new, in an order in which a reader in the guest sees the old files or the new ones: directories and files, the names that lead to them, and the
// link that swaps them last.
func (v *volume) bring(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	isDir, err := v.isDir()
	if err != nil {
		return err
	}
	if !isDir {
		return v.bringFile(ctx)
	}
	if v.sent == nil {
		// Before the first look, so that no change is missed.
		if err := v.set.observe(v, v.mount.Source); err != nil {
			if errors.Is(err, ErrClosed) {
				return err
			}
			v.set.failed(v.container, v.mount.Destination, v.error(fmt.Errorf("changes will not be seen: %w", err)))
		}
	}
	// Kubelet may replace the files while they are read. What it replaced them by is there at once.
	for range attempts {
		err = v.bringDir(ctx)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errChanged) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// isDir says whether the mount is of a directory.
func (v *volume) isDir() (bool, error) {
	f, err := openSource(v.mount.Source, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	return err == nil && st.IsDir(), err
}

// openSource opens what a mount names, and follows no link on the way there. Containerd has resolved the path: a link that is in it now was put there since.
func openSource(source string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, source, &unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("the path %q leads through a link", source)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: source, Err: err}
	}
	return os.NewFile(uintptr(fd), source), nil
}

// attempts is how often a directory is read anew when it changes under the reader.
const attempts = 5

func (v *volume) bringDir(ctx context.Context) error {
	dir, err := openSource(v.mount.Source, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	list, err := read(root)
	defer func() {
		for _, e := range list {
			if e.file != nil {
				e.file.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	return v.send(ctx, root, list)
}

// send sends what is new of a list.
func (v *volume) send(ctx context.Context, root *os.Root, list []entry) error {
	var all, added usage
	now := map[string]entry{}
	var changed []entry
	for _, e := range list {
		size := usage{1, charge(e.size())}
		all = all.plus(size)
		kept := e
		kept.file = nil
		now[e.at] = kept
		if old, ok := v.sent[e.at]; !ok || !old.same(e) {
			changed = append(changed, e)
			added = added.plus(size)
		}
	}
	if err := v.set.reserve(v, added); err != nil {
		return err
	}
	for _, e := range changed {
		if err := v.sendEntry(ctx, root, e); err != nil {
			return err
		}
	}
	v.sent = now
	v.set.settle(v, all)
	return nil
}

func (e entry) size() int64 {
	switch {
	case e.mode.IsDir():
		return 0
	case e.mode&fs.ModeSymlink != 0:
		return int64(len(e.link))
	}
	return e.stat.Size
}

// read lists a volume in the order in which it is sent. Of a volume that kubelet writes, only the directory that is in use now is listed. The caller closes the files
// of the list, also when there is an error.
func read(root *os.Root) (list []entry, err error) {
	data, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	atomic := err == nil
	if atomic && (!strings.HasPrefix(data, "..") || strings.ContainsRune(data, '/') || data == "..") {
		return nil, fmt.Errorf("the link %s leads to %.64q, want a directory beside it", dataLink, data)
	}
	var files, links []entry
	var swap *entry
	err = fs.WalkDir(root.FS(), ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		top, _, _ := strings.Cut(at, "/")
		if atomic && strings.HasPrefix(top, "..") && top != dataLink && top != data {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := look(root, at)
		if err == nil && e.mode.IsRegular() && len(files) < maxOpen {
			e.file, err = open(root, at)
		}
		switch {
		case err != nil:
			return err
		case at == dataLink:
			swap = &e
		case e.mode&fs.ModeSymlink != 0:
			links = append(links, e)
		default:
			files = append(files, e)
		}
		if len(files)+len(links) > staging.MaxEntries || strings.Count(at, "/") >= maxPathDepth {
			return fmt.Errorf("it has more than %d files, or directories deeper than %d", staging.MaxEntries, maxPathDepth)
		}
		return nil
	})
	list = append(files, links...)
	if err != nil {
		return list, err
	}
	if !atomic {
		return list, nil
	}
	// Kubelet moves the link before it removes a file of what it replaced: when the link has not moved, nothing was missing.
	if swap == nil || swap.link != data {
		return list, errChanged
	}
	if now, err := root.Readlink(dataLink); err != nil || now != data {
		return list, errors.Join(errChanged, err)
	}
	return append(list, *swap), nil
}

// look reads what is at a place, without following a link.
func look(root *os.Root, at string) (entry, error) {
	e := entry{at: at}
	info, err := root.Lstat(at)
	if err != nil {
		return e, err
	}
	if at == "." {
		e.at = ""
	}
	e.mode = info.Mode()
	if err := e.fill(info); err != nil {
		return e, err
	}
	switch {
	case e.mode.IsDir(), e.mode.IsRegular():
	case e.mode&fs.ModeSymlink != 0:
		if e.link, err = root.Readlink(at); err != nil {
			return e, err
		}
	default:
		return e, fmt.Errorf("%q is %s, want files, directories and links", path.Base(at), e.mode.Type())
	}
	return e, nil
}

// open opens a file without following a link; what is no file does not block.
func open(root *os.Root, at string) (*os.File, error) {
	return root.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
