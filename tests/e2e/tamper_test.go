package e2e

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
)

const sharedPrefix = "/run/kata-containers/shared/containers/"

// tampering changes one thing of an honest create request.
type tampering struct {
	name   string
	change func(*api.CreateContainerRequest)
	words  []string // of the refusal
}

// tamperings are create requests that an adversarial host may send straight to the agent. Every other part of each request
// is what the policy allows, so that only the tampered part can be what is refused.
var tamperings = []tampering{
	{"id-with-dots", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = "../../etc", "" }, []string{"id"}},
	{"id-with-slash", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = "a/b", "" }, []string{"id"}},
	{"id-empty", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = "", "" }, []string{"id"}},
	{"id-hidden", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = ".hidden", "" }, []string{"id"}},
	{"id-long", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = strings.Repeat("a", 129), "" }, []string{"id"}},
	{"id-newline", func(r *api.CreateContainerRequest) { r.ContainerId, r.ExecId = "a\nb", "" }, []string{"id"}},
	{"exec-id-of-another", func(r *api.CreateContainerRequest) { r.ExecId = "other" }, []string{"exec_id"}},
	{"other-sandbox", func(r *api.CreateContainerRequest) {
		r.OCI.Annotations["io.kubernetes.cri.sandbox-id"] = strings.Repeat("c", 64)
	}, []string{"sandbox"}},
	{"a-second-sandbox-container", func(r *api.CreateContainerRequest) {
		r.OCI.Annotations["io.kubernetes.cri.container-type"] = "sandbox"
	}, []string{"sandbox"}},
	{"container-type-unknown", func(r *api.CreateContainerRequest) {
		r.OCI.Annotations["io.kubernetes.cri.container-type"] = "vm"
	}, []string{"container-type"}},

	{"hook-prestart", func(r *api.CreateContainerRequest) {
		r.OCI.Hooks = &api.Hooks{Prestart: []*api.Hook{{Path: "/bin/w", Args: []string{"w", "env"}}}}
	}, []string{"Hooks"}},
	{"hook-poststop", func(r *api.CreateContainerRequest) {
		r.OCI.Hooks = &api.Hooks{Poststop: []*api.Hook{{Path: "/data/x"}}}
	}, []string{"Hooks"}},
	{"device-of-the-host", func(r *api.CreateContainerRequest) {
		r.Devices = []*api.Device{{Id: "sda", Type: "scsi", ContainerPath: "/dev/sda"}}
	}, []string{"devices"}},
	{"device-in-the-spec", func(r *api.CreateContainerRequest) {
		r.OCI.Linux.Devices = []*api.LinuxDevice{{Path: "/dev/mem", Type: "c", Major: 1, Minor: 1}}
	}, []string{"Devices"}},
	{"id-mapping", func(r *api.CreateContainerRequest) {
		r.OCI.Linux.UIDMappings = []*api.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}}
	}, []string{"UIDMappings"}},
	{"windows-section", func(r *api.CreateContainerRequest) { r.OCI.Windows = &api.Windows{Dummy: "x"} }, []string{"Windows"}},
	{"unknown-field", func(r *api.CreateContainerRequest) {
		r.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "x"))
	}, []string{"does not know"}},
	{"unknown-field-deep", func(r *api.CreateContainerRequest) {
		r.OCI.Process.User.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
	}, []string{"does not know"}},
	{"shared-process-namespace", func(r *api.CreateContainerRequest) { r.SandboxPidns = true }, []string{"sandbox_pidns"}},
	{"shared-mount", func(r *api.CreateContainerRequest) {
		r.SharedMounts = []*api.SharedMount{{Name: "x", SrcCtr: "a", SrcPath: "/", DstCtr: "b", DstPath: "/x"}}
	}, []string{"shared_mounts"}},
	{"string-user", func(r *api.CreateContainerRequest) { r.StringUser = &api.StringUser{Uid: "0"} }, []string{"string_user"}},
	{"stdio-port", func(r *api.CreateContainerRequest) { r.StdoutPort = 1030 }, []string{"port"}},

	{"sysctl-of-the-kernel", func(r *api.CreateContainerRequest) {
		r.OCI.Linux.Sysctl = map[string]string{"kernel.core_pattern": "|/bin/w"}
	}, []string{"Sysctl"}},
	{"sysctl-of-the-network", func(r *api.CreateContainerRequest) {
		r.OCI.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
	}, []string{"Sysctl"}},

	{"mount-source-relative", withMount(&api.Mount{Destination: "/data", Source: "../../..", Type: "bind", Options: []string{"rbind", "ro"}}), []string{"source"}},
	{"mount-source-of-the-guest", withMount(&api.Mount{Destination: "/guest", Source: "/", Type: "bind", Options: []string{"rbind", "ro"}}), []string{"source"}},
	{"mount-source-of-the-agent", withMount(&api.Mount{Destination: "/guest", Source: "/run/gcs/c", Type: "bind", Options: []string{"rbind"}}), []string{"source"}},
	{"mount-source-upwards", withMount(&api.Mount{Destination: "/guest", Source: "sandbox:///../../../..", Type: "bind", Options: []string{"rbind"}}), []string{""}},
	{"mount-destination-upwards", withMount(&api.Mount{Destination: "/data/../../etc", Source: "sandbox:///x", Type: "bind", Options: []string{"rbind"}}), []string{"destination"}},
	{"mount-over-the-root", withMount(&api.Mount{Destination: "/", Source: "tmpfs", Type: "tmpfs"}), []string{"destination"}},
	{"mount-of-a-block-device", withMount(&api.Mount{Destination: "/disk", Source: "/dev/sda", Type: "ext4"}), []string{"type"}},
	{"mount-of-proc-elsewhere", withMount(&api.Mount{Destination: "/proc2", Source: "proc", Type: "proc"}), []string{""}},
	{"mount-not-in-the-policy", withMount(&api.Mount{Destination: "/bin", Source: "sandbox:///bin", Type: "bind", Options: []string{"rbind", "rshared", "rw"}}), []string{"create_container", "mount"}},
	{"grant-not-in-the-policy", withMount(&api.Mount{Destination: "/run/cloister/attest", Source: "cloister://attest", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}}), []string{""}},

	{"rootfs-foreign", func(r *api.CreateContainerRequest) { r.OCI.Root.Path = "/" }, []string{"Root.Path"}},
	{"rootfs-of-the-shared-directory", func(r *api.CreateContainerRequest) { r.OCI.Root.Path = sharedPrefix + "x" }, []string{"Root.Path"}},
	{"no-storages", func(r *api.CreateContainerRequest) { r.Storages = nil }, []string{"layer"}},
	{"storage-shared", func(r *api.CreateContainerRequest) { r.Storages[0].Shared = true }, []string{"storages[0]"}},
	{"storage-of-another-kind", func(r *api.CreateContainerRequest) { r.Storages[0].Driver = "local" }, []string{"storages[0]"}},
	{"storage-of-a-guest-path", func(r *api.CreateContainerRequest) { r.Storages[0].Driver, r.Storages[0].Source = "blk", "/dev/vda" }, []string{"storages[0]"}},
	{"storage-option-unknown", func(r *api.CreateContainerRequest) { r.Storages[0].Options = append(r.Storages[0].Options, "exec") }, []string{"storages[0]"}},
	{"storage-other-salt", func(r *api.CreateContainerRequest) {
		r.Storages[0].Options = append(r.Storages[0].Options, "X-kata.dmverity.salt="+strings.Repeat("1", 64))
	}, []string{"storages[0]"}},
	{"storage-other-file-system", func(r *api.CreateContainerRequest) { r.Storages[0].Fstype = "xfs" }, []string{"fstype"}},
	{"storage-twice", func(r *api.CreateContainerRequest) { r.Storages = append(r.Storages, r.Storages[0]) }, []string{"twice"}},
	{"storage-beside-the-overlay", func(r *api.CreateContainerRequest) {
		r.Storages = append(r.Storages, &api.Storage{Driver: "scsi", Source: "0:0", Fstype: "ext4", MountPoint: "/elsewhere"})
	}, []string{"overlay"}},
	{"two-overlays", func(r *api.CreateContainerRequest) {
		r.Storages = append(r.Storages, &api.Storage{
			Driver: "overlayfs", Source: "overlay", Fstype: "overlay", MountPoint: "/elsewhere", Options: overlayOf(r).Options,
		})
	}, []string{"overlay"}},
	{"overlay-lower-of-the-guest", func(r *api.CreateContainerRequest) {
		o := overlayOf(r)
		o.Options[0] += ":/run/gcs/c"
	}, []string{"layer"}},
	{"overlay-upper-of-the-host", func(r *api.CreateContainerRequest) {
		o := overlayOf(r)
		o.Options = append(o.Options, "upperdir=/tmp/x", "workdir=/tmp/y")
	}, []string{"overlay"}},

	{"arguments", func(r *api.CreateContainerRequest) { r.OCI.Process.Args = []string{"/bin/w", "nothing"} }, []string{"create_container", "command"}},
	{"argument-more", func(r *api.CreateContainerRequest) { r.OCI.Process.Args = append(r.OCI.Process.Args, "x") }, []string{"create_container", "command"}},
	{"variable-more", func(r *api.CreateContainerRequest) { r.OCI.Process.Env = append(r.OCI.Process.Env, "LD_PRELOAD=/x") }, []string{"create_container", "env"}},
	{"variable-changed", func(r *api.CreateContainerRequest) { r.OCI.Process.Env = []string{"PATH=/data"} }, []string{"create_container", "env"}},
	{"directory", func(r *api.CreateContainerRequest) { r.OCI.Process.Cwd = "/tmp" }, []string{"create_container", "working"}},
	{"directory-upwards", func(r *api.CreateContainerRequest) { r.OCI.Process.Cwd = "/data/../.." }, []string{"Cwd"}},
	{"user", func(r *api.CreateContainerRequest) { r.OCI.Process.User.UID = 1000 }, []string{"create_container", "user"}},
	{"user-name-of-another", func(r *api.CreateContainerRequest) { r.OCI.Process.User.Username = "worker" }, []string{"Username"}},
	{"group-more", func(r *api.CreateContainerRequest) {
		r.OCI.Process.User.AdditionalGids = append(r.OCI.Process.User.AdditionalGids, 2000)
	}, []string{"create_container", "user"}},
	{"capability-more", func(r *api.CreateContainerRequest) {
		c := r.OCI.Process.Capabilities
		c.Bounding, c.Effective, c.Permitted = append(c.Bounding, "CAP_SYS_ADMIN"), append(c.Effective, "CAP_SYS_ADMIN"), append(c.Permitted, "CAP_SYS_ADMIN")
	}, []string{"create_container", "capabilit"}},
	{"capability-ambient", func(r *api.CreateContainerRequest) {
		r.OCI.Process.Capabilities.Ambient = []string{"CAP_CHOWN"}
	}, []string{"create_container", "capabilit"}},
	{"privileged", func(r *api.CreateContainerRequest) { r.OCI.Annotations["io.cloister.privileged"] = "true" }, []string{"create_container", "privileg"}},
	{"new-privileges", func(r *api.CreateContainerRequest) { r.OCI.Process.NoNewPrivileges = false }, []string{"create_container", "oNewPrivileges"}},
	{"seccomp-of-the-host", func(r *api.CreateContainerRequest) {
		r.OCI.Linux.Seccomp = &api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW"}
	}, []string{"seccomp"}},
	{"oom-score-below-zero", func(r *api.CreateContainerRequest) { r.OCI.Process.OOMScoreAdj = -1000 }, []string{"OOMScoreAdj"}},
}

func withMount(mount *api.Mount) func(*api.CreateContainerRequest) {
	return func(r *api.CreateContainerRequest) {
		for i, m := range r.OCI.Mounts {
			if m.Destination == mount.Destination {
				r.OCI.Mounts[i] = mount
				return
			}
		}
		r.OCI.Mounts = append(r.OCI.Mounts, mount)
	}
}

func overlayOf(r *api.CreateContainerRequest) *api.Storage { return r.Storages[len(r.Storages)-1] }

func TestTamperedCreate(t *testing.T) {
	m := shared(t)
	made, _ := m.prepare(fixture(t, "echo")) // keeps the layers plugged: only the guest's part is repeated
	defer func() {
		if err := m.Discard(m.ctx, made); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			m := m.in(t)
			attacked, request := m.prepare(fixture(t, "echo"))
			c.change(request)
			err := m.tryCreate(attacked, request)
			if err == nil {
				t.Fatal("got nil, want a refusal")
			}
			if code := status.Code(err); code != codes.PermissionDenied && code != codes.InvalidArgument && code != codes.FailedPrecondition {
				t.Errorf("got %v, want a refusal", err)
			}
			wantWords(t, err, c.words...)
			m.checkLeft()
		})
	}
	// What was refused has spoilt nothing for the honest request.
	if stdout, _, code := m.run(fixture(t, "echo")); stdout != "hello world\n" || code != 0 {
		t.Errorf("after the attacks: got %q, %d", stdout, code)
	}
}

// TestHarmlessDifferences: what the agent sets itself must not break a policy when a host sends it differently.
func TestHarmlessDifferences(t *testing.T) {
	m := shared(t)
	for _, c := range []tampering{
		{name: "namespace-of-the-guest", change: func(r *api.CreateContainerRequest) {
			r.OCI.Linux.Namespaces = []*api.LinuxNamespace{{Type: "pid", Path: "/proc/1/ns/pid"}, {Type: "mount", Path: "/proc/1/ns/mnt"}}
		}},
		{name: "no-namespaces", change: func(r *api.CreateContainerRequest) { r.OCI.Linux.Namespaces = nil }},
		{name: "no-masked-paths", change: func(r *api.CreateContainerRequest) {
			r.OCI.Linux.MaskedPaths, r.OCI.Linux.ReadonlyPaths = nil, nil
		}},
		{name: "cgroup-of-the-host", change: func(r *api.CreateContainerRequest) { r.OCI.Linux.CgroupsPath = "/../../../" }},
		{name: "device-rule", change: func(r *api.CreateContainerRequest) {
			r.OCI.Linux.Resources = &api.LinuxResources{Devices: []*api.LinuxDeviceCgroup{{Allow: true, Type: "b", Access: "rwm"}}}
		}},
		{name: "sysctls-that-containerd-writes", change: func(r *api.CreateContainerRequest) {
			r.OCI.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
		}},
		{name: "shared-propagation", change: func(r *api.CreateContainerRequest) { r.OCI.Linux.RootfsPropagation = "shared" }},
		{name: "writable-sysfs", change: withMount(&api.Mount{Destination: "/sys", Source: "sysfs", Type: "sysfs", Options: []string{"rw"}})},
		{name: "hosts-of-the-host", change: func(r *api.CreateContainerRequest) {
			r.OCI.Mounts = append(r.OCI.Mounts, &api.Mount{
				Destination: "/etc/hosts", Source: sharedPrefix + "evil-hosts", Type: "bind", Options: []string{"rbind", "rw"},
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := m.in(t)
			made, request := m.prepare(fixture(t, "inspect"))
			c.change(request)
			if _, err := m.Client().CreateContainer(m.ctx, request); err != nil {
				m.Discard(m.ctx, made)
				t.Fatal(err)
			}
			if err := m.Created(made); err != nil {
				t.Fatal(err)
			}
			v := m.inspect(made)
			checkMounts(t, v, "rw")
			if v.PID != 1 || strings.Contains(v.Hosts, "evil") || !masked(v, "/proc/kcore") {
				t.Errorf("the host's way was taken: %+v", v)
			}
		})
	}
}

// TestStorageParkedOnAnotherRootfs: mount points are the host's words for linking storages of one request; one that names
// another container's root file system must not reach it.
func TestStorageParkedOnAnotherRootfs(t *testing.T) {
	m := shared(t)
	victim := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: victim.ID}, "ready")

	made, request := m.prepare(fixture(t, "two-layers"))
	victimRoot := pod.RootPath(victim.ID)
	overlayOf(request).MountPoint, request.OCI.Root.Path = victimRoot, victimRoot
	if _, err := m.Client().CreateContainer(m.ctx, request); err == nil {
		// The name links storages and nothing else: the container has its own root file system and is what it says it is.
		if err := m.Created(made); err != nil {
			t.Fatal(err)
		}
		if err := m.StartContainer(m.ctx, made); err != nil {
			t.Fatal(err)
		}
		if stdout, _, _ := m.finish(made); stdout != "two\n" {
			t.Errorf("got %q, want %q", stdout, "two\n")
		}
	} else if err := m.Discard(m.ctx, made); err != nil {
		t.Error(err)
	}

	// A storage of a kind that would be mounted there by its own name.
	made, request = m.prepare(fixture(t, "two-layers"))
	request.Storages = append([]*api.Storage{{Driver: "ephemeral", Source: "tmpfs", Fstype: "tmpfs", MountPoint: victimRoot}}, request.Storages...)
	wantCode(t, m.tryCreate(made, request), codes.InvalidArgument, "storages[0]")

	process := victim.OCI(pod.Names{SandboxID: m.ID(), ContainerID: victim.ID}).Process
	process.Args = []string{"/bin/w", "echo", "from", "exec"}
	var out strings.Builder
	if code, err := m.Client().Exec(m.ctx, victim.ID, process, run.ProcessIO{Stdout: &out, Stderr: &out}); code != 0 || err != nil || out.String() != "from exec\n" {
		t.Errorf("the victim: got %q, %d, %v", out.String(), code, err)
	}
}

func TestIDsAreUsedOnceAtATime(t *testing.T) {
	m := shared(t)
	first := m.create(fixture(t, "sleep"))
	made, request := m.prepare(fixture(t, "sleep"))
	request.ContainerId, request.ExecId = first.ID, first.ID
	_, err := m.Client().CreateContainer(m.ctx, request)
	wantCode(t, err, codes.InvalidArgument, "exists")
	if err := m.Discard(m.ctx, made); err != nil {
		t.Error(err)
	}
	made, request = m.prepare(fixture(t, "sleep"))
	request.ContainerId, request.ExecId = m.ID(), m.ID()
	wantCode(t, m.tryCreate(made, request), codes.InvalidArgument, "sandbox")
}

func TestTamperedSandbox(t *testing.T) {
	alone(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, policy, nil)
	if err := m.SetPolicy(m.ctx, policy); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		request *api.CreateSandboxRequest
		word    string
	}{
		{"hook-path", &api.CreateSandboxRequest{SandboxId: "s", GuestHookPath: "/usr/share/oci/hooks"}, "guest_hook_path"},
		{"kernel-module", &api.CreateSandboxRequest{SandboxId: "s", KernelModules: []*api.KernelModule{{Name: "evil"}}}, "kernel_modules"},
		{"shared-process-namespace", &api.CreateSandboxRequest{SandboxId: "s", SandboxPidns: true}, "sandbox_pidns"},
		{"storage-of-a-guest-path", &api.CreateSandboxRequest{SandboxId: "s", Storages: []*api.Storage{
			{Driver: "local", Source: "/etc", MountPoint: "/run/x"},
		}}, "storages"},
		{"storage-at-another-path", &api.CreateSandboxRequest{SandboxId: "s", Storages: []*api.Storage{
			{Driver: "ephemeral", Source: "shm", Fstype: "tmpfs", MountPoint: "/etc"},
		}}, "storages"},
		{"host-name-with-newline", &api.CreateSandboxRequest{SandboxId: "s", Hostname: "a\n127.0.0.1 bank"}, "hostname"},
		{"dns-with-options", &api.CreateSandboxRequest{SandboxId: "s", Dns: []string{"10.0.2.3\noptions debug"}}, "dns"},
		{"dns-on-loopback", &api.CreateSandboxRequest{SandboxId: "s", Dns: []string{"127.0.0.1"}}, "dns"},
		{"id-with-dots", &api.CreateSandboxRequest{SandboxId: "../x"}, "id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Client().CreateSandbox(m.ctx, c.request)
			wantCode(t, err, codes.InvalidArgument, c.word)
		})
	}
	m.open()
}

func TestTamperedNetwork(t *testing.T) {
	m := shared(t)
	address := func(a string) *api.Interface {
		return &api.Interface{
			Name: "eth0", Device: "eth0", HwAddr: "52:54:00:c1:01:5e", Mtu: 1500,
			IPAddresses: []*api.IPAddress{{Address: a, Mask: "24"}},
		}
	}
	for name, i := range map[string]*api.Interface{
		"loopback-address": address("127.0.0.5"), "metadata-address": address("169.254.169.254"), "multicast-address": address("224.0.0.1"),
		"loopback-device": {Name: "lo", Device: "lo", IPAddresses: []*api.IPAddress{{Address: "10.1.1.1", Mask: "24"}}},
		"other-name":      {Name: "tun0", Device: "tun0", HwAddr: "52:54:00:c1:01:5e"},
		"no-device":       {Name: "eth0", Device: "eth0", HwAddr: "52:54:00:00:00:01"},
	} {
		t.Run("interface-"+name, func(t *testing.T) {
			if _, err := m.Client().UpdateInterface(m.ctx, &api.UpdateInterfaceRequest{Interface: i}); err == nil {
				t.Error("got nil, want a refusal")
			}
		})
	}
	for name, r := range map[string]*api.Route{
		"loopback": {Dest: "127.0.0.0/8", Device: "eth0"}, "inside-loopback": {Dest: "127.1.0.0/16", Gateway: "10.0.2.2", Device: "eth0"},
		"through-lo": {Dest: "10.9.0.0/16", Device: "lo"},
	} {
		t.Run("route-"+name, func(t *testing.T) {
			if _, err := m.Client().UpdateRoutes(m.ctx, &api.UpdateRoutesRequest{Routes: &api.Routes{Routes: []*api.Route{r}}}); err == nil {
				t.Error("got nil, want a refusal")
			}
		})
	}
	_, err := m.Client().AddARPNeighbors(m.ctx, &api.AddARPNeighborsRequest{Neighbors: &api.ARPNeighbors{ARPNeighbors: []*api.ARPNeighbor{
		{ToIPAddress: &api.IPAddress{Address: "127.0.0.1"}, Device: "eth0", Lladdr: "52:54:00:00:00:01"},
	}}})
	if err == nil {
		t.Error("a neighbour for 127.0.0.1: got nil, want a refusal")
	}
}

func TestTamperedCopyFile(t *testing.T) {
	m := shared(t)
	copyFile := func(r *api.CopyFileRequest) error {
		_, err := m.Client().CopyFile(m.ctx, r)
		return err
	}
	const regular, directory, link = 0o100644, 0o040755, 0o120777
	prefix := sharedPrefix + strings.Repeat("d", 16) + "-"
	for _, r := range []*api.CopyFileRequest{
		{Path: prefix + "dir", FileMode: directory, DirMode: 0o755},
		{Path: prefix + "dir/file", FileMode: regular, DirMode: 0o755, FileSize: 4, Data: []byte("good")},
		{Path: prefix + "empty", FileMode: regular, DirMode: 0o755, FileSize: 4},
	} {
		if err := copyFile(r); err != nil {
			t.Errorf("honest copy of %q: %v", r.Path, err)
		}
	}
	// A link that is planted first, to be written through next.
	if err := copyFile(&api.CopyFileRequest{Path: prefix + "dir/link", FileMode: link, Data: []byte("../../../../../../etc")}); err == nil {
		t.Error("a link out of its entry: got nil, want a refusal")
	}
	if err := copyFile(&api.CopyFileRequest{Path: prefix + "dir/inside", FileMode: link, Data: []byte("file")}); err != nil {
		t.Errorf("a link inside its entry: %v", err)
	}
	if err := copyFile(&api.CopyFileRequest{Path: prefix + "dir/inside/x", FileMode: regular, FileSize: 1, Data: []byte("x")}); err == nil {
		t.Error("writing through a link: got nil, want a refusal")
	}
	for name, r := range map[string]*api.CopyFileRequest{
		"upwards":         {Path: sharedPrefix + "../../../etc/passwd", FileMode: regular, FileSize: 1, Data: []byte("x")},
		"elsewhere":       {Path: "/etc/passwd", FileMode: regular, FileSize: 1, Data: []byte("x")},
		"beside-the-tree": {Path: "/run/kata-containers/shared/foo", FileMode: regular, FileSize: 1, Data: []byte("x")},
		"relative":        {Path: "etc/passwd", FileMode: regular, FileSize: 1, Data: []byte("x")},
		"the-tree-itself": {Path: sharedPrefix, FileMode: directory},
		"absolute-link":   {Path: prefix + "dir/abs", FileMode: link, Data: []byte("/etc/passwd")},
		"device":          {Path: prefix + "dev", FileMode: 0o060600},
		"huge":            {Path: prefix + "huge", FileMode: regular, FileSize: 1 << 40, Data: []byte("x")},
		"offset-beyond":   {Path: prefix + "off", FileMode: regular, FileSize: 4, Offset: 1 << 40, Data: []byte("x")},
		"negative":        {Path: prefix + "neg", FileMode: regular, FileSize: -1, Offset: -1, Data: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			if err := copyFile(r); err == nil {
				t.Error("got nil, want a refusal")
			}
		})
	}
}

func TestMethodsThatAreNeverAllowed(t *testing.T) {
	m := shared(t)
	for method, code := range map[string]codes.Code{
		"grpc.AgentService/SetGuestDateTime":      codes.PermissionDenied,
		"grpc.AgentService/ReseedRandomDev":       codes.PermissionDenied,
		"grpc.AgentService/AddSwap":               codes.PermissionDenied,
		"grpc.AgentService/SetIPTables":           codes.PermissionDenied,
		"grpc.AgentService/UpdateEphemeralMounts": codes.PermissionDenied,
		"grpc.AgentService/NoSuchMethod":          codes.Unimplemented,
		"no.such.Service/Method":                  codes.Unimplemented,
	} {
		t.Run(method, func(t *testing.T) {
			wantCode(t, call(m.ctx, m.Client(), method), code)
		})
	}
}
