package policygen

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	agentcontainer "github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/shim/pod"
)

const sandboxDir = "/run/gcs/c/" + "aa00000000000000000000000000000000000000000000000000000000000000" + "/sandboxMounts"

// sequence asks the enforcer what the agent would ask for one pod, in its order.
type sequence struct {
	t       *testing.T
	e       *enforcer.Enforcer
	devices map[string]string // root hash to target
}

func load(t *testing.T, containers []*pod.Container, o Options) *sequence {
	t.Helper()
	text, err := Generate(t.Context(), containers, fakeRoots, o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := enforcer.Load(t.Context(), text, enforcer.Options{
		DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &sequence{t: t, e: e, devices: map[string]string{}}
}

// decide asks, and commits what was allowed.
func (s *sequence) decide(in enforcer.Input) (*enforcer.Decision, error) {
	s.t.Helper()
	d, err := s.e.Decide(s.t.Context(), in)
	if err != nil {
		return nil, err
	}
	if _, err := d.Commit(); err != nil {
		s.t.Fatal(err)
	}
	return d, nil
}

func (s *sequence) allow(in enforcer.Input) *enforcer.Decision {
	s.t.Helper()
	d, err := s.decide(in)
	if err != nil {
		s.t.Fatalf("%s: %v", in.Point(), err)
	}
	return d
}

func (s *sequence) refuse(in enforcer.Input) {
	s.t.Helper()
	_, err := s.decide(in)
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		s.t.Fatalf("%s: got %v, want a denial", in.Point(), err)
	}
}

// mountLayers mounts a container's disks, each only once, and its overlay.
func (s *sequence) mountLayers(c *pod.Container, id string) {
	s.t.Helper()
	var topFirst []string
	for _, l := range slices.Backward(c.Layers) {
		topFirst = append(topFirst, s.mountLayer(l))
	}
	s.allow(enforcer.ScratchMountInput{Target: "/run/gcs/c/" + id + "/scratch/" + id, Encrypted: true})
	s.allow(enforcer.MountOverlayInput{ContainerID: id, LayerPaths: topFirst, Target: "/run/gcs/c/" + id + "/rootfs"})
}

func (s *sequence) mountLayer(l pod.Layer) string {
	s.t.Helper()
	root, err := fakeRoots(s.t.Context(), l)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.devices[root] == "" {
		s.devices[root] = fmt.Sprintf("/run/mounts/scsi/m%d", len(s.devices))
		s.allow(enforcer.MountDeviceInput{Target: s.devices[root], DeviceHash: root, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
	}
	return s.devices[root]
}

func containerID(c *pod.Container) string { return fmt.Sprintf("%064x", c.Name) }

// createInput is what the agent asks for the request that our own host side sends: read by the agent's own parser, its
// standard mounts replaced by the agent's.
func createInput(c *pod.Container) enforcer.CreateContainerInput {
	spec := c.OCI(pod.Names{SandboxID: "sandbox", ContainerID: containerID(c)})
	request, err := agentcontainer.Parse(spec)
	if err != nil {
		panic(err)
	}
	p := spec.Process
	in := enforcer.CreateContainerInput{
		ContainerID: containerID(c), ArgList: p.Args, EnvList: p.Env, WorkingDir: p.Cwd, SandboxDir: sandboxDir,
		HugePagesDir: strings.Replace(sandboxDir, "sandboxMounts", "hugepages", 1),
		Privileged:   request.Privileged, NoNewPrivileges: p.NoNewPrivileges,
		User:  enforcer.User{ID: strconv.Itoa(int(p.User.UID)), Name: c.Username},
		Umask: "0022",
		Capabilities: enforcer.Capabilities{
			Bounding: p.Capabilities.Bounding, Effective: p.Capabilities.Effective, Inheritable: p.Capabilities.Inheritable,
			Permitted: p.Capabilities.Permitted, Ambient: p.Capabilities.Ambient,
		},
	}
	for _, gid := range append([]uint32{p.User.GID}, p.User.AdditionalGids...) {
		in.Groups = append(in.Groups, enforcer.User{ID: strconv.Itoa(int(gid))})
	}
	fixed, own := agentcontainer.SplitMounts(request.Mounts, request.Privileged)
	for _, m := range append(fixed, own...) {
		source := m.Source
		if rest, ok := strings.CutPrefix(source, "sandbox://"); ok {
			source = sandboxDir + rest
		}
		in.Mounts = append(in.Mounts, enforcer.Mount{Destination: m.Destination, Source: source, Type: m.Type, Options: slices.Clone(m.Options)})
	}
	return in
}

func TestGeneratedPolicyAllowsItsPod(t *testing.T) {
	for _, api := range APIVersions() {
		t.Run(api, func(t *testing.T) {
			containers := testPod()
			s := load(t, containers, Options{APIVersion: api})
			for _, c := range containers {
				s.mountLayers(c, containerID(c))
				in := createInput(c)
				d := s.allow(in)
				if !slices.Equal(d.Env, in.EnvList) || !d.AllowStdio {
					t.Errorf("%s: got environment %v and stdio %v, want all of it", c.Name, d.Env, d.AllowStdio)
				}
			}
			web, in := containers[0], createInput(containers[0])
			s.allow(execInput(in, "/bin/drain", "1"))
			s.allow(enforcer.GetPropertiesInput{})
			for _, signal := range []int{9, 15, 3} {
				s.allow(enforcer.SignalContainerProcessInput{
					ContainerID: containerID(web), Signal: signal, IsInitProcess: true, ArgList: web.Args,
				})
			}
			s.allow(enforcer.ShutdownContainerInput{ContainerID: containerID(web)})
			s.allow(enforcer.UnmountOverlayInput{UnmountTarget: "/run/gcs/c/" + containerID(web) + "/rootfs"})
			s.allow(enforcer.ScratchUnmountInput{UnmountTarget: "/run/gcs/c/" + containerID(web) + "/scratch/" + containerID(web)})
			for _, target := range s.devices {
				s.allow(enforcer.UnmountDeviceInput{UnmountTarget: target})
			}
		})
	}
}

func execInput(in enforcer.CreateContainerInput, argv ...string) enforcer.ExecInContainerInput {
	return enforcer.ExecInContainerInput{
		ContainerID: in.ContainerID, ArgList: argv, EnvList: in.EnvList, WorkingDir: in.WorkingDir,
		NoNewPrivileges: in.NoNewPrivileges, User: in.User, Groups: in.Groups, Umask: in.Umask, Capabilities: in.Capabilities,
	}
}

func TestGeneratedPolicyRefusesEachChange(t *testing.T) {
	cases := []struct {
		name   string
		change func(*enforcer.CreateContainerInput)
	}{
		{"argument", func(in *enforcer.CreateContainerInput) { in.ArgList[1] = "-h" }},
		{"more-arguments", func(in *enforcer.CreateContainerInput) { in.ArgList = append(in.ArgList, "x") }},
		{"fewer-arguments", func(in *enforcer.CreateContainerInput) { in.ArgList = in.ArgList[:1] }},
		{"variable-added", func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "LD_PRELOAD=/x") }},
		{"variable-changed", func(in *enforcer.CreateContainerInput) { in.EnvList[0] = "PATH=/evil" }},
		{"variable-as-pattern", func(in *enforcer.CreateContainerInput) { in.EnvList[1] = "MODE=a" }},
		{"variable-missing", func(in *enforcer.CreateContainerInput) { in.EnvList = in.EnvList[1:] }},
		{"pattern-too-long", func(in *enforcer.CreateContainerInput) { in.EnvList[2] = "NONCE=000" }},
		{"pattern-missing", func(in *enforcer.CreateContainerInput) { in.EnvList = in.EnvList[:2] }},
		{"alternative-escapes", func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "xEXTRA=2") }},
		{"working-dir", func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" }},
		{"user", func(in *enforcer.CreateContainerInput) { in.User.ID = "0" }},
		{"primary-group", func(in *enforcer.CreateContainerInput) { in.Groups[0].ID = "0" }},
		{"group-added", func(in *enforcer.CreateContainerInput) { in.Groups = append(in.Groups, enforcer.User{ID: "6"}) }},
		{"umask", func(in *enforcer.CreateContainerInput) { in.Umask = "0000" }},
		{"capability-added", func(in *enforcer.CreateContainerInput) {
			in.Capabilities.Bounding = append(in.Capabilities.Bounding, "CAP_SYS_ADMIN")
		}},
		{"capability-ambient", func(in *enforcer.CreateContainerInput) { in.Capabilities.Ambient = []string{"CAP_KILL"} }},
		{"capability-missing", func(in *enforcer.CreateContainerInput) { in.Capabilities.Effective = in.Capabilities.Effective[:1] }},
		{"no-new-privileges", func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = false }},
		{"privileged", func(in *enforcer.CreateContainerInput) { in.Privileged = true }},
		{"seccomp", func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = strings.Repeat("0", 64) }},
		{"device", func(in *enforcer.CreateContainerInput) {
			in.Devices = []enforcer.Device{{Path: "/dev/kmem", Type: "c"}}
		}},
		{"mount-added", func(in *enforcer.CreateContainerInput) {
			in.Mounts = append(in.Mounts, enforcer.Mount{Destination: "/etc", Source: sandboxDir + "/etc", Type: "bind", Options: []string{"rbind", "rshared", "rw"}})
		}},
		{"mount-source", func(in *enforcer.CreateContainerInput) { mountAt(in, "/cache").Source = sandboxDir + "/emptydir/other" }},
		{"mount-source-longer", func(in *enforcer.CreateContainerInput) { mountAt(in, "/cache").Source += "/.." }},
		{"mount-destination", func(in *enforcer.CreateContainerInput) { mountAt(in, "/cache").Destination = "/bin" }},
		{"mount-option", func(in *enforcer.CreateContainerInput) {
			m := mountAt(in, "/cache")
			m.Options = append(slices.Clone(m.Options), "suid")
		}},
		{"mount-type", func(in *enforcer.CreateContainerInput) { mountAt(in, "/cache").Type = "tmpfs" }},
		{"grant-elsewhere", func(in *enforcer.CreateContainerInput) { mountAt(in, "/run/cloister/attest").Destination = "/attest" }},
		{"grant-other", func(in *enforcer.CreateContainerInput) {
			mountAt(in, "/run/cloister/attest").Source = "cloister://keys"
		}},
		{"writable-sys", func(in *enforcer.CreateContainerInput) { mountAt(in, "/sys").Options[3] = "rw" }},
	}
	// One policy serves all cases: a refusal changes nothing, which the allowed create at the end shows.
	containers := testPod()
	s := load(t, containers, Options{})
	s.mountLayers(containers[0], containerID(containers[0]))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := createInput(testPod()[0])
			c.change(&in)
			s.t = t
			s.refuse(in)
		})
	}
	s.t = t
	s.allow(createInput(containers[0]))
}

func mountAt(in *enforcer.CreateContainerInput, destination string) *enforcer.Mount {
	for i := range in.Mounts {
		if in.Mounts[i].Destination == destination {
			return &in.Mounts[i]
		}
	}
	panic("no mount at " + destination)
}

func TestGeneratedPolicyRefusesOtherRequests(t *testing.T) {
	containers := testPod()
	s := load(t, containers, Options{})
	s.refuse(enforcer.MountDeviceInput{
		Target: "/run/mounts/scsi/m9", DeviceHash: strings.Repeat("0", 64), MountPathRegex: "/run/mounts/scsi/m[0-9]+",
	})
	base, top := s.mountLayer(containers[0].Layers[0]), s.mountLayer(containers[0].Layers[1])
	for _, paths := range [][]string{{base, top}, {top}, {top, base, base}, {}} {
		s.refuse(enforcer.MountOverlayInput{ContainerID: "x", LayerPaths: paths, Target: "/run/gcs/c/x/rootfs"})
	}
	s.refuse(enforcer.ScratchMountInput{Target: "/run/gcs/c/x/scratch/x"})
	s.mountLayers(containers[0], containerID(containers[0]))
	in := createInput(containers[0])
	s.allow(in)
	s.refuse(execInput(in, "/bin/sh"))
	s.refuse(execInput(in, "/bin/drain"))
	s.refuse(execInput(in, "/bin/web", "-g", "a <b> & \"c\""))
	s.refuse(enforcer.SignalContainerProcessInput{ContainerID: in.ContainerID, Signal: 10, IsInitProcess: true, ArgList: in.ArgList})
	s.refuse(enforcer.ExecExternalInput{ArgList: []string{"/bin/sh"}})
	s.refuse(enforcer.DumpStacksInput{})
	s.refuse(enforcer.RuntimeLoggingInput{})
	s.refuse(enforcer.HostNetworkInput{})
	s.refuse(enforcer.RWMountDeviceInput{
		Target: "/run/gcs/c/x", EnsureFilesystem: true, Filesystem: "ext4", MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
	})
}

func TestOptionsOpenTheirPoints(t *testing.T) {
	containers := testPod()
	s := load(t, containers, Options{NoStdio: true, DropUnlistedEnv: true, AllowLogs: true, AllowStacks: true})
	s.allow(enforcer.DumpStacksInput{})
	s.allow(enforcer.RuntimeLoggingInput{})
	s.mountLayers(containers[0], containerID(containers[0]))
	in := createInput(containers[0])
	wanted := slices.Clone(in.EnvList)
	in.EnvList = append(in.EnvList, "KUBERNETES_PORT=443")
	d := s.allow(in)
	if !slices.Equal(d.Env, wanted) || d.AllowStdio {
		t.Errorf("got environment %v and stdio %v, want %v and none", d.Env, d.AllowStdio, wanted)
	}
}

// TestPointsAreComplete: a point that the policy is new enough to know and leaves out is refused by every agent.
func TestPointsAreComplete(t *testing.T) {
	var got []string
	for _, p := range points {
		got = append(got, p.name)
	}
	for _, want := range []enforcer.Point{
		enforcer.PointMountDevice, enforcer.PointRWMountDevice, enforcer.PointMountBlockDev, enforcer.PointMountOverlay,
		enforcer.PointCreateContainer, enforcer.PointUnmountDevice, enforcer.PointRWUnmountDevice, enforcer.PointUnmountBlockDev,
		enforcer.PointUnmountOverlay, enforcer.PointExecInContainer, enforcer.PointExecExternal, enforcer.PointShutdownContainer,
		enforcer.PointSignalContainerProcess, enforcer.PointPlan9Mount, enforcer.PointPlan9Unmount, enforcer.PointGetProperties,
		enforcer.PointDumpStacks, enforcer.PointRuntimeLogging, enforcer.PointLoadFragment, enforcer.PointScratchMount,
		enforcer.PointScratchUnmount, enforcer.PointLoadTransparencyTrustList, enforcer.PointHostNetwork,
	} {
		if !slices.Contains(got, string(want)) {
			t.Errorf("the policy has no rule for %s", want)
		}
	}
}
