package enforcer_test

import (
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

func TestMountDevice(t *testing.T) {
	good := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	cases := []struct {
		name    string
		change  func(*enforcer.MountDeviceInput)
		reasons []string
	}{
		{name: "listed-layer"},
		{"unknown-hash", func(in *enforcer.MountDeviceInput) { in.DeviceHash = idA }, []string{"deviceHash not found"}},
		{"upper-case-hash", func(in *enforcer.MountDeviceInput) { in.DeviceHash = "AB" }, []string{"deviceHash not found"}},
		{"foreign-target", func(in *enforcer.MountDeviceInput) { in.Target = "/etc" }, []string{"mountpoint invalid"}},
		{"target-with-tail", func(in *enforcer.MountDeviceInput) { in.Target += "/x" }, []string{"mountpoint invalid"}},
		{"target-with-newline", func(in *enforcer.MountDeviceInput) { in.Target += "\n" }, []string{"mountpoint invalid"}},
		{"broken-regex", func(in *enforcer.MountDeviceInput) { in.MountPathRegex = "a)|(.*" }, []string{"mountpoint invalid"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, policyText(t, []testContainer{web()}))
			in := good
			if c.change == nil {
				allow(t, e, in)
				return
			}
			c.change(&in)
			refuse(t, e, in, c.reasons...)
		})
	}
}

func TestMountDeviceTwiceAtOneTarget(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	allow(t, e, in)
	refuse(t, e, in, "device already mounted at path")
	in.DeviceHash = rootTwo
	refuse(t, e, in, "device already mounted at path")
	allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: in.Target})
	allow(t, e, in)
}

func TestUnmountDevice(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	rw := enforcer.RWMountDeviceInput{
		Target: "/run/gcs/c/" + idA, Encrypted: true, EnsureFilesystem: true, Filesystem: "ext4",
		MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
	}
	allow(t, e, rw)
	allow(t, e, enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi})

	refuse(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(2)}, "no device at path to unmount")
	refuse(t, e, enforcer.RWUnmountDeviceInput{UnmountTarget: target(2)}, "no device at path to unmount")
	refuse(t, e, enforcer.UnmountDeviceInput{UnmountTarget: rw.Target},
		"received read-only unmount request, but device provided is read-write")
	refuse(t, e, enforcer.RWUnmountDeviceInput{UnmountTarget: target(1)},
		"received read-write unmount request, but device provided is read-only")
	allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)})
	allow(t, e, enforcer.RWUnmountDeviceInput{UnmountTarget: rw.Target})
	refuse(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)}, "no device at path to unmount")
}

func TestRWMountDevice(t *testing.T) {
	const plain = "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption"
	good := enforcer.RWMountDeviceInput{
		Target: "/run/gcs/c/" + idA, Encrypted: true, EnsureFilesystem: true, Filesystem: "xfs",
		MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
	}
	cases := []struct {
		name    string
		flags   []string
		change  func(*enforcer.RWMountDeviceInput)
		reasons []string
	}{
		{name: "encrypted"},
		{"plain", nil, func(in *enforcer.RWMountDeviceInput) { in.Encrypted = false }, []string{plain}},
		{"plain-allowed", []string{"allow_unencrypted_scratch"}, func(in *enforcer.RWMountDeviceInput) { in.Encrypted = false }, nil},
		{"unformatted", nil, func(in *enforcer.RWMountDeviceInput) { in.EnsureFilesystem = false }, []string{"ensureFilesystem must be set on rw device mounts"}},
		{"vfat", nil, func(in *enforcer.RWMountDeviceInput) { in.Filesystem = "vfat" }, []string{"rw device mounts uses a filesystem that is not allowed"}},
		{"foreign-target", nil, func(in *enforcer.RWMountDeviceInput) { in.Target = "/run/gcs/c/short" }, []string{"mountpoint invalid"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, policyText(t, []testContainer{web()}, c.flags...))
			in := good
			if c.change != nil {
				c.change(&in)
			}
			if c.reasons == nil {
				allow(t, e, in)
				refuse(t, e, in, "device already mounted at path")
				return
			}
			refuse(t, e, in, c.reasons...)
		})
	}
}

func TestMountOverlay(t *testing.T) {
	cases := []struct {
		name   string
		layers []string
	}{
		{"wrong-order", []string{target(1), target(2)}},
		{"layer-missing", []string{target(2)}},
		{"layer-twice", []string{target(2), target(1), target(1)}},
		{"layer-not-mounted", []string{target(2), target(7)}},
		{"no-layers", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, policyText(t, []testContainer{web()}))
			allow(t, e, enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi})
			allow(t, e, enforcer.MountDeviceInput{Target: target(2), DeviceHash: rootTwo, MountPathRegex: scsi})
			in := overlay(idA, 1)
			in.LayerPaths = c.layers
			refuse(t, e, in, "no matching containers for overlay")
			allow(t, e, overlay(idA, 1))
		})
	}
}

func TestOverlayIsGoodForOneContainerOnly(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	mountImage(t, e, idA, 1)
	refuse(t, e, overlay(idA, 1), "overlay has already been mounted")
	other := overlay(idB, 1)
	other.Target = overlay(idA, 1).Target
	refuse(t, e, other, "overlay has already been mounted")
	allow(t, e, enforcer.UnmountOverlayInput{UnmountTarget: overlay(idA, 1).Target})
	refuse(t, e, enforcer.UnmountOverlayInput{UnmountTarget: overlay(idA, 1).Target}, "no overlay at path to unmount")
	// The id is burnt: what ran under it may have left something.
	refuse(t, e, overlay(idA, 1), "overlay has already been mounted")
	allow(t, e, overlay(idB, 1))
}

func TestScratch(t *testing.T) {
	in := enforcer.ScratchMountInput{Target: "/run/gcs/c/" + idA + "/scratch/" + idA, Encrypted: true}
	out := enforcer.ScratchUnmountInput{UnmountTarget: in.Target}
	e := load(t, policyText(t, []testContainer{web()}))
	refuse(t, e, out, "no scratch at path to unmount")
	plain := in
	plain.Encrypted = false
	refuse(t, e, plain, "unencrypted scratch not allowed")
	allow(t, e, in)
	refuse(t, e, in, "scratch already mounted at path")
	allow(t, e, out)
	refuse(t, e, out, "no scratch at path to unmount")

	e = load(t, policyText(t, []testContainer{web()}, "allow_unencrypted_scratch"))
	allow(t, e, plain)
}

func TestBlockDevicesAreNeverAllowed(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	refuse(t, e, enforcer.MountBlockDevInput{Target: "/dev/x"}, "blockdev mounts are not supported")
	refuse(t, e, enforcer.UnmountBlockDevInput{UnmountTarget: "/dev/x"}, "blockdev mounts are not supported")
}

func TestPlan9(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	in := enforcer.Plan9MountInput{
		RootPrefix: "/run/gcs/c", MountPathPrefix: "/mounts/m[0-9]+", Target: "/run/gcs/c/" + idA + "/mounts/m1",
	}
	refuse(t, e, in, "mountpoint invalid")
	mountImage(t, e, idA, 1)
	for _, bad := range []string{"/run/gcs/c/" + idB + "/mounts/m1", "/run/gcs/c/" + idA + "/mounts/m1/x", "/run/gcs/c/" + idA + "mounts/m1", "/etc"} {
		other := in
		other.Target = bad
		refuse(t, e, other, "mountpoint invalid")
	}
	allow(t, e, in)
	refuse(t, e, in, "device already mounted at path")
	allow(t, e, enforcer.Plan9UnmountInput{UnmountTarget: in.Target})
	refuse(t, e, enforcer.Plan9UnmountInput{UnmountTarget: in.Target}, "no device at path to unmount")
}
