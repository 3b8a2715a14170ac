package sandbox

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
)

const rwPoints = `
rw_mount_device := data.framework.rw_mount_device
rw_unmount_device := data.framework.rw_unmount_device
`

// onDisk puts the request's writable layer on a disk.
func onDisk(lun string) func(*testing.T, *CreateRequest) {
	return func(t *testing.T, r *CreateRequest) {
		a := address(t, lun)
		r.Scratch = &a
	}
}

func diskWeb(t *testing.T, id, lun string) CreateRequest {
	return web(t, id, func(r *CreateRequest) { onDisk(lun)(t, r) })
}

func TestScratchDiskLife(t *testing.T) {
	// A policy from before there was the point leaves it to the framework.
	older := strings.Replace(testPolicy(""), `api_version := "0.12.0"`, `api_version := "0.10.0"`, 1)
	for name, policy := range map[string]string{"named-by-the-policy": testPolicy(rwPoints), "left-to-the-framework": older} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy)
			b.life(t, diskWeb(t, "w", "0:7"))
			key := Key("w")
			if i := slices.Index(b.storage.log, "encrypt scsi 0:7"); i < 0 || b.storage.log[i+1] != "scratch disk "+b.fs(scratchName(key)) {
				t.Errorf("got %q, want the disk made the writable layer", b.storage.log)
			}
			if slices.ContainsFunc(b.storage.log, func(l string) bool { return strings.HasPrefix(l, "scratch /") }) {
				t.Error("memory was mounted too")
			}
			// The policy knows both the disk and the layer.
			if _, err := b.policy().Decide(t.Context(), enforcer.RWUnmountDeviceInput{UnmountTarget: containerDir(key)}); err != nil {
				t.Errorf("the disk is not on record: %v", err)
			}
			if _, err := b.policy().Decide(t.Context(), enforcer.ScratchUnmountInput{UnmountTarget: scratchName(key)}); err != nil {
				t.Errorf("the writable layer is not on record: %v", err)
			}
			if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
				t.Fatal(err)
			}
			if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
				t.Fatalf("after remove: got %+v and %v mounted, want nothing", h, b.storage.mounted)
			}
			if _, err := b.policy().Decide(t.Context(), enforcer.RWUnmountDeviceInput{UnmountTarget: containerDir(key)}); err == nil {
				t.Error("the disk is still on record")
			}
			b.life(t, diskWeb(t, "x", "0:7")) // the disk is free again
		})
	}
}

func TestScratchDiskUnknownToThePolicy(t *testing.T) {
	b := newBench(t, testPolicy(""))
	err := b.CreateContainer(t.Context(), diskWeb(t, "w", "0:7"))
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "rule for rw_mount_device is missing from policy") {
		t.Fatalf("got %v, want that the policy has no rule", err)
	}
}

func TestScratchDiskRefusedByPolicy(t *testing.T) {
	b := newBench(t, testPolicy(`rw_mount_device := {"allowed": false}`+"\n"))
	err := b.CreateContainer(t.Context(), diskWeb(t, "w", "0:7"))
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "rw_mount_device") {
		t.Fatalf("got %v, want a refusal by rw_mount_device", err)
	}
	if slices.Contains(b.storage.log, "encrypt scsi 0:7") {
		t.Error("the disk was written to before it was judged")
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Fatalf("left %+v and %v mounted", h, b.storage.mounted)
	}
	b.life(t, web(t, "w", nil))
}

func TestScratchDiskFailureAtEachStepIsUndone(t *testing.T) {
	for _, op := range []string{"scratch disk", "overlay", "bind", "create"} {
		t.Run(op, func(t *testing.T) {
			b := newBench(t, testPolicy(rwPoints))
			b.storage.fail = op
			if op == "create" {
				b.runtime.fail[op] = &container.RuntimeError{Op: op, Reason: "failed", Err: container.ErrNotStarted}
			}
			if err := b.CreateContainer(t.Context(), diskWeb(t, "w", "0:7")); err == nil {
				t.Fatal("create succeeded")
			}
			if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
				t.Fatalf("left %+v and %v mounted", h, b.storage.mounted)
			}
			for _, in := range []enforcer.Input{
				enforcer.RWUnmountDeviceInput{UnmountTarget: containerDir(Key("w"))},
				enforcer.ScratchUnmountInput{UnmountTarget: scratchName(Key("w"))},
			} {
				if _, err := b.policy().Decide(t.Context(), in); err == nil {
					t.Errorf("%s: it is on record", in.Point())
				}
			}
			b.storage.fail = ""
			delete(b.runtime.fail, op)
			b.life(t, diskWeb(t, "w", "0:7"))
		})
	}
}

// One disk has one use: as a layer of somebody it would be overwritten, as two writable layers both would be lost.
func TestScratchDiskInUse(t *testing.T) {
	b := newBench(t, testPolicy(rwPoints))
	b.life(t, diskWeb(t, "w", "0:7"))
	for _, tc := range []struct {
		name, want string
		request    CreateRequest
	}{
		{"another-container's", "writable layer of another container", diskWeb(t, "x", "0:7")},
		{"its-own-layer", "a layer too", diskWeb(t, "x", "0:1")},
		{"as-a-layer", "writable layer of another container", web(t, "x", func(r *CreateRequest) { r.Layers[0] = address(t, "0:7") })},
		{"without-layers", "no storage holds a layer", web(t, "x", func(r *CreateRequest) {
			r.Layers = nil
			onDisk("0:8")(t, r)
		})},
		{"pause", "a writable disk without layers", web(t, "pod", func(r *CreateRequest) {
			r.Layers, r.OCI.IsSandbox = nil, true
			onDisk("0:8")(t, r)
		})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := b.Held()
			err := b.CreateContainer(t.Context(), tc.request)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want InvalidArgument with %q", err, tc.want)
			}
			if after := b.Held(); after != before {
				t.Errorf("got %+v held, want %+v", after, before)
			}
		})
	}
}

// The removal goes on where it stopped: the layer is given up once, the disk when it can be.
func TestScratchDiskRemovedAgain(t *testing.T) {
	b := newBench(t, testPolicy(rwPoints))
	b.life(t, diskWeb(t, "w", "0:7"))
	c, err := b.container("w")
	if err != nil {
		t.Fatal(err)
	}
	real := c.mounts[0]
	c.mounts[0] = failing{errors.New("busy")}
	if err := b.RemoveContainer(t.Context(), "w", 0); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want that the unmount failed", err)
	}
	if _, err := b.policy().Decide(t.Context(), enforcer.RWUnmountDeviceInput{UnmountTarget: containerDir(Key("w"))}); err != nil {
		t.Errorf("the disk is still mounted, the policy says: %v", err)
	}
	c.mounts[0] = real
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Fatalf("left %+v and %v", h, b.storage.mounted)
	}
}
