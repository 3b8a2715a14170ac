package nodecheck

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// FreeUser is a number for QEMU's user that nobody has by default: above the ranges of accounts, of systemd's dynamic users and containers, and of
// subordinate ids. (64055, which looks as free, is Debian's libvirt-qemu.)
const FreeUser = 1900000000

// user says whether QEMU runs as somebody who owns nothing.
func (h *Host) user(context.Context) Finding {
	f := Finding{What: "vmm user"}
	if h.Node.VMMUser == 0 {
		f.Level, f.Got = Warn, "QEMU runs as the shim's own user, root"
		f.Follows = "a guest that breaks out of QEMU is root: the seccomp filter keeps it from programs, not from files"
		f.Next = fmt.Sprintf("set vmm_user in node.toml to a number nobody uses, such as %d", FreeUser)
		return f
	}
	f.Level, f.Got = OK, fmt.Sprintf("%d", h.Node.VMMUser)
	f.Follows = "a guest that breaks out of QEMU is that user, as the QEMU of every other pod is"
	// A user with an account may own files; the number alone owns none.
	for line := range strings.Lines(h.read("/etc/passwd")) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[2] == f.Got {
			f.Level, f.Got = Note, f.Got+", the account "+fields[0]
			f.Follows = "whatever that account may do, a guest that breaks out of QEMU may, to other pods' QEMU too"
		}
	}
	return f
}

func (h *Host) vsock(context.Context) Finding {
	if _, err := os.Stat(h.path("/dev/vhost-vsock")); err == nil {
		return Finding{What: "vhost-vsock", Level: OK, Got: "/dev/vhost-vsock"}
	}
	return Finding{
		What: "vhost-vsock", Level: Note, Got: "no /dev/vhost-vsock", Follows: "agents are reached over virtio-serial, four channels a pod",
		Next: "modprobe vhost_vsock",
	}
}

// cgroups says which hierarchy pods' processes are put in.
func (h *Host) cgroups(context.Context) Finding {
	f := Finding{What: "cgroups", Level: OK}
	var s unix.Statfs_t
	root := h.path("/sys/fs/cgroup")
	switch err := unix.Statfs(root, &s); {
	case err != nil:
		return Finding{What: "cgroups", Level: Fail, Got: fmt.Sprintf("%s: %v", root, err), Follows: "no pod is bounded", Next: "mount cgroup2 there"}
	case s.Type == unix.CGROUP2_SUPER_MAGIC:
		f.Got = "version 2"
		return f
	}
	f.Level, f.Got = Note, "version 1"
	if _, err := os.Stat(h.path("/sys/fs/cgroup/unified")); err == nil {
		f.Got = "hybrid (version 1 has the controllers)"
	}
	f.Follows = "VMs are put into a pod's version 1 hierarchies; guests have version 2 in any case"
	return f
}

// erofs matters to containerd's own snapshotter alone: layers are mounted in guests, not here.
func (h *Host) erofs(context.Context) Finding {
	f := Finding{What: "erofs", Level: Note}
	if slices.Contains(strings.Fields(h.read("/proc/filesystems")), "erofs") {
		f.Got = "the host's kernel has it"
		return f
	}
	f.Got = "not in the host's kernel (or not loaded)"
	f.Follows = "cloister-snapshotter does not need it; containerd's own erofs snapshotter does"
	return f
}

// shim looks for the program where containerd will: in PATH, or where the runtime handler says.
func (h *Host) shim(context.Context) Finding {
	f := Finding{What: "shim"}
	if h.Root != "" {
		return Finding{}
	}
	path, err := exec.LookPath(h.Shim)
	if err != nil {
		f.Level, f.Got, f.Follows, f.Next = Fail, h.Shim+" is not in PATH", "ctr finds no runtime io.containerd.cloister.v2", "cloister node install"
		return f
	}
	f.Level, f.Got = OK, path
	return f
}
