package rpc

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
)

func layer(lun, mountPoint string) *api.Storage {
	return &api.Storage{
		Driver: "scsi", Source: "0:" + lun, Fstype: "ext4", MountPoint: mountPoint,
		Options: []string{"ro", "X-kata.overlay-lower", "X-kata.dmverity-enabled=true", "X-kata.dmverity.roothash=" + strings.Repeat("ab", 32)},
	}
}

func overlay(lowers string) *api.Storage {
	return &api.Storage{
		Driver: "overlayfs", Source: "overlay", Fstype: "overlay", Options: []string{"lowerdir=" + lowers},
		MountPoint: "/run/kata-containers/c/rootfs",
	}
}

func TestParseStorages(t *testing.T) {
	got, err := parseStorages([]*api.Storage{layer("1", "/l/1"), layer("2", "/l/2"), overlay("/l/2:/l/1")})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.layers) != 2 || got.layers[0].String() == got.layers[1].String() || got.mountPoint != "/run/kata-containers/c/rootfs" {
		t.Fatalf("got %+v, want two layers, the second disk on top", got)
	}
	if !strings.HasSuffix(got.layers[0].String(), "2") {
		t.Fatalf("got %v on top, want the disk at lun 2", got.layers[0])
	}
}

func upper(lun, mountPoint string) *api.Storage {
	return &api.Storage{Driver: "scsi", Source: "0:" + lun, Fstype: "ext4", MountPoint: mountPoint, Options: []string{"rw", "X-kata.overlay-upper"}}
}

func TestParseStoragesWritableLayer(t *testing.T) {
	got, err := parseStorages([]*api.Storage{upper("7", "/u"), layer("1", "/l/1"), overlay("/l/1")})
	if err != nil {
		t.Fatal(err)
	}
	if got.scratch == nil || got.scratch.String() != "scsi 0:7" || len(got.layers) != 1 {
		t.Errorf("got %+v, want one layer and a writable one on scsi 0:7", got)
	}
	if got, err = parseStorages([]*api.Storage{layer("1", "/l/1"), overlay("/l/1")}); err != nil || got.scratch != nil {
		t.Errorf("without such a disk: got %+v, %v", got, err)
	}
	for _, tc := range []struct {
		name string
		in   []*api.Storage
		want string
	}{
		{"two", []*api.Storage{layer("1", "/l/1"), upper("7", "/u"), upper("8", "/v"), overlay("/l/1")}, "a second writable layer"},
		{"as-a-lower-too", []*api.Storage{layer("1", "/l/1"), upper("7", "/u"), overlay("/l/1:/u")}, "no layer of the request"},
		{"no-overlay", []*api.Storage{upper("7", "/u")}, "no overlay storage"},
		{"on-the-overlay", []*api.Storage{layer("1", "/l/1"), upper("7", "/u"), {Driver: "overlayfs", Fstype: "overlay", MountPoint: "/u", Options: []string{"lowerdir=/l/1"}}}, "used twice"},
		{"on-a-layer", []*api.Storage{upper("7", "/l/1"), layer("1", "/l/1"), overlay("/l/1")}, "used twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := parseStorages(tc.in); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v, want InvalidArgument with %q", got, err, tc.want)
			}
		})
	}
	for name, spoil := range map[string]func(*api.Storage){
		"other-file-system": func(s *api.Storage) { s.Fstype = "xfs" },
		"its-own-key":       func(s *api.Storage) { s.Options = append(s.Options, "X-kata.encryption_key=00") },
		"lower-too":         func(s *api.Storage) { s.Options = append(s.Options, "X-kata.overlay-lower") },
		"path-as-source":    func(s *api.Storage) { s.Source = "/dev/sda" },
		"driver-options":    func(s *api.Storage) { s.DriverOptions = []string{"encryption_key=ephemeral"} },
	} {
		t.Run(name, func(t *testing.T) {
			u := upper("7", "/u")
			spoil(u)
			if got, err := parseStorages([]*api.Storage{layer("1", "/l/1"), u, overlay("/l/1")}); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %+v, %v, want InvalidArgument", got, err)
			}
		})
	}
}

// A node may have converted a layer to either file system; what it says of it decides nothing.
func TestParseStoragesErofs(t *testing.T) {
	l := layer("1", "/l/1")
	l.Fstype = "erofs"
	if got, err := parseStorages([]*api.Storage{l, overlay("/l/1")}); err != nil || len(got.layers) != 1 {
		t.Errorf("got %+v, %v, want one layer", got, err)
	}
}

func TestParseStoragesRefuses(t *testing.T) {
	with := func(change func(*api.Storage)) *api.Storage {
		s := layer("1", "/l/1")
		change(s)
		return s
	}
	for _, tc := range []struct {
		name string
		in   []*api.Storage
	}{
		{"no-overlay", []*api.Storage{layer("1", "/l/1")}},
		{"nil", []*api.Storage{nil, overlay("/l/1")}},
		{"two-overlays", []*api.Storage{layer("1", "/l/1"), overlay("/l/1"), overlay("/l/1")}},
		{"lower-not-in-request", []*api.Storage{layer("1", "/l/1"), overlay("/l/1:/run/mounts/scsi/m0")}},
		{"lower-twice", []*api.Storage{layer("1", "/l/1"), overlay("/l/1:/l/1")}},
		{"layer-not-in-overlay", []*api.Storage{layer("1", "/l/1"), layer("2", "/l/2"), overlay("/l/1")}},
		{"mount-point-twice", []*api.Storage{layer("1", "/l/1"), layer("2", "/l/1"), overlay("/l/1")}},
		{"parked-on-the-overlay", []*api.Storage{overlay("/l/1"), layer("1", "/run/kata-containers/c/rootfs")}},
		{"upperdir", []*api.Storage{layer("1", "/l/1"), {Driver: "overlayfs", Fstype: "overlay", MountPoint: "/r", Options: []string{"lowerdir=/l/1", "upperdir=/etc"}}}},
		{"empty-overlay", []*api.Storage{{Driver: "overlayfs", Fstype: "overlay", MountPoint: "/r"}}},
		{"relative-mount-point", []*api.Storage{with(func(s *api.Storage) { s.MountPoint = "l/1" }), overlay("l/1")}},
		{"bind", []*api.Storage{with(func(s *api.Storage) { s.Driver = "local" }), overlay("/l/1")}},
		{"guest-pull", []*api.Storage{with(func(s *api.Storage) { s.Driver = "image_guest_pull" }), overlay("/l/1")}},
		{"virtio-fs", []*api.Storage{with(func(s *api.Storage) { s.Driver = "virtio-fs" }), overlay("/l/1")}},
		{"other-file-system", []*api.Storage{with(func(s *api.Storage) { s.Fstype = "xfs" }), overlay("/l/1")}},
		{"other-block-size", []*api.Storage{with(func(s *api.Storage) { s.Options = []string{"X-kata.dmverity.blocksize=512"} }), overlay("/l/1")}},
		{"other-algorithm", []*api.Storage{with(func(s *api.Storage) { s.Options = []string{"X-kata.dmverity.algorithm=crc32"} }), overlay("/l/1")}},
		{"no-superblock", []*api.Storage{with(func(s *api.Storage) { s.Options = []string{"X-kata.dmverity.no-superblock=true"} }), overlay("/l/1")}},
		{"writable", []*api.Storage{with(func(s *api.Storage) { s.Options = []string{"rw"} }), overlay("/l/1")}},
		{"path-as-source", []*api.Storage{with(func(s *api.Storage) { s.Source = "../../sda" }), overlay("/l/1")}},
		{"driver-options", []*api.Storage{with(func(s *api.Storage) { s.DriverOptions = []string{"x"} }), overlay("/l/1")}},
		{"fs-group", []*api.Storage{with(func(s *api.Storage) { s.FsGroup = &api.FSGroup{} }), overlay("/l/1")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := parseStorages(tc.in); status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %+v, %v, want InvalidArgument", got, err)
			}
		})
	}
}

func TestUnknownFieldsAreRefusedAtAnyDepth(t *testing.T) {
	known := &api.CreateContainerRequest{ContainerId: "c", OCI: &api.Spec{Process: &api.Process{Args: []string{"x"}}}}
	if err := check(known); err != nil {
		t.Fatalf("a message without unknown fields: got %v, want accepted", err)
	}
	extra := []byte{0xf8, 0x06, 0x01} // field 111, varint 1
	for name, spoil := range map[string]func(*api.CreateContainerRequest){
		"top":     func(r *api.CreateContainerRequest) { r.ProtoReflect().SetUnknown(extra) },
		"process": func(r *api.CreateContainerRequest) { r.OCI.Process.ProtoReflect().SetUnknown(extra) },
		"in-list": func(r *api.CreateContainerRequest) {
			s := &api.Storage{}
			s.ProtoReflect().SetUnknown(extra)
			r.Storages = []*api.Storage{s}
		},
	} {
		r := proto.Clone(known).(*api.CreateContainerRequest)
		spoil(r)
		if err := check(r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want InvalidArgument", name, err)
		}
	}
}

func check(m proto.Message) error {
	left := maxParts
	return checkMessage(m.ProtoReflect(), 0, &left)
}

// A frame of empty parts decodes to a hundred times its size.
func TestTooManyPartsAreRefused(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"messages": &api.CreateContainerRequest{Storages: func() []*api.Storage {
			l := make([]*api.Storage, maxParts+1)
			for i := range l {
				l[i] = &api.Storage{}
			}
			return l
		}()},
		"strings": &api.CreateSandboxRequest{Dns: make([]string, maxParts+1)},
	} {
		if err := check(m); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "parts") {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}
