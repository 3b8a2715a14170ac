package layer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
)

// Cache keeps converted layers by diff id and format. Several processes may use one directory. Its files are trusted like the
// program itself: the directory must not be writable for others.
type Cache struct {
	Dir string
	// Format is the disks' file system; "" means Ext4. Formats may share a directory.
	Format Format
	// HardLinks is what EROFS does with them; "" means CopyHardLinks.
	HardLinks HardLinks
	// Containerd lays the directory out for containerd's EROFS snapshotter instead (see [ContainerdPath]); Format must be EROFS.
	Containerd bool
	// Recheck hashes every disk again on each hit instead of reading its root only. An altered disk can never run (the
	// guest's kernel sees to that); this tells of it earlier.
	Recheck bool
}

// place is where a layer's files are.
type place struct{ disk, lock string }

func (c Cache) place(diffID string) (place, error) {
	digest, ok := strings.CutPrefix(diffID, "sha256:")
	if _, err := verity.ParseHash(digest); !ok || err != nil {
		return place{}, fmt.Errorf("layer cache: diff id %.80q: want sha256: and 64 lower-case hex digits", diffID)
	}
	version := FormatVersion(c.Format)
	switch {
	case version == "":
		return place{}, fmt.Errorf("layer cache: format %.40q is none", string(c.Format))
	case !c.Containerd:
		base := filepath.Join(c.Dir, version, digest)
		return place{base + ".disk", base + ".lock"}, nil
	case c.Format != EROFS:
		return place{}, fmt.Errorf("layer cache: format %s: containerd's layout is for %s", cmp.Or(c.Format, Ext4), EROFS)
	}
	return place{ContainerdPath(c.Dir, digest), filepath.Join(c.Dir, ".locks", digest)}, nil
}

// Get returns the disk of a layer and its root hash. When it is not there yet, open is called for the layer's bytes, plain or
// compressed; they are taken only if they hash to diffID ("sha256:" and 64 hex digits). The file appears under its name only
// when it is whole.
func (c Cache) Get(ctx context.Context, diffID string, open func() (io.ReadCloser, error)) (string, verity.Hash, error) {
	at, err := c.place(diffID)
	if err != nil {
		return "", verity.Hash{}, err
	}
	mode := fs.FileMode(0o700)
	if c.Containerd {
		mode = 0o755 // another program reads it
	}
	for _, dir := range []string{filepath.Dir(at.disk), filepath.Dir(at.lock)} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return "", verity.Hash{}, fmt.Errorf("layer cache: %w", err)
		}
	}
	if root, err := c.lookup(ctx, at.disk); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return at.disk, root, err
	}
	unlock, err := lock(ctx, at.lock)
	if err != nil {
		return "", verity.Hash{}, err
	}
	defer unlock()
	if root, err := c.lookup(ctx, at.disk); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return at.disk, root, err // another process made it while we waited
	}
	root, err := c.fill(ctx, at.disk, diffID, open)
	if err != nil {
		return "", verity.Hash{}, fmt.Errorf("layer cache: %w", err)
	}
	return at.disk, root, nil
}

// lookup returns the root of a cached disk, or fs.ErrNotExist when there is none. A damaged one counts as none: it is made
// again and replaced by the rename, under the lock, so that nobody else's fresh file is ever removed.
func (c Cache) lookup(ctx context.Context, path string) (verity.Hash, error) {
	img, err := InspectFile(ctx, path, c.Recheck)
	if err == nil && c.Containerd {
		err = checkSidecar(path, img)
	}
	switch {
	case err == nil && img.FS != cmp.Or(c.Format, Ext4):
		return verity.Hash{}, fs.ErrNotExist
	case err == nil:
		return img.Root, nil
	case errors.Is(err, verity.ErrFormat) || errors.Is(err, verity.ErrChanged):
		return verity.Hash{}, fs.ErrNotExist
	}
	return verity.Hash{}, err
}

// InspectFile inspects a disk file; with full set, every block is checked against the tree too.
func InspectFile(ctx context.Context, path string, full bool) (*verity.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // also right for a block device, where Stat has no size
	if err != nil {
		return nil, err
	}
	img, err := verity.Inspect(f, size, verity.InspectOptions{})
	if err == nil && full {
		err = verity.Verify(ctx, f, img)
	}
	if err != nil {
		return nil, err
	}
	return img, nil
}

func (c Cache) fill(ctx context.Context, path, diffID string, open func() (io.ReadCloser, error)) (root verity.Hash, err error) {
	in, err := open()
	if err != nil {
		return verity.Hash{}, err
	}
	defer in.Close()
	var res Result
	err = atomically(path, func(f *os.File) error {
		res, err = Convert(ctx, in, f, Options{DiffID: diffID, Format: c.Format, HardLinks: c.HardLinks})
		if err != nil || !c.Containerd {
			return err
		}
		if err := f.Chmod(0o644); err != nil {
			return err
		}
		return writeSidecar(path, res) // first: a blob without it would be mounted without dm-verity
	})
	return res.RootHash, err
}

// atomically writes a file that appears under its name when it is whole.
func atomically(path string, write func(*os.File) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if err := write(tmp); err != nil {
		return err
	}
	// Without the sync a crash could leave a file of the right name and length with holes in it.
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// lock takes an exclusive file lock. flock(2) cannot be interrupted by a context, so it waits in a goroutine that gives the
// lock back when nobody wants it any more.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("layer cache: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- flock(f) }()
	select {
	case err := <-done:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("layer cache: lock %q: %w", path, err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() { <-done; f.Close() }()
		return nil, fmt.Errorf("layer cache: wait for the lock of %q: %w", path, ctx.Err())
	}
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			return err
		}
	}
}
