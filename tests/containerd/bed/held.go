package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/vishvananda/netlink"
)

// Held is what a node holds of the machine, by kind. Pods share nothing, so what is there after a case and was not there before it is a leak.
type Held map[string][]string

// Held looks everywhere a pod leaves traces.
func (n *Node) Held(ctx context.Context) (Held, error) {
	h := Held{}
	var errs []error
	for kind, list := range map[string]func(context.Context) ([]string, error){
		"process": n.heldProcesses, "link": n.heldLinks, "mount": n.heldMounts, "cgroup": n.heldCgroups, "socket": n.heldSockets,
		"loop device": n.heldLoops, "device-mapper device": heldMapped, "snapshot": n.heldSnapshots, "file": n.heldFiles,
	} {
		items, err := list(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("list what there is of %s: %w", kind, err))
		}
		slices.Sort(items)
		h[kind] = items
	}
	return h, errors.Join(errs...)
}

// Difference lists what one has and the other has not.
func (h Held) Difference(before Held) []string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(h)) {
		was := slices.Clone(before[kind])
		for _, item := range h[kind] {
			if i := slices.Index(was, item); i >= 0 {
				was = slices.Delete(was, i, i+1)
				continue
			}
			out = append(out, "new "+kind+": "+item)
		}
		for _, item := range was {
			out = append(out, "gone "+kind+": "+item)
		}
	}
	return out
}

// AwaitHeld waits until the node holds what it held before: the kernel and containerd take some of it away a moment after they have answered. What is left when
// the time is over is the error.
func (n *Node) AwaitHeld(ctx context.Context, before Held) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// As kubelet's housekeeping does: a start that was given up may have made its pod's group after the pod went.
		if err := n.removeEmptyCgroup(n.CgroupParent() + "/pod*"); err != nil {
			return err
		}
		now, err := n.Held(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		left := now.Difference(before)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("not as before:\n  " + strings.Join(left, "\n  "))
		}
	}
}

// processes are those that began with the node's mark, name its directory or are in one of its pods' cgroups, as QEMU is, but its daemons.
func (n *Node) processes() (map[int]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // it ended meanwhile
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		cgroups, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil {
			continue
		}
		if bytes.Contains(environ, []byte(n.mark+"\x00")) || bytes.Contains(cmdline, []byte(n.Dir+"/")) || bytes.Contains(cgroups, []byte(":"+n.CgroupParent()+"/")) {
			found[pid] = strings.Join(strings.Split(strings.Trim(string(cmdline), "\x00"), "\x00"), " ")
		}
	}
	for _, d := range []*daemon{n.containerd, n.snapshotter} {
		if d != nil {
			delete(found, d.cmd.Process.Pid)
		}
	}
	return found, nil
}

func (n *Node) heldProcesses(context.Context) ([]string, error) {
	found, err := n.processes()
	var out []string
	for pid, cmdline := range found {
		out = append(out, fmt.Sprintf("%d %.200s", pid, cmdline))
	}
	return out, err
}

// heldLinks are the ends of pods' interfaces at the node's bridge, and taps that should be in a pod's namespace.
func (n *Node) heldLinks(context.Context) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	bridge := 0
	for _, l := range links {
		if l.Attrs().Name == n.bridge {
			bridge = l.Attrs().Index
		}
	}
	var out []string
	for _, l := range links {
		if bridge != 0 && l.Attrs().MasterIndex == bridge {
			out = append(out, l.Attrs().Name)
		}
	}
	return out, nil
}

// mountsBelow lists mount points below a directory, the last mounted first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	slices.Reverse(out)
	return out, nil
}

// heldMounts has the network namespaces too: they are mounts below containerd's state.
func (n *Node) heldMounts(context.Context) ([]string, error) { return mountsBelow(n.Dir) }

// CgroupParent is where the node's pods have their cgroups.
func (n *Node) CgroupParent() string { return "/" + n.bridge }

// heldCgroups walks every hierarchy for groups below the node's own and those of its containerd namespaces.
func (n *Node) heldCgroups(context.Context) ([]string, error) {
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !e.IsDir() {
			return err
		}
		if strings.Contains(path, n.CgroupParent()+"/") {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

// heldSockets are listening Unix sockets below the node's directory.
func (n *Node) heldSockets(context.Context) ([]string, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	const listening = "00010000" // the flag of a listening socket
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 7 && f[3] == listening && strings.HasPrefix(f[7], n.Dir+"/") {
			out = append(out, f[7])
		}
	}
	return out, nil
}

func (n *Node) heldLoops(context.Context) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(data), n.Dir+"/") {
			out = append(out, strings.TrimSpace(string(data)))
		}
	}
	return out, nil
}

func heldMapped(context.Context) ([]string, error) {
	return filepath.Glob("/sys/block/dm-*")
}

// Namespace is containerd's namespace for what is not CRI's.
func (n *Node) Namespace() string { return n.bridge }

// heldSnapshots are those of containers; images' committed ones stay.
func (n *Node) heldSnapshots(ctx context.Context) ([]string, error) {
	var out []string
	for _, namespace := range []string{"k8s.io", n.Namespace()} {
		ctx := namespaces.WithNamespace(ctx, namespace)
		for _, name := range []string{"overlayfs", "cloister"} {
			err := n.Client.SnapshotService(name).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
				if info.Kind != snapshots.KindCommitted {
					out = append(out, namespace+"/"+name+"/"+info.Name)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("snapshotter %q: %w", name, err)
			}
		}
	}
	return out, nil
}

// heldFiles are directories and files that live as long as a pod: the shim's state, containerd's bundles, addresses of the pool.
func (n *Node) heldFiles(context.Context) ([]string, error) {
	var out []string
	for _, pattern := range []string{
		"pods/*", "metrics/*", "state/io.containerd.runtime.v2.task/*/*", "root/io.containerd.runtime.v2.task/*/*", "state/io.containerd.grpc.v1.cri/*/*",
		"state/netns/*", "ipam/*/10.*", "ipam/*/fd*", "crun-root/*/*", "s/*",
	} {
		names, err := filepath.Glob(filepath.Join(n.Dir, pattern))
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	return out, nil
}
