package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

const (
	scratchText = "what a container writes and its host must not read: 7c01be52. "
	scratchFile = "/data/name-of-a-file-that-only-the-guest-knows"
)

// writer is a container that is told what to write and to read.
func writer(img image) *pod.Container {
	c := newContainer(img, "writer", "sleep")
	c.Exec = [][]string{{"/bin/w", "fill", scratchFile, scratchText}, {"/bin/w", "check", scratchFile, scratchText}}
	return c
}

// scratchDisk makes a disk and plugs it in.
func (m *machine) scratchDisk(size int64) (path string, storage *api.Storage) {
	m.t.Helper()
	path = filepath.Join(m.t.TempDir(), "scratch.disk")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		m.t.Fatal(err)
	}
	address, err := m.VM().Plug(m.ctx, vm.Disk{Path: path})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := m.VM().Unplug(context.WithoutCancel(m.ctx), address); err != nil {
			m.t.Errorf("unplug: %v", err)
		}
	})
	return path, &api.Storage{
		Driver: "scsi", Source: address.String(), Fstype: "ext4", MountPoint: "/run/kata-containers/sandbox/scratch/1",
		Options: []string{"rw", "X-kata.overlay-upper"},
	}
}

// onScratch creates a container whose writable layer is on the disk.
func (m *machine) onScratch(c *pod.Container, storage *api.Storage) *run.Container {
	m.t.Helper()
	made, request := m.prepare(c)
	request.Storages = append([]*api.Storage{storage}, request.Storages...)
	if _, err := m.Client().CreateContainer(m.ctx, request); err != nil {
		m.t.Fatal(errors.Join(err, m.Discard(m.ctx, made)))
	}
	if err := errors.Join(m.Created(made), m.StartContainer(m.ctx, made)); err != nil {
		m.t.Fatal(err)
	}
	return made
}

func (m *machine) execIn(c *run.Container, args []string) (string, int) {
	m.t.Helper()
	p := c.OCI(pod.Names{SandboxID: m.ID(), ContainerID: c.ID}).Process
	p.Args = args
	var out bytes.Buffer
	code, err := m.Client().Exec(m.ctx, c.ID, p, run.ProcessIO{Stdout: &out, Stderr: &out})
	if err != nil {
		m.t.Fatal(err)
	}
	return out.String(), code
}

// TestScratchOnDisk: what a container writes goes to a disk of the host's, who can neither read it nor change it unseen.
func TestScratchOnDisk(t *testing.T) {
	alone(t)
	c := writer(mustImage(t))
	policy := policyFor(t, caseContext(t), policygen.Options{AllowLogs: true, AllowStacks: true}, c)
	m := start(t, policy, nil)
	path, storage := m.scratchDisk(256 << 20)
	made := m.onScratch(c, storage)
	fresh := readDisk(t, path)
	if out, code := m.execIn(made, c.Exec[0]); code != 0 || out != "filled\n" {
		t.Fatalf("write: got %q, %d", out, code)
	}
	written := readDisk(t, path)
	for _, secret := range []string{scratchText, filepath.Base(scratchFile)} {
		if at := bytes.Index(written, []byte(secret)); at >= 0 {
			t.Errorf("the host reads %q at byte %d", secret, at)
		}
	}
	m.wantCheck(made, c, "as written\n", 0)

	changed := longChanges(fresh, written)
	if len(changed) == 0 {
		t.Fatal("nothing was written to the disk")
	}
	pokeDisk(t, path, changed, func(at int) byte { return written[at] ^ 1 })
	// The kernel's word for a wrong tag under direct I/O is EILSEQ; through the page cache it is EIO.
	m.wantCheck(made, c, "workload: read "+scratchFile+": "+unix.EILSEQ.Error()+"\n", 1)
	pokeDisk(t, path, changed, func(at int) byte { return written[at] })
	m.wantCheck(made, c, "as written\n", 0)

	if h := m.held(); h.Mapped != 2+3 { // crypt over integrity, and a device a layer
		t.Errorf("got %d mapped devices, want 5", h.Mapped)
	}
	m.remove(made)
	if h := m.held(); h.Containers != 0 || h.Devices != 0 || h.Mounts != 0 || h.Mapped != 0 {
		t.Errorf("left in the guest: %+v", h)
	}
	// The next container on that disk finds nothing of the first.
	again := m.onScratch(c, storage)
	m.wantCheck(again, c, "workload: open "+scratchFile+": no such file or directory\n", 1)
	m.remove(again)
}

func (m *machine) wantCheck(made *run.Container, c *pod.Container, want string, wantCode int) {
	m.t.Helper()
	if out, code := m.execIn(made, c.Exec[1]); code != wantCode || out != want {
		m.t.Errorf("read: got %q, %d, want %q, %d", out, code, want, wantCode)
	}
}

// TestScratchDiskMisused: a disk that cannot be written, and one that a container uses already, leave nothing behind.
func TestScratchDiskMisused(t *testing.T) {
	m := shared(t)
	_, storage := m.scratchDisk(1 << 20)
	made, request := m.prepare(fixture(t, "echo"))
	request.Storages = append([]*api.Storage{storage}, request.Storages...)
	wantCode(t, m.tryCreate(made, request), codes.Internal, "mount")

	made, request = m.prepare(fixture(t, "echo"))
	stolen := &api.Storage{Driver: "scsi", Source: request.Storages[0].GetSource(), Fstype: "ext4", MountPoint: "/x", Options: []string{"rw", "X-kata.overlay-upper"}}
	request.Storages = append([]*api.Storage{stolen}, request.Storages...)
	wantCode(t, m.tryCreate(made, request), codes.InvalidArgument, "a layer too")
}

func readDisk(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pokeDisk changes bytes of a disk.
func pokeDisk(t *testing.T, path string, places []int, to func(at int) byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range places {
		if _, err := f.WriteAt([]byte{to(at)}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// longChanges returns a byte in the middle of each long run of blocks that differ: a file's blocks, and perhaps tables that the file system fills in the
// background. What it writes again and again is in short runs.
func longChanges(before, after []byte) []int {
	const block, long = 4096, 32
	var middles []int
	start := -1
	for at := 0; at+block <= len(before); at += block {
		differs := !bytes.Equal(before[at:at+block], after[at:at+block])
		switch {
		case differs && start < 0:
			start = at
		case !differs && start >= 0:
			if n := (at - start) / block; n >= long {
				middles = append(middles, start+n/2*block+100)
			}
			start = -1
		}
	}
	return middles
}
