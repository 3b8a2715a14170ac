package nodecheck

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	versions "github.com/containerd/containerd/api/services/version/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a node of files below a directory.
func host(t *testing.T, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Host{Root: root, Node: node.Default()}
}

func want(t *testing.T, f Finding, level Level, texts ...string) {
	t.Helper()
	whole := strings.Join([]string{f.Got, f.Follows, f.Next}, "\n")
	if f.Level != level {
		t.Errorf("got level %s, want %s: %s", f.Level, level, whole)
	}
	for _, text := range texts {
		if !strings.Contains(whole, text) {
			t.Errorf("got %q, want %q in it", whole, text)
		}
	}
	if f.Level == Fail && (f.Follows == "" || f.Next == "") {
		t.Errorf("a failure without what follows, or without a next step: %+v", f)
	}
}

func TestSNP(t *testing.T) {
	ctx := context.Background()
	const device, parameter = "/dev/sev", "/sys/module/kvm_amd/parameters/sev_snp"
	want(t, host(t, map[string]string{device: "", parameter: "Y\n"}).snp(ctx), OK)
	want(t, host(t, map[string]string{device: "", parameter: "N\n"}).snp(ctx), Fail, `sev_snp is "N"`)
	want(t, host(t, map[string]string{device: ""}).snp(ctx), Fail, "not there")
	want(t, host(t, nil).snp(ctx), Fail, "no /dev/sev", "tee")
	h := host(t, map[string]string{device: "", parameter: "1\n"})
	h.Node.TEE = vm.TEENone
	want(t, h.snp(ctx), Warn, "without the hardware's protection")
	h = host(t, nil)
	h.Node.TEE = vm.TEEEmulated
	want(t, h.snp(ctx), Warn, "the host can read them")
	h.Node.TEE = vm.TEENone
	want(t, h.snp(ctx), Fail, "binds no policy")
}

func TestFiles(t *testing.T) {
	ctx := context.Background()
	empty := host(t, nil)
	want(t, empty.kvm(ctx), Fail, "no /dev/kvm")
	want(t, empty.firmware(ctx), Fail, "AmdSev")
	want(t, empty.guest(ctx), Fail, "cloister guest build")
	want(t, empty.vsock(ctx), Note, "virtio-serial")
	want(t, empty.network(ctx), Fail, "modprobe tun")
	want(t, empty.cgroups(ctx), Fail, "/sys/fs/cgroup")
	want(t, empty.policy(ctx), OK, "refused")
	want(t, empty.user(ctx), Warn, "vmm_user", "is root", "not from files", "1900000000")

	full := host(t, map[string]string{
		"/dev/kvm": "", "/dev/net/tun": "", "/dev/vhost-vsock": "", "/ovmf.fd": "", "/default.rego": "", "/etc/passwd": "root:x:0:0::/:/bin/sh\nqemu:x:64055:1::/:/bin/false\n",
		"/opt/cloister/guest/vmlinuz": "k", "/opt/cloister/guest/initrd.img": "i", "/opt/cloister/guest/cmdline": "c\n", "/proc/filesystems": "nodev\tsysfs\n\terofs\n",
		"/sys/fs/cgroup/unified/x": "",
	})
	full.Node.Firmware = "/ovmf.fd"
	want(t, full.kvm(ctx), OK)
	want(t, full.firmware(ctx), OK)
	want(t, full.guest(ctx), OK, "vmlinuz sha256:8254c329a92850f6", "cloister measure")
	want(t, full.vsock(ctx), OK)
	want(t, full.network(ctx), OK)
	want(t, full.cgroups(ctx), Note, "hybrid")
	want(t, full.erofs(ctx), Note, "has it")
	full.Node.VMMUser = 64055
	want(t, full.user(ctx), Note, "the account qemu")
	full.Node.VMMUser = 64056
	want(t, full.user(ctx), OK, "every other pod")
	full.Node.DefaultPolicy = "/default.rego"
	want(t, full.policy(ctx), Warn, "outside of trials")
	full.Node.DefaultPolicy = "/gone.rego"
	want(t, full.policy(ctx), Fail)
	full.Node.Accel = "tcg"
	want(t, full.kvm(ctx), Note)
	if !Usable([]Finding{{Level: Warn}, {Level: OK}}) || Usable([]Finding{{Level: OK}, {Level: Fail}}) {
		t.Error("only a failure makes a node unusable")
	}
}

func TestNetworkOfThisMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	before, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{Node: node.Default()}
	want(t, h.network(t.Context()), OK, "mirred")
	after, err := net.Interfaces()
	if err != nil || len(after) != len(before) {
		t.Errorf("got %d interfaces afterwards, %v, want %d", len(after), err, len(before))
	}
}

// fakeContainerd answers as containerd does.
type fakeContainerd struct {
	versions.UnimplementedVersionServer
	introspection.UnimplementedIntrospectionServer
	plugins []*introspection.Plugin
}

func (f *fakeContainerd) Version(context.Context, *emptypb.Empty) (*versions.VersionResponse, error) {
	return &versions.VersionResponse{Version: "v2.4.2"}, nil
}

func (f *fakeContainerd) Plugins(context.Context, *introspection.PluginsRequest) (*introspection.PluginsResponse, error) {
	return &introspection.PluginsResponse{Plugins: f.plugins}, nil
}

func TestContainerdPlugins(t *testing.T) {
	plugin := func(kind, id string, err string) *introspection.Plugin {
		p := &introspection.Plugin{Type: kind, ID: id}
		if err != "" {
			p.InitErr = status.New(codes.Unknown, err).Proto()
		}
		return p
	}
	snapshot, diff := plugin("io.containerd.snapshotter.v1", "cloister", ""), plugin("io.containerd.differ.v1", "cloister-diff", "")
	cri := plugin("io.containerd.grpc.v1", "cri", "")
	for _, tc := range []struct {
		name    string
		plugins []*introspection.Plugin
		level   Level
		text    string
	}{
		{"whole", []*introspection.Plugin{snapshot, diff, cri}, OK, "v2.4.2"},
		{"no-snapshotter", []*introspection.Plugin{diff, cri}, Fail, "has not loaded the snapshotter"},
		{"no-differ", []*introspection.Plugin{snapshot, cri}, Fail, "cloister node install"},
		{"differ-failed", []*introspection.Plugin{snapshot, plugin("io.containerd.differ.v1", "cloister-diff", "no\nsocket"), cri}, Fail, "no socket"},
		{"no-cri", []*introspection.Plugin{snapshot, diff}, Warn, "Kubernetes does not"},
		{"cri-failed", []*introspection.Plugin{snapshot, diff, plugin("io.containerd.grpc.v1", "cri", "cni")}, Warn, "ctr works"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "c.sock")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			srv, fake := grpc.NewServer(), &fakeContainerd{plugins: tc.plugins}
			versions.RegisterVersionServer(srv, fake)
			introspection.RegisterIntrospectionServer(srv, fake)
			done := make(chan struct{})
			go func() { defer close(done); _ = srv.Serve(l) }()
			defer func() { srv.Stop(); <-done }()
			h := &Host{Node: node.Default(), Containerd: socket}
			want(t, h.containerd(t.Context()), tc.level, tc.text)
			// It is no snapshotter: a server that knows nothing of snapshots does not pass for one.
			h.Node.Snapshotter = socket
			want(t, h.snapshotter(t.Context()), Fail, "unknown service")
		})
	}
}

func TestNothingListens(t *testing.T) {
	h := &Host{Node: node.Default(), Containerd: filepath.Join(t.TempDir(), "none"), Shim: "no-such-shim"}
	h.Node.Snapshotter = h.Containerd
	want(t, h.containerd(t.Context()), Fail, "no such file")
	want(t, h.snapshotter(t.Context()), Fail, "no such file")
	want(t, h.shim(t.Context()), Fail, "PATH")
}
