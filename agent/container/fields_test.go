package container

import (
	"errors"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestEveryFieldHasAFate(t *testing.T) {
	known := map[string]bool{}
	for _, m := range []protoreflect.ProtoMessage{&api.Spec{}, &api.Process{}, &api.Root{}, &api.Linux{}, &api.LinuxResources{}} {
		d := m.ProtoReflect().Descriptor()
		for i := range d.Fields().Len() {
			name := string(d.Name()) + "." + string(d.Fields().Get(i).Name())
			known[name] = true
			if fields[name] == "" {
				t.Errorf("%s has no entry in the table", name)
			}
		}
	}
	for name := range fields {
		if !known[name] {
			t.Errorf("the table names %s, which no message has", name)
		}
	}
}

func spec() *api.Spec {
	return &api.Spec{
		Process: &api.Process{Args: []string{"/bin/true"}, Cwd: "/", User: &api.User{}},
		Root:    &api.Root{Path: "/run/kata-containers/c/rootfs"},
		Linux:   &api.Linux{MaskedPaths: []string{"/proc/kcore"}},
	}
}

func TestParseRefuses(t *testing.T) {
	if _, err := Parse(spec()); err != nil {
		t.Fatalf("a plain spec: got %v, want accepted", err)
	}
	for _, tc := range []struct {
		name  string
		spoil func(*api.Spec)
		field string
	}{
		{"no-process", func(s *api.Spec) { s.Process = nil }, "OCI.Process"},
		{"no-root", func(s *api.Spec) { s.Root = nil }, "OCI.Root"},
		{"no-linux", func(s *api.Spec) { s.Linux = nil }, "OCI.Linux"},
		{"hook", func(s *api.Spec) { s.Hooks = &api.Hooks{StartContainer: []*api.Hook{{Path: "/bin/sh"}}} }, "OCI.Hooks"},
		{"device", func(s *api.Spec) { s.Linux.Devices = []*api.LinuxDevice{{Path: "/dev/sda"}} }, "OCI.Linux.Devices"},
		{"uid-mapping", func(s *api.Spec) { s.Linux.UIDMappings = []*api.LinuxIDMapping{{Size: 1}} }, "OCI.Linux.UIDMappings"},
		{"windows", func(s *api.Spec) { s.Windows = &api.Windows{} }, "OCI.Windows"},
		{"sysctl", func(s *api.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "|/x"} }, "OCI.Linux.Sysctl"},
		{"sysctl-value", func(s *api.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0\nkernel.x=1"}
		}, "OCI.Linux.Sysctl"},
		{"relative-cwd", func(s *api.Spec) { s.Process.Cwd = "x" }, "Process.Cwd"},
		{"dotdot-cwd", func(s *api.Spec) { s.Process.Cwd = "/a/../../b" }, "Process.Cwd"},
		{"dotdot-mount", func(s *api.Spec) { s.Mounts = []*api.Mount{{Destination: "/a/../proc"}} }, "OCI.Mounts.destination"},
		{"mount-over-root", func(s *api.Spec) { s.Mounts = []*api.Mount{{Destination: "/"}} }, "OCI.Mounts.destination"},
		{"nil-mount", func(s *api.Spec) { s.Mounts = []*api.Mount{nil} }, "OCI.Mounts"},
		{"env-two-values", func(s *api.Spec) { s.Process.Env = []string{"MODE=safe", "A=1", "MODE=other"} }, "Process.Env"},
		{"env-without-name", func(s *api.Spec) { s.Process.Env = []string{"=x"} }, "Process.Env"},
		{"zero-byte", func(s *api.Spec) { s.Process.Args = []string{"a\x00b"} }, "Process.Args"},
		{"no-args", func(s *api.Spec) { s.Process.Args = nil }, "Process.Args"},
		{"oom-score", func(s *api.Spec) { s.Process.OOMScoreAdj = -998 }, "Process.OOMScoreAdj"},
		{"hostname", func(s *api.Spec) { s.Hostname = "a\n127.0.0.1 b" }, "OCI.Hostname"},
		{"type", func(s *api.Spec) { s.Annotations = map[string]string{AnnotationType: "Sandbox"} }, "OCI.Annotations"},
		{"capability", func(s *api.Spec) { s.Process.Capabilities = &api.LinuxCapabilities{Bounding: []string{"ALL"}} }, "Process.Capabilities"},
		{"pids", func(s *api.Spec) { s.Linux.Resources = &api.LinuxResources{Pids: &api.LinuxPids{Limit: -2}} }, "resources.Pids"},
		{"oom-killer", func(s *api.Spec) {
			s.Linux.Resources = &api.LinuxResources{Memory: &api.LinuxMemory{DisableOOMKiller: true}}
		}, "resources.Memory"},
		{"seccomp-name", func(s *api.Spec) { s.Linux.Seccomp = &api.LinuxSeccomp{DefaultAction: "SCMP ACT"} }, "OCI.Linux.Seccomp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := spec()
			tc.spoil(s)
			_, err := Parse(s)
			var fe *FormError
			if !errors.As(err, &fe) || !strings.HasPrefix(fe.Field, tc.field) {
				t.Fatalf("got %v, want a refusal of %s", err, tc.field)
			}
		})
	}
}

// The hash of a profile is part of policies that exist: it must never change.
func TestSeccompHashIsPinned(t *testing.T) {
	p, err := parseSeccomp(&api.LinuxSeccomp{
		DefaultAction: "SCMP_ACT_ERRNO", Architectures: []string{"SCMP_ARCH_X86_64"},
		Syscalls: []*api.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: "SCMP_ACT_ALLOW"},
			{Names: []string{"clone"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: &api.LinuxSyscall_Errnoret{Errnoret: 38}, Args: []*api.LinuxSeccompArg{{Index: 1, Value: 2, Op: "SCMP_CMP_EQ"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := SeccompSHA256(p)
	if err != nil {
		t.Fatal(err)
	}
	const want = "7ea03c05b2caafadd81c4b9c5433d83e8c055a5344e835341239563a688debe3"
	if got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	if got, _ := SeccompSHA256(nil); got != "" {
		t.Fatalf("no profile: got %q, want nothing", got)
	}
}

func TestSplitMountsReplacesWhatRuntimesDriftIn(t *testing.T) {
	asked := []specs.Mount{
		mount("/proc", "proc", "proc", "weird"),
		mount("/sys", "sysfs", "sysfs", "rw"),
		mount("/data", "bind", "sandbox://x", "rw"),
		mount("/run", "tmpfs", "tmpfs", "exec"),
		mount("/proc", "bind", "/etc", "ro"), // not proc: judged, and refused by source
	}
	fixed, own := SplitMounts(asked, false)
	if len(own) != 2 || own[0].Destination != "/data" || own[1].Type != "bind" {
		t.Fatalf("own: got %v, want /data and the bind over /proc", own)
	}
	for _, m := range fixed {
		for _, o := range m.Options {
			if o == "weird" || o == "exec" || m.Destination == "/sys" && o == "rw" {
				t.Errorf("fixed mount %s kept the request's option %s", m.Destination, o)
			}
		}
	}
	if fixed, _ := SplitMounts(asked, true); !hasRW(fixed, "/sys") {
		t.Error("a privileged container that asks for a writable /sys did not get it")
	}
}

// A path the host could mask would be a file of the workload's made empty, and no policy is asked about it.
func TestHostMasksNothing(t *testing.T) {
	s := spec()
	s.Linux.MaskedPaths = []string{"/etc/app/acl.conf"}
	s.Linux.ReadonlyPaths = []string{"/var/lib/app"}
	r, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	out := (&Plan{Request: r}).Spec()
	if !slices.Equal(out.Linux.MaskedPaths, defaultMasked) || !slices.Equal(out.Linux.ReadonlyPaths, defaultReadonly) {
		t.Fatalf("got %v and %v, want the agent's own lists", out.Linux.MaskedPaths, out.Linux.ReadonlyPaths)
	}
	if fixed, _ := SplitMounts([]specs.Mount{mount("/run", "tmpfs", "tmpfs")}, false); slices.ContainsFunc(fixed, func(m specs.Mount) bool { return m.Destination == "/run" }) {
		t.Fatal("the host hides the image's /run")
	}
}

func hasRW(list []specs.Mount, dest string) bool {
	for _, m := range list {
		for _, o := range m.Options {
			if m.Destination == dest && o == "rw" {
				return true
			}
		}
	}
	return false
}
