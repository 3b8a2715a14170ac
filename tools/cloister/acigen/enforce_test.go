package acigen

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

const sandboxDir = "/run/gcs/c/" + "aa00000000000000000000000000000000000000000000000000000000000000" + "/sandboxMounts"

// sequence asks the enforcer what an agent would ask for one group, in its order.
type sequence struct {
	t       *testing.T
	e       *enforcer.Enforcer
	devices map[string]string // root hash to target
}

func load(t *testing.T, policy []byte) *sequence {
	t.Helper()
	e, err := enforcer.Load(t.Context(), policy, enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()})
	if err != nil {
		t.Fatal(err)
	}
	return &sequence{t: t, e: e, devices: map[string]string{}}
}

// decide asks, and commits what was allowed.
func (s *sequence) decide(in enforcer.Input) error {
	s.t.Helper()
	d, err := s.e.Decide(s.t.Context(), in)
	if err != nil {
		return err
	}
	if _, err := d.Commit(); err != nil {
		s.t.Fatal(err)
	}
	return nil
}

func (s *sequence) allow(in enforcer.Input) {
	s.t.Helper()
	if err := s.decide(in); err != nil {
		s.t.Fatalf("%s: %v", in.Point(), err)
	}
}

func (s *sequence) refuse(in enforcer.Input) {
	s.t.Helper()
	var denial *enforcer.Denial
	if err := s.decide(in); !errors.As(err, &denial) {
		s.t.Fatalf("%s: got %v, want a denial", in.Point(), err)
	}
}

// mount mounts a container's disks, each only once, and its overlay.
func (s *sequence) mount(c *Container, id string) {
	s.t.Helper()
	var topFirst []string
	for _, l := range slices.Backward(c.Layers) {
		if s.devices[l] == "" {
			s.devices[l] = fmt.Sprintf("/run/mounts/scsi/m%d", len(s.devices))
			s.allow(enforcer.MountDeviceInput{Target: s.devices[l], DeviceHash: l, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
		}
		topFirst = append(topFirst, s.devices[l])
	}
	s.allow(enforcer.ScratchMountInput{Target: "/run/gcs/c/" + id + "/scratch/" + id, Encrypted: true})
	s.allow(enforcer.MountOverlayInput{ContainerID: id, LayerPaths: topFirst, Target: "/run/gcs/c/" + id + "/rootfs"})
}

func containerID(i int) string { return fmt.Sprintf("%064x", 0xc000+i) }

// request is what a runtime that follows the document asks for. It is written down here and not read from the policy.
func request(id string) enforcer.CreateContainerInput {
	caps := []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT", "CAP_SYS_TIME",
	}
	return enforcer.CreateContainerInput{
		ContainerID: id, ArgList: []string{"/entry", "naïve"}, WorkingDir: "/srv", SandboxDir: sandboxDir,
		HugePagesDir: strings.Replace(sandboxDir, "sandboxMounts", "hugepages", 1), NoNewPrivileges: true,
		EnvList: []string{
			"PATH=/usr/local/bin:/bin", "LANG=C.UTF-8", "MODE=production", "TOKEN=hunter2", "ZONE=west", "LEVEL=high", "HOSTNAME=web", "TERM=xterm",
			"Fabric_Id=1", "FABRIC_NET=2", "TEMP=/t", "TMP=/t", "FabricPackageFileName=x", "HostedServiceName=x", "IDENTITY_API_VERSION=1",
			"IDENTITY_HEADER=x", "IDENTITY_SERVER_THUMBPRINT=x", "azurecontainerinstance_restarted_by=x",
		},
		User: enforcer.User{ID: "33", Name: "www-data"}, Groups: []enforcer.User{{ID: "70", Name: "app"}}, Umask: "0022",
		Capabilities:         enforcer.Capabilities{Bounding: caps, Effective: slices.Clone(caps), Permitted: slices.Clone(caps), Inheritable: []string{}, Ambient: []string{}},
		SeccompProfileSHA256: agentDigest,
		Mounts: []enforcer.Mount{
			{Destination: "/proc", Source: "proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Source: "sysfs", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/data", Source: sandboxDir + "/tmp/atlas/azureFileVolume/share-1", Type: "bind", Options: []string{"rbind", "rshared", "ro"}},
			{Destination: "/etc/resolv.conf", Source: sandboxDir + "/tmp/atlas/resolvconf/1", Type: "bind", Options: []string{"rbind", "rshared", "rw"}},
		},
	}
}

// pauseRequest is what a runtime asks for the container that holds the namespaces.
func pauseRequest(id string) enforcer.CreateContainerInput {
	caps := aci.UnprivilegedCapabilities()
	return enforcer.CreateContainerInput{
		ContainerID: id, ArgList: []string{"/pause"}, WorkingDir: "/", SandboxDir: sandboxDir,
		HugePagesDir: strings.Replace(sandboxDir, "sandboxMounts", "hugepages", 1), IsSandboxContainer: true,
		EnvList: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
		User:    enforcer.User{ID: "0", Name: "root"}, Groups: []enforcer.User{{ID: "0", Name: "root"}}, Umask: "0022",
		Capabilities: enforcer.Capabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: []string{}, Ambient: []string{}},
		Mounts:       []enforcer.Mount{},
	}
}

func TestGeneratedPolicyAllowsItsContainers(t *testing.T) {
	for _, level := range defaults.Levels() {
		for _, format := range []string{Ext4, EROFS, Both} {
			t.Run(level+"-"+format, func(t *testing.T) {
				p := mustGenerate(t, testGroup(), Options{Compat: level, Format: format})
				s := load(t, p.Rego(false))
				// With both formats the second entry of the application is the one with the other roots.
				apps := slices.DeleteFunc(slices.Clone(p.Containers), func(c Container) bool { return c.Name != "app" })
				for i := range apps {
					id := containerID(i)
					s.mount(&apps[i], id)
					in := request(id)
					s.allow(in)
					s.allow(enforcer.ExecInContainerInput{
						ContainerID: id, ArgList: []string{"/bin/live"}, EnvList: in.EnvList, WorkingDir: in.WorkingDir, NoNewPrivileges: true,
						User: in.User, Groups: in.Groups, Umask: in.Umask, Capabilities: in.Capabilities,
					})
					for _, signal := range []int{9, 15} {
						s.allow(enforcer.SignalContainerProcessInput{ContainerID: id, Signal: signal, IsInitProcess: true, ArgList: in.ArgList})
					}
					s.allow(enforcer.ShutdownContainerInput{ContainerID: id})
				}
				pause := containerID(99)
				s.mount(&p.Containers[len(p.Containers)-1], pause)
				s.allow(pauseRequest(pause))
				s.allow(enforcer.GetPropertiesInput{})
				s.refuse(enforcer.DumpStacksInput{})
				s.refuse(enforcer.RuntimeLoggingInput{})
			})
		}
	}
}

// TestGeneratedPolicyRefusesChangedContainer changes one field of an allowed request at a time, at every level. Variables and
// capabilities that are too many are dropped and not refused at these levels; that they do not reach the container is
// what is asked then.
func TestGeneratedPolicyRefusesChangedContainer(t *testing.T) {
	cases := []struct {
		name   string
		change func(*enforcer.CreateContainerInput)
	}{
		{"command-added", func(in *enforcer.CreateContainerInput) { in.ArgList = append(in.ArgList, "x") }},
		{"command-changed", func(in *enforcer.CreateContainerInput) { in.ArgList[1] = "naive" }},
		{"command-missing", func(in *enforcer.CreateContainerInput) { in.ArgList = in.ArgList[:1] }},
		{"required-variable-missing", func(in *enforcer.CreateContainerInput) { in.EnvList = slices.Delete(in.EnvList, 3, 4) }},
		{"required-variable-changed", func(in *enforcer.CreateContainerInput) { in.EnvList[3] = "TOKEN=other" }},
		{"working-dir", func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" }},
		{"user", func(in *enforcer.CreateContainerInput) { in.User.ID = "0" }},
		{"group", func(in *enforcer.CreateContainerInput) { in.Groups[0].ID = "0" }},
		{"group-added", func(in *enforcer.CreateContainerInput) { in.Groups = append(in.Groups, enforcer.User{ID: "6"}) }},
		{"umask", func(in *enforcer.CreateContainerInput) { in.Umask = "0000" }},
		{"capability-missing", func(in *enforcer.CreateContainerInput) { in.Capabilities.Effective = in.Capabilities.Effective[:1] }},
		{"capability-dropped-by-the-document", func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding[0] = "CAP_MKNOD" }},
		{"no-new-privileges", func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = false }},
		{"privileged", func(in *enforcer.CreateContainerInput) { in.Privileged = true }},
		{"seccomp-none", func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = "" }},
		{"seccomp-other", func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = strings.Repeat("0", 64) }},
		{"device", func(in *enforcer.CreateContainerInput) {
			in.Devices = []enforcer.Device{{Path: "/dev/kmem", Type: "c"}}
		}},
		{"mount-added", func(in *enforcer.CreateContainerInput) {
			in.Mounts = append(in.Mounts, enforcer.Mount{Destination: "/etc", Source: sandboxDir + "/etc", Type: "bind", Options: []string{"rbind", "rshared", "rw"}})
		}},
		{"mount-source", func(in *enforcer.CreateContainerInput) {
			in.Mounts[2].Source = sandboxDir + "/tmp/atlas/secretsVolume/share-1"
		}},
		{"mount-source-outside", func(in *enforcer.CreateContainerInput) { in.Mounts[2].Source = "/tmp/atlas/azureFileVolume/share-1" }},
		{"mount-destination", func(in *enforcer.CreateContainerInput) { in.Mounts[2].Destination = "/bin" }},
		{"mount-writable", func(in *enforcer.CreateContainerInput) { in.Mounts[2].Options[2] = "rw" }},
		{"mount-option", func(in *enforcer.CreateContainerInput) { in.Mounts[2].Options = append(in.Mounts[2].Options, "suid") }},
		{"mount-type", func(in *enforcer.CreateContainerInput) { in.Mounts[2].Type = "tmpfs" }},
		{"resolv-conf-source", func(in *enforcer.CreateContainerInput) { in.Mounts[3].Source = sandboxDir + "/tmp/atlas/emptydir/1" }},
		{"writable-sys", func(in *enforcer.CreateContainerInput) { in.Mounts[1].Options[3] = "rw" }},
	}
	dropped := []string{
		"MODE=test", "MODE=image", "ADDED=1", "LEVEL=lower", "LEVEL=xhigh", "xLEVEL=high", "HOSTNAME=other", "ZONES=1", "PATH=/evil", "LD_PRELOAD=/x", "IDENTITY_HEADERS=1",
	}
	for _, level := range defaults.Levels() {
		t.Run(level, func(t *testing.T) {
			p := mustGenerate(t, testGroup(), Options{Compat: level})
			s := load(t, p.Rego(false))
			id := containerID(0)
			s.mount(&p.Containers[0], id)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					in := request(id)
					c.change(&in)
					s.t = t
					s.refuse(in)
				})
			}
			s.t = t
			in := request(id)
			wanted := slices.Clone(in.EnvList)
			in.EnvList = append(in.EnvList, dropped...)
			in.Capabilities.Bounding = append(in.Capabilities.Bounding, "CAP_SYS_ADMIN", "CAP_MKNOD")
			d, err := s.e.Decide(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(d.Env, wanted) {
				t.Errorf("environment: got %v, want %v", d.Env, wanted)
			}
			if _, err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			s.refuse(enforcer.SignalContainerProcessInput{ContainerID: id, Signal: 10, IsInitProcess: true, ArgList: in.ArgList})
			s.refuse(enforcer.ExecInContainerInput{
				ContainerID: id, ArgList: []string{"/bin/sh"}, EnvList: wanted, WorkingDir: in.WorkingDir, NoNewPrivileges: true,
				User: in.User, Groups: in.Groups, Umask: in.Umask, Capabilities: request(id).Capabilities,
			})
		})
	}
}

// TestNewestDefaultsKnowNewVariables: the variables that ACI adds since September 2026 reach a container with the newest
// defaults and no other.
func TestNewestDefaultsKnowNewVariables(t *testing.T) {
	added := []string{"IDENTITY_ENDPOINT=http://x", "APP_IDENTITY_ENDPOINT=http://x", "IMDS_ENDPOINT=http://x"}
	for _, level := range defaults.Levels() {
		p := mustGenerate(t, testGroup(), Options{Compat: level})
		s := load(t, p.Rego(false))
		id := containerID(0)
		s.mount(&p.Containers[0], id)
		in := request(id)
		want := slices.Clone(in.EnvList)
		in.EnvList = append(in.EnvList, added...)
		if level == Latest {
			want = slices.Clone(in.EnvList)
		}
		d, err := s.e.Decide(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		if !slices.Equal(d.Env, want) {
			t.Errorf("%s: got %v, want %v", level, d.Env, want)
		}
	}
}

func TestDebugOpensItsPoints(t *testing.T) {
	for _, level := range defaults.Levels() {
		p := mustGenerate(t, testGroup(), Options{Compat: level, Debug: true})
		s := load(t, p.Rego(false))
		s.allow(enforcer.DumpStacksInput{})
		s.allow(enforcer.RuntimeLoggingInput{})
		id := containerID(0)
		s.mount(&p.Containers[0], id)
		in := request(id)
		s.allow(in)
		for _, shell := range []string{"/bin/sh", "/bin/bash"} {
			s.allow(enforcer.ExecInContainerInput{
				ContainerID: id, ArgList: []string{shell}, EnvList: in.EnvList, WorkingDir: in.WorkingDir, NoNewPrivileges: true,
				User: in.User, Groups: in.Groups, Umask: in.Umask, Capabilities: in.Capabilities,
			})
		}
	}
}

// TestStdioIsTheContainers: a sidecar's own word about its output wins over the option.
func TestStdioIsTheContainers(t *testing.T) {
	for _, all := range []*bool{nil, ptr(true), ptr(false)} {
		for _, own := range []*bool{nil, ptr(true), ptr(false)} {
			c := app()
			c.AllowStdio = own
			got := mustGenerate(t, only(c), Options{Stdio: all}).Containers[0].AllowStdioAccess
			want := true
			if all != nil {
				want = *all
			}
			if own != nil {
				want = *own
			}
			if got != want {
				t.Errorf("option %v, container %v: got %t, want %t", all, own, got, want)
			}
		}
	}
}
