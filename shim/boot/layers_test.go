package boot

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/shim/vm"
)

// plugs is a VM's disks: paths by unit number.
type plugs struct {
	disks []string
	fail  string
}

func (p *plugs) Plug(_ context.Context, d vm.Disk) (vm.Address, error) {
	if d.Path == p.fail || !d.ReadOnly {
		return vm.Address{}, errors.New("no such disk")
	}
	p.disks = append(p.disks, d.Path)
	return vm.Address{LUN: len(p.disks) - 1}, nil
}

func (p *plugs) Unplug(_ context.Context, a vm.Address) error {
	p.disks[a.LUN] = ""
	return nil
}

func TestLayersArePluggedOnce(t *testing.T) {
	p := &plugs{fail: "/missing"}
	set, ctx := NewLayers(p), testContext(t)
	base, web := Layer{Path: "/base", Root: "aa"}, Layer{Path: "/web", Root: "bb", Format: FormatEROFS}
	for range 2 {
		got, err := set.Acquire(ctx, []Layer{base, web})
		if err != nil || !slices.Equal(got, []vm.Address{{LUN: 0}, {LUN: 1}}) {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if _, err := set.Acquire(ctx, []Layer{{Path: "/other", Root: "cc"}, {Path: "/missing"}}); err == nil {
		t.Fatal("got no error for a disk that cannot be plugged")
	}
	if want := []string{"/base", "/web", ""}; !slices.Equal(p.disks, want) {
		t.Errorf("got %q, want %q: what went before the failure is given back", p.disks, want)
	}
	if err := set.Release(ctx, []Layer{base, web}); err != nil || p.disks[0] == "" {
		t.Errorf("got %v and %q after the first release", err, p.disks)
	}
	if err := set.Release(ctx, []Layer{base, web}); err != nil || p.disks[0] != "" || p.disks[1] != "" {
		t.Errorf("got %v and %q after the last release", err, p.disks)
	}
}

func TestStoragesNameTheFileSystem(t *testing.T) {
	got := Storages("c", []Layer{{Root: "aa"}, {Root: "bb", Format: FormatEROFS}}, []vm.Address{{LUN: 4}, {LUN: 7}})
	if len(got) != 3 || got[0].Fstype != "ext4" || got[1].Fstype != "erofs" || got[1].Source != "0:7" {
		t.Fatalf("got %v", got)
	}
	if want := "lowerdir=" + got[1].MountPoint + ":" + got[0].MountPoint; got[2].Options[0] != want || got[2].MountPoint != RootPath("c") {
		t.Errorf("overlay got %v, want %q at %q", got[2], want, RootPath("c"))
	}
}
