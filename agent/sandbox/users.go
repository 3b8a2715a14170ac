package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
)

// users are the names of a process's user and groups in its own root file system.
type users struct {
	user   enforcer.User
	groups []enforcer.User
}

// maxUserFile bounds /etc/passwd and /etc/group, in bytes (docs/architecture.md).
const maxUserFile = 1 << 20

// lookUpUsers names the user and the groups of a process as the container's own files do. The files come from layers the
// policy approved, but their content is still data: only regular files are read, links are resolved inside the root file
// system, and nothing is read beyond the bound.
func lookUpUsers(rootfs string, p *container.ProcessRequest) (*users, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root file system: %w", err)
	}
	defer unix.Close(root)
	passwd, err := readUserFile(root, "etc/passwd")
	if err != nil {
		return nil, err
	}
	group, err := readUserFile(root, "etc/group")
	if err != nil {
		return nil, err
	}
	out := &users{user: enforcer.User{ID: decimal(p.UID), Name: nameOf(passwd, p.UID)}}
	if p.Username != "" && p.Username != out.user.Name {
		return nil, invalid("Process.User.Username: is not the name of the user id in the container")
	}
	out.groups = append(out.groups, enforcer.User{ID: decimal(p.GID), Name: nameOf(group, p.GID)})
	for _, g := range p.AdditionalGIDs {
		out.groups = append(out.groups, enforcer.User{ID: decimal(g), Name: nameOf(group, g)})
	}
	return out, nil
}

// warmUserFiles reads a layer's user files into the page cache. The look-up through the overlay asks every layer for them, one after the other
// and each from its disk through dm-verity; here the layers are asked side by side. What is read is thrown away, and nothing depends on it.
func warmUserFiles(layer string) {
	root, err := unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	for _, name := range []string{"etc/passwd", "etc/group"} {
		_, _ = readUserFile(root, name)
	}
}

// readUserFile returns nothing for a file that does not exist: an image need not have one.
func readUserFile(root int, name string) ([]byte, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open container's /%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat container's /%s: %w", name, err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxUserFile {
		return nil, invalid("container's /%s: want a regular file of at most %d bytes", name, maxUserFile)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxUserFile))
	if err != nil {
		return nil, fmt.Errorf("read container's /%s: %w", name, err)
	}
	return text, nil
}

// nameOf finds the first entry with an id, in the form name:x:id of both files.
func nameOf(file []byte, id uint32) string {
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, maxUserFile+1)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 {
			continue
		}
		if n, err := strconv.ParseUint(fields[2], 10, 32); err == nil && uint32(n) == id {
			return fields[0]
		}
	}
	return ""
}
