package layer

import (
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

// formatDir separates disks by how they were made. It changes whenever the converter's output does, so that an upgrade never
// serves an old root from the cache.
const formatDir = "ext4-1"

// Cache keeps converted layers by diff id. Several processes may use one directory. Its files are trusted like the program
// itself: the directory must not be writable for others.
type Cache struct {
	Dir string
	// Recheck hashes every disk again on each hit instead of reading its root only. An altered disk can never run (the
	// guest's kernel sees to that); this tells of it earlier.
	Recheck bool
}

// Get returns the disk of a layer and its root hash. When it is not there yet, open is called for the layer's bytes, plain or
// compressed; they are taken only if they hash to diffID ("sha256:" and 64 hex digits). The file appears under its name only
// when it is whole.
func (c Cache) Get(ctx context.Context, diffID string, open func() (io.ReadCloser, error)) (string, verity.Hash, error) {
	digest, ok := strings.CutPrefix(diffID, "sha256:")
	if _, err := verity.ParseHash(digest); !ok || err != nil {
		return "", verity.Hash{}, fmt.Errorf("layer cache: diff id %.80q: want sha256: and 64 lower-case hex digits", diffID)
	}
	dir := filepath.Join(c.Dir, formatDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", verity.Hash{}, fmt.Errorf("layer cache: %w", err)
	}
	path := filepath.Join(dir, digest+".disk")
	if root, err := c.lookup(ctx, path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, root, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, digest+".lock"))
	if err != nil {
		return "", verity.Hash{}, err
	}
	defer unlock()
	if root, err := c.lookup(ctx, path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, root, err // another process made it while we waited
	}
	root, err := fill(ctx, dir, path, diffID, open)
	if err != nil {
		return "", verity.Hash{}, fmt.Errorf("layer cache: %w", err)
	}
	return path, root, nil
}

// lookup returns the root of a cached disk, or fs.ErrNotExist when there is none. A damaged one counts as none: it is made
// again and replaced by the rename, under the lock, so that nobody else's fresh file is ever removed.
func (c Cache) lookup(ctx context.Context, path string) (verity.Hash, error) {
	img, err := InspectFile(ctx, path, c.Recheck)
	switch {
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

func fill(ctx context.Context, dir, path, diffID string, open func() (io.ReadCloser, error)) (root verity.Hash, err error) {
	in, err := open()
	if err != nil {
		return verity.Hash{}, err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return verity.Hash{}, err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	res, err := Convert(ctx, in, tmp, Options{DiffID: diffID})
	if err != nil {
		return verity.Hash{}, err
	}
	// Without the sync a crash could leave a file of the right name and length with holes in it.
	if err := tmp.Sync(); err != nil {
		return verity.Hash{}, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return verity.Hash{}, err
	}
	return res.RootHash, nil
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
