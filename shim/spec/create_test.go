package spec

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
)

func mountAt(r *api.CreateContainerRequest, destination string) *api.Mount {
	for _, m := range r.OCI.Mounts {
		if m.Destination == destination {
			return m
		}
	}
	return nil
}

func TestCreateKubeletContainer(t *testing.T) {
	in := input(t, "kubelet-container.json")
	in.Storages = []*api.Storage{{Driver: "overlayfs"}}
	got, notes := create(t, in)
	if got.ContainerId != "one" || got.ExecId != "one" || len(got.Storages) != 1 || got.OCI.Root.Path != "/run/kata-containers/one/rootfs" {
		t.Errorf("got container %q, exec %q, %d storages, root %q", got.ContainerId, got.ExecId, len(got.Storages), got.OCI.Root.Path)
	}
	for destination, want := range map[string]string{
		"/cache":               "sandbox:///emptydir/cache",
		"/etc/config":          "/run/kata-containers/shared/containers/one-0011223344556677-_etc_config",
		"/etc/hosts":           "/run/kata-containers/shared/containers/one-0011223344556677-_etc_hosts",
		"/dev/termination-log": "/run/kata-containers/shared/containers/one-0011223344556677-_dev_termination-log",
		"/dev/shm":             "/run/kata-containers/sandbox/shm",
		"/etc/hostname":        "",
		"/etc/resolv.conf":     "",
	} {
		switch m := mountAt(got, destination); {
		case want == "" && m != nil:
			t.Errorf("%s: got source %q, want no such mount", destination, m.Source)
		case want != "" && (m == nil || m.Source != want):
			t.Errorf("%s: got %v, want source %q", destination, m, want)
		}
	}
	want := map[string]string{
		annotationType: "container", annotationSandboxID: "pod", annotationName: "web", annotationPod: "web-7d4b9", annotationNamespace: "shop",
		annotationImage: "docker.io/library/web:1",
	}
	if !maps.Equal(got.OCI.Annotations, want) {
		t.Errorf("got annotations %v, want %v", got.OCI.Annotations, want)
	}
	if got.OCI.Linux.CgroupsPath != "" || got.OCI.Process.ApparmorProfile != "" || len(got.OCI.Linux.Resources.Devices) != 0 || len(got.OCI.Linux.Resources.HugepageLimits) != 0 {
		t.Errorf("something of the host was sent: %v", got.OCI)
	}
	if got.OCI.Linux.Resources.Memory.Limit != 128<<20 || got.OCI.Linux.Resources.CPU.Quota != 50000 {
		t.Errorf("got limits %v", got.OCI.Linux.Resources)
	}
	parsed, err := container.Parse(got.OCI)
	if err != nil {
		t.Fatalf("the agent does not take the form: %v", err)
	}
	if parsed.Privileged || parsed.IsSandbox || parsed.SandboxID != "pod" {
		t.Errorf("the agent reads %+v", parsed)
	}
	if len(notes) != 1 || notes[0].Field != "Linux.Resources.Unified" {
		t.Errorf("got notes %v, want the one of the unified limits", notes)
	}
}

func TestCreateSandboxContainer(t *testing.T) {
	in := Input{Spec: load(t, "kubelet-sandbox.json"), Sandbox: true, SandboxID: "pod", ContainerID: "pod", Storages: []*api.Storage{{}}}
	got, _ := create(t, in)
	parsed, err := container.Parse(got.OCI)
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.IsSandbox || parsed.SandboxID != "pod" || len(got.Storages) != 0 {
		t.Errorf("got %+v with %d storages, want the built-in pause", parsed, len(got.Storages))
	}
	if !IsSandbox(in.Spec) || SandboxID(in.Spec) == "" {
		t.Error("the sandbox container is not known by its annotation")
	}
}

func TestCreateCtr(t *testing.T) {
	in := input(t, "ctr.json")
	got, notes := create(t, in)
	parsed, err := container.Parse(got.OCI)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.SandboxID != "pod" || len(notes) != 0 || IsSandbox(in.Spec) || SandboxID(in.Spec) != "" {
		t.Errorf("got %+v and notes %v", parsed, notes)
	}
}

func TestCreateDoesNotChangeTheSpecification(t *testing.T) {
	in := input(t, "kubelet-container.json")
	in.Spec.Mounts[6].Options = []string{"rbind", "rprivate", "rro"}
	before := fmt.Sprintf("%+v", in.Spec)
	got, _ := create(t, in)
	if after := fmt.Sprintf("%+v", in.Spec); after != before {
		t.Errorf("got %s, want %s", after, before)
	}
	if m := mountAt(got, "/cache"); !slices.Equal(m.Options, []string{"rbind", "rprivate", "ro"}) {
		t.Errorf("got options %v", m.Options)
	}
}

func TestCreatePrivileged(t *testing.T) {
	cases := []struct {
		name   string
		change func(*specs.Spec)
		want   bool
	}{
		{"as-it-is", func(*specs.Spec) {}, false},
		{"annotation", func(s *specs.Spec) { s.Annotations[annotationPrivileged] = "true" }, true},
		{"annotation-says-no", func(s *specs.Spec) { unmask(s); s.Linux.Devices = nil; s.Annotations[annotationPrivileged] = "false" }, false},
		{"cri", unmask, true},
		{"unmasked-proc", func(s *specs.Spec) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = []string{}, []string{} }, false},
		{"writable-cgroup", func(s *specs.Spec) {
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
			s.Mounts[5].Options[4] = "rw"
		}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := input(t, "kubelet-container.json")
			c.change(in.Spec)
			got, _ := create(t, in)
			parsed, err := container.Parse(got.OCI)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Privileged != c.want {
				t.Errorf("the agent reads privileged %t, want %t", parsed.Privileged, c.want)
			}
		})
	}
}

// unmask does what containerd does for a privileged container, with the devices of the host.
func unmask(s *specs.Spec) {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	s.Mounts[4].Options[3], s.Mounts[5].Options[4] = "rw", "rw"
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c"}}
}

func TestCreateRefuses(t *testing.T) {
	pods := "/var/lib/kubelet/pods/0f6a3c9e-5c1d-4b8e-9d1a-2b7c4e5f6a70/"
	bind := func(source string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: source, Options: []string{"rbind", "rprivate", "rw"}})
		}
	}
	without := func(kind specs.LinuxNamespaceType) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
		}
	}
	cases := map[string]struct {
		change func(*specs.Spec)
		want   string
	}{
		"host-path":      {bind("/etc"), "hostPath"},
		"another-pod":    {bind("/var/lib/kubelet/pods/11111111-0000-0000-0000-000000000000/volumes/kubernetes.io~secret/keys"), "another pod's"},
		"csi":            {bind(pods + "volumes/kubernetes.io~csi/pv/mount"), "kubernetes.io/csi"},
		"nfs":            {bind(pods + "volumes/kubernetes.io~nfs/pv"), "kubernetes.io/nfs"},
		"pods-directory": {bind(pods + "plugins/x"), "hostPath"},
		"volumes-itself": {bind(pods + "volumes"), "none of kubelet's"},
		"emptydir-sub":   {bind(pods + "volumes/kubernetes.io~empty-dir/cache/sub"), "subPath"},
		"unknown-sub":    {bind(pods + "volume-subpaths/cache/web/0"), "subPath"},
		"host-network":   {without(specs.NetworkNamespace), "hostNetwork"},
		"host-pid":       {without(specs.PIDNamespace), "hostPID"},
		"host-ipc":       {without(specs.IPCNamespace), "hostIPC"},
		"user-namespace": {func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}, "user namespaces"},
		"device":         {func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c"}} }, "/dev/fuse"},
		"cdi":            {func(s *specs.Spec) { s.Annotations["cdi.k8s.io/x"] = "vendor.com/gpu=0" }, "devices of the host"},
		"hook":           {func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/x"}}} }, "Hooks"},
		"sysctl":         {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.shm_rmid_forced": "1"} }, "kernel.shm_rmid_forced"},
		"sysctl-value":   {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0\nx"} }, "want numbers"},
		"mount-type":     {func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/n", Type: "nfs"}) }, "type nfs"},
		"mount-mapping":  {func(s *specs.Spec) { s.Mounts[6].UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }, "id mappings"},
		"grant":          {func(s *specs.Spec) { s.Annotations[annotationGrants+"web"] = "keys" }, "not known"},
		"seccomp-errno":  {func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultErrnoRet: ptr(uint(1))} }, "DefaultErrnoRet"},
		"seccomp-listen": {func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{ListenerPath: "/x"} }, "ListenerPath"},
		"windows":        {func(s *specs.Spec) { s.Windows = &specs.Windows{} }, "platform"},
		"no-process":     {func(s *specs.Spec) { s.Process = nil }, "Process"},
		"no-args":        {func(s *specs.Spec) { s.Process.Args = nil }, "Args"},
		"not-copied-file": {func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/late", Type: "bind", Source: pods + "volumes/kubernetes.io~secret/k"})
		}, "not copied"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(t, "kubelet-container.json")
			c.change(in.Spec)
			_, _, err := Create(in)
			var re *RefusedError
			if !errors.As(err, &re) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal that names %q", err, c.want)
			}
		})
	}
}

func TestCreateSharedProcesses(t *testing.T) {
	in := input(t, "kubelet-container.json")
	in.Spec.Linux.Namespaces[0].Path = "/proc/4711/ns/pid"
	_, notes := create(t, in)
	if !slices.ContainsFunc(notes, func(n Note) bool { return n.Field == "Linux.Namespaces[pid]" }) {
		t.Errorf("got notes %v, want one of the namespace", notes)
	}
}

func TestCreateImageVolume(t *testing.T) {
	in := input(t, "kubelet-container.json")
	source := "/var/lib/containerd/io.containerd.grpc.v1.cri/containers/" + strings.Repeat("a", 64) + "/volumes/" + strings.Repeat("b", 64)
	in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: source, Options: []string{"rbind"}})
	got, notes := create(t, in)
	if mountAt(got, "/data") != nil || !slices.ContainsFunc(notes, func(n Note) bool { return n.Field == "Mounts[/data]" }) {
		t.Errorf("got mount %v and notes %v", mountAt(got, "/data"), notes)
	}
}

func TestCreateSubPathOfConfigMap(t *testing.T) {
	pod := filepath.Join(t.TempDir(), "pods", "0f6a3c9e-5c1d-4b8e-9d1a-2b7c4e5f6a70")
	if err := os.MkdirAll(pod+"/volumes/kubernetes.io~configmap/settings", 0o755); err != nil {
		t.Fatal(err)
	}
	m := specs.Mount{Destination: "/etc/app.conf", Type: "bind", Source: pod + "/volume-subpaths/settings/web/0"}
	if v := VolumeOf(m, nil); v.Kind != Copy || v.Name != "settings" || v.Own {
		t.Errorf("got %+v, want a copy of settings", v)
	}
}

func TestCreateGrant(t *testing.T) {
	in := input(t, "kubelet-container.json")
	in.Spec.Annotations[annotationGrants+"web"] = "attest"
	in.Spec.Annotations[annotationGrants+"other"] = "nothing"
	got, _ := create(t, in)
	if m := mountAt(got, "/run/cloister/attest"); m == nil || m.Source != "cloister://attest" {
		t.Errorf("got %v, want the grant", m)
	}
}

func TestCreateSysctlOfPod(t *testing.T) {
	sysctl, err := PodSysctl(load(t, "kubelet-sandbox.json"))
	if err != nil || len(sysctl) != 2 {
		t.Fatalf("got %v and %v", sysctl, err)
	}
	in := input(t, "kubelet-container.json")
	in.Sysctl = sysctl
	got, _ := create(t, in)
	if !maps.Equal(got.OCI.Linux.Sysctl, sysctl) {
		t.Errorf("got %v, want %v", got.OCI.Linux.Sysctl, sysctl)
	}
}

// runtimeDefault has the shape of containerd's profile.
func runtimeDefault() *specs.LinuxSeccomp {
	names := []string{"execve", "epoll_wait"}
	for i := range 300 {
		names = append(names, fmt.Sprintf("call%d", i))
	}
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}},
	}
	for _, v := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Value: v, Op: specs.OpEqualTo}},
		})
	}
	enosys := uint(38)
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return p
}

func TestCreateSeccomp(t *testing.T) {
	localhost := runtimeDefault()
	localhost.DefaultErrnoRet = nil
	localhost.Syscalls = localhost.Syscalls[:4]
	for name, c := range map[string]struct {
		profile *specs.LinuxSeccomp
		keep    bool
		want    bool
	}{
		"none":            {nil, false, false},
		"runtime-default": {runtimeDefault(), false, false},
		"named-by-policy": {runtimeDefault(), true, true},
		"localhost":       {localhost, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, "kubelet-container.json")
			in.Spec.Linux.Seccomp, in.KeepSeccomp = c.profile, c.keep
			got, notes := create(t, in)
			if sent := got.OCI.Linux.Seccomp != nil; sent != c.want {
				t.Fatalf("the profile was sent: %t, want %t", sent, c.want)
			}
			dropped := slices.ContainsFunc(notes, func(n Note) bool { return n.Field == "Linux.Seccomp" })
			if dropped != (c.profile != nil && !c.want) {
				t.Errorf("got notes %v", notes)
			}
			if !c.want {
				return
			}
			parsed, err := container.Parse(got.OCI)
			if err != nil {
				t.Fatal(err)
			}
			mine, _ := container.SeccompSHA256(c.profile)
			if theirs, _ := container.SeccompSHA256(parsed.Seccomp); theirs != mine {
				t.Errorf("the agent's digest is %s, the profile's %s", theirs, mine)
			}
		})
	}
}

func TestSandbox(t *testing.T) {
	s := load(t, "kubelet-sandbox.json")
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\nnameserver 127.0.0.53\n# x\noptions ndots:5 no-such-option edns0\nsortlist 1.2.3.4\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Mounts[len(s.Mounts)-1].Source = file
	got, notes, err := Sandbox("pod", s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"search shop.svc.cluster.local svc.cluster.local", "nameserver 10.96.0.10", "options ndots:5 edns0"}
	if got.SandboxId != "pod" || got.Hostname != "web-7d4b9" || !slices.Equal(got.Dns, want) || len(got.Storages) != 0 {
		t.Errorf("got %v, want dns %q", got, want)
	}
	if len(notes) != 3 {
		t.Errorf("got notes %v, want one each of the loopback server, the option and the sortlist", notes)
	}
}

func TestSandboxRefuses(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxResolv+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*specs.Spec){
		"big-resolv":   func(s *specs.Spec) { s.Mounts[len(s.Mounts)-1].Source = big },
		"directory":    func(s *specs.Spec) { s.Mounts[len(s.Mounts)-1].Source = dir },
		"hostname":     func(s *specs.Spec) { s.Hostname = "a b" },
		"host-network": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:4] },
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t, "kubelet-sandbox.json")
			s.Mounts[len(s.Mounts)-1].Source = os.DevNull + ".none"
			change(s)
			if _, _, err := Sandbox("pod", s); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestResources(t *testing.T) {
	got, err := Resources(&specs.LinuxResources{
		Memory:         &specs.LinuxMemory{Swap: ptr(int64(5))},
		CPU:            &specs.LinuxCPU{Cpus: "2-3", Shares: ptr(uint64(7))},
		Pids:           &specs.LinuxPids{Limit: ptr(int64(100))},
		Devices:        []specs.LinuxDeviceCgroup{{}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "1GB"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Memory != nil || got.CPU.Cpus != "" || got.CPU.Shares != 7 || got.Pids.Limit != 100 || got.HugepageLimits != nil {
		t.Errorf("got %v", got)
	}
	if _, err := container.ParseResources(got, false); err != nil {
		t.Errorf("the agent refuses it as an update: %v", err)
	}
}

func TestProcess(t *testing.T) {
	score := -997
	got, err := Process(&specs.Process{Args: []string{"a"}, Cwd: "/", OOMScoreAdj: &score, ConsoleSize: &specs.Box{Height: 1 << 20, Width: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := container.ParseProcess(got); err != nil || got.OOMScoreAdj != 0 || got.ConsoleSize.Height != 65535 {
		t.Errorf("got %v and %v", got, err)
	}
}
