package sandbox

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// blockBed is a node whose containers write to disks.
func blockBed(t *testing.T) *bed {
	b := newBed(t)
	b.config.Node.Scratch, b.config.Node.ScratchMiB = "block", 64
	if err := os.MkdirAll(b.host.scratchDir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(b.host.scratchDir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		t.Skipf("the file system of %s has no files without names: set TMPDIR to one that has (%v)", b.host.scratchDir, err)
	}
	f.Close()
	return b
}

func TestBlockScratch(t *testing.T) {
	b := blockBed(t)
	p := b.start(t)
	var size int64
	b.at = func(_ context.Context, what string) error {
		if strings.HasPrefix(what, "plug ") && size == 0 {
			if fd, ok := strings.CutPrefix(b.machine.last(), "/proc/self/fd/"); ok {
				info, err := os.Stat("/proc/self/fd/" + fd)
				if err != nil {
					return err
				}
				size = info.Size()
			}
		}
		return nil
	}
	running(t, p, webID)
	if size != 64<<20 {
		t.Errorf("size: got %d bytes, want %d", size, 64<<20)
	}
	storages := request[*api.CreateContainerRequest](b.agent).Storages
	i := slices.IndexFunc(storages, func(s *api.Storage) bool { return slices.Contains(s.Options, "X-kata.overlay-upper") })
	if i < 0 || storages[i].Driver != "scsi" || storages[i].Fstype != "ext4" || !slices.Contains(storages[i].Options, "rw") {
		t.Fatalf("storages: got %v, want one that is the upper layer", storages)
	}
	for j, s := range storages {
		if j != i && (s.MountPoint == storages[i].MountPoint || s.Source == storages[i].Source) {
			t.Errorf("the upper layer shares %v", s)
		}
	}
	if n := b.machine.plugged(); n != 3 {
		t.Errorf("disks: got %d, want two layers and one to write to", n)
	}
	if left, err := os.ReadDir(b.host.scratchDir); err != nil || len(left) > 0 {
		t.Errorf("names on the host: got %v, %v, want none", left, err)
	}
	if err := p.Signal(testContext(t), Process{Container: webID}, 9, true); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(testContext(t), Process{Container: webID}); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(testContext(t), webID); err != nil || b.machine.plugged() != 0 {
		t.Errorf("remove: got %v and %d disks, want none", err, b.machine.plugged())
	}
}

// TestBlockScratchUndone: a disk to write to goes with the container that was refused.
func TestBlockScratchUndone(t *testing.T) {
	b := blockBed(t)
	p := b.start(t)
	b.on("CreateContainer", func(context.Context) error { return errTest })
	if _, err := p.Create(testContext(t), web(webID)); err == nil {
		t.Error("got no error")
	}
	if n := b.machine.plugged(); n != 0 {
		t.Errorf("disks: got %d, want none", n)
	}
}
