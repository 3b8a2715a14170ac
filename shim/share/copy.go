package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/staging"
)

// chunk is how much of a file goes in one request, in bytes.
const chunk = 1 << 20

// dirMode is the mode of directories that lead to an entry.
const dirMode = 0o755

// fill takes the owner, size and times of a file.
func (e *entry) fill(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("stat %q: got %T", info.Name(), info.Sys())
	}
	e.stat = unix.Stat_t{
		Ino: st.Ino, Size: st.Size, Uid: st.Uid, Gid: st.Gid, Mode: st.Mode,
		Mtim: unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec},
	}
	return nil
}

func (v *volume) sendEntry(ctx context.Context, root *os.Root, e entry) error {
	r := v.request(e)
	switch {
	case e.mode.IsDir():
		return v.call(ctx, r)
	case e.mode&fs.ModeSymlink != 0:
		r.Data, r.FileSize = []byte(e.link), int64(len(e.link))
		return v.call(ctx, r)
	}
	if e.file != nil {
		return v.sendFile(ctx, e.file, r)
	}
	f, err := open(root, e.at)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.sendFile(ctx, f, r)
}

// request is what all requests for an entry have.
func (v *volume) request(e entry) *api.CopyFileRequest {
	kind := uint32(unix.S_IFREG)
	switch {
	case e.mode.IsDir():
		kind = unix.S_IFDIR
	case e.mode&fs.ModeSymlink != 0:
		kind = unix.S_IFLNK
	}
	return &api.CopyFileRequest{
		Path: path.Join(v.path, e.at), FileMode: kind | uint32(e.mode.Perm()), DirMode: dirMode, Uid: int32(e.stat.Uid), Gid: int32(e.stat.Gid),
	}
}

func (v *volume) call(ctx context.Context, r *api.CopyFileRequest) error {
	_, err := v.set.copier.CopyFile(ctx, r)
	return err
}

// errChanged says that a file was not the same from its first byte to its last.
var errChanged = errors.New("the file changed while it was read")

// sendFile sends a file in chunks; the agent shows it when the last one is there.
func (v *volume) sendFile(ctx context.Context, f *os.File, r *api.CopyFileRequest) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > staging.MaxBytes {
		return fmt.Errorf("%q: want a file of at most %d bytes", path.Base(f.Name()), int64(staging.MaxBytes))
	}
	r.FileSize = st.Size()
	buffer := make([]byte, min(chunk, st.Size()))
	for {
		n, err := io.ReadFull(f, buffer[:min(int64(len(buffer)), r.FileSize-r.Offset)])
		if err != nil {
			return fmt.Errorf("%q: %w", path.Base(f.Name()), errors.Join(errChanged, err))
		}
		r.Data = buffer[:n]
		if err := v.call(ctx, r); err != nil {
			return err
		}
		if r.Offset += int64(n); r.Offset == r.FileSize {
			return nil
		}
	}
}

// bringFile copies a mount that is one file: it is not watched, for Kubernetes does not refresh those either.
func (v *volume) bringFile(ctx context.Context) error {
	f, err := openSource(v.mount.Source, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e := entry{mode: info.Mode()}
	if err := e.fill(info); err != nil {
		return err
	}
	if !e.mode.IsRegular() {
		return fmt.Errorf("%q is %s, want a file or a directory", v.mount.Source, e.mode.Type())
	}
	size := usage{1, charge(e.stat.Size)}
	if err := v.set.reserve(v, size); err != nil {
		return err
	}
	if v.mount.Destination == hostsFile {
		err = v.sendHosts(ctx, f, v.request(e))
	} else {
		err = v.sendFile(ctx, f, v.request(e))
	}
	if err == nil {
		v.set.settle(v, size)
	}
	return err
}
