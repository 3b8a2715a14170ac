package kube

import (
	"errors"
	"fmt"
	"regexp"
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

// samples are values that a cluster may give to the variables of everything.yaml; %s is the name of the workload.
var samples = map[string]string{
	"POD": "web-6d5f7c9b8d-x2x4z", "NODE": "aks-node-1.internal", "IP": "10.244.3.17", "URL": "http://10.244.3.17:8080/fast",
	"DISK": "104857600", "UID": "0f8fad5b-d9cb-469f-a165-70867728950e", "INDEX": "12", "JOB_COMPLETION_INDEX": "2",
}

// hostnames are the samples of HOSTNAME, by workload.
var hostnames = map[string]string{
	"pod/lone-": "lone-x2x4z", "deployment/web": "web-6d5f7c9b8d-x2x4z", "statefulset/db": "db-0", "daemonset/agent": "agent-x2x4z",
	"replicationcontroller/old": "old-x2x4z", "job/once": "once-2", "cronjob/nightly": "nightly-29384640-x2x4z",
}

// serviceSamples are what kubelet adds for the service "kubernetes".
var serviceSamples = []string{
	"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
	"KUBERNETES_PORT=tcp://10.0.0.1:443", "KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO=tcp",
	"KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1",
}

// environment is what the container is started with: what the document gives, and samples of what the cluster makes.
func environment(t *testing.T, w *Workload, c *pod.Container) []string {
	t.Helper()
	env := slices.Concat(c.Env, serviceSamples)
	for _, r := range c.Runtime {
		name, _, _ := strings.Cut(r.Pattern, "=")
		if !r.Required {
			continue
		}
		value, ok := samples[name]
		if name == "HOSTNAME" {
			value, ok = hostnames[w.String()]
		}
		if !ok {
			t.Fatalf("%s: there is no sample for %s", w, r.Pattern)
		}
		env = append(env, name+"="+value)
	}
	return env
}

// judge is one pod's policy in the agent's enforcer.
type judge struct {
	t       *testing.T
	e       *enforcer.Enforcer
	devices map[string]string
}

func newJudge(t *testing.T, w *Workload) *judge {
	t.Helper()
	e, err := enforcer.Load(t.Context(), policyOf(t, w), enforcer.Options{
		DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(),
	})
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
	return &judge{t: t, e: e, devices: map[string]string{}}
}

func (j *judge) allow(in enforcer.Input) *enforcer.Decision {
	j.t.Helper()
	d, err := j.e.Decide(j.t.Context(), in)
	if err != nil {
		j.t.Fatalf("%s: %v", in.Point(), err)
	}
	if _, err := d.Commit(); err != nil {
		j.t.Fatal(err)
	}
	return d
}

func (j *judge) refuse(what string, in enforcer.Input) {
	j.t.Helper()
	_, err := j.e.Decide(j.t.Context(), in)
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		j.t.Errorf("%s: got %v, want a denial", what, err)
	}
}

func (j *judge) mount(c *pod.Container, id string) {
	j.t.Helper()
	var topFirst []string
	for _, l := range slices.Backward(c.Layers) {
		root, err := fakeRoots(j.t.Context(), l)
		if err != nil {
			j.t.Fatal(err)
		}
		if j.devices[root] == "" {
			j.devices[root] = fmt.Sprintf("/run/mounts/scsi/m%d", len(j.devices))
			j.allow(enforcer.MountDeviceInput{Target: j.devices[root], DeviceHash: root, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
		}
		topFirst = append(topFirst, j.devices[root])
	}
	j.allow(enforcer.ScratchMountInput{Target: "/run/gcs/c/" + id + "/scratch/" + id, Encrypted: true})
	j.allow(enforcer.MountOverlayInput{ContainerID: id, LayerPaths: topFirst, Target: "/run/gcs/c/" + id + "/rootfs"})
}

// request is what the agent asks for a container whose request went through the agent's own parser.
func request(t *testing.T, w *Workload, c *pod.Container) enforcer.CreateContainerInput {
	t.Helper()
	id := fmt.Sprintf("%064x", c.Name)
	spec := c.OCI(pod.Names{SandboxID: "sandbox", ContainerID: id})
	spec.Process.Env = environment(t, w, c)
	r, err := agentcontainer.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	p := spec.Process
	in := enforcer.CreateContainerInput{
		ContainerID: id, ArgList: p.Args, EnvList: p.Env, WorkingDir: p.Cwd, SandboxDir: sandboxDir,
		HugePagesDir: strings.Replace(sandboxDir, "sandboxMounts", "hugepages", 1),
		Privileged:   r.Privileged, NoNewPrivileges: p.NoNewPrivileges, SeccompProfileSHA256: c.SeccompSHA256,
		User: enforcer.User{ID: strconv.Itoa(int(p.User.UID)), Name: c.Username}, Umask: "0022",
		Capabilities: enforcer.Capabilities{
			Bounding: p.Capabilities.Bounding, Effective: p.Capabilities.Effective, Inheritable: p.Capabilities.Inheritable,
			Permitted: p.Capabilities.Permitted, Ambient: p.Capabilities.Ambient,
		},
	}
	for _, gid := range append([]uint32{p.User.GID}, p.User.AdditionalGids...) {
		in.Groups = append(in.Groups, enforcer.User{ID: strconv.Itoa(int(gid))})
	}
	fixed, own := agentcontainer.SplitMounts(r.Mounts, r.Privileged)
	for _, m := range append(fixed, own...) {
		source := m.Source
		if rest, ok := strings.CutPrefix(source, "sandbox://"); ok {
			source = sandboxDir + strings.ReplaceAll(rest, `\`, "")
		}
		in.Mounts = append(in.Mounts, enforcer.Mount{Destination: m.Destination, Source: source, Type: m.Type, Options: slices.Clone(m.Options)})
	}
	return in
}

// TestPoliciesAllowTheirPods: every container of every kind starts under the policy that was made for it, in order, and its
// probes run.
func TestPoliciesAllowTheirPods(t *testing.T) {
	file := readEverything(t)
	for i := range file.Workloads {
		w := &file.Workloads[i]
		t.Run(w.String(), func(t *testing.T) {
			j := newJudge(t, w)
			for _, c := range resolve(t, w) {
				in := request(t, w, c)
				j.mount(c, in.ContainerID)
				if d := j.allow(in); !slices.Equal(d.Env, in.EnvList) || !d.AllowStdio {
					t.Errorf("%s: got environment %v and stdio %v, want all of it", c.Name, d.Env, d.AllowStdio)
				}
				for _, argv := range c.Exec {
					j.allow(enforcer.ExecInContainerInput{
						ContainerID: in.ContainerID, ArgList: argv, EnvList: in.EnvList, WorkingDir: in.WorkingDir,
						NoNewPrivileges: in.NoNewPrivileges, User: in.User, Groups: in.Groups, Umask: in.Umask, Capabilities: in.Capabilities,
					})
				}
			}
		})
	}
}

// TestPoliciesRefuseEachChange changes one thing at a time in every container of every kind.
func TestPoliciesRefuseEachChange(t *testing.T) {
	changes := []struct {
		name   string
		change func(*enforcer.CreateContainerInput)
	}{
		{"argument", func(in *enforcer.CreateContainerInput) { in.ArgList[0] = "/bin/evil" }},
		{"more-arguments", func(in *enforcer.CreateContainerInput) { in.ArgList = append(in.ArgList, "x") }},
		{"variable-added", func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "LD_PRELOAD=/x") }},
		{"service-is-no-address", func(in *enforcer.CreateContainerInput) {
			in.EnvList = append(in.EnvList, "KUBERNETES_SERVICE_HOST=evil.example")
		}},
		{"service-longer", func(in *enforcer.CreateContainerInput) {
			in.EnvList = append(in.EnvList, "KUBERNETES_PORT=tcp://10.0.0.1:443/x")
		}},
		{"working-dir", func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/elsewhere" }},
		{"user", func(in *enforcer.CreateContainerInput) { in.User.ID = "1" }},
		{"group-added", func(in *enforcer.CreateContainerInput) { in.Groups = append(in.Groups, enforcer.User{ID: "6"}) }},
		{"umask", func(in *enforcer.CreateContainerInput) { in.Umask = "0000" }},
		{"capability-ambient", func(in *enforcer.CreateContainerInput) { in.Capabilities.Ambient = []string{"CAP_KILL"} }},
		{"capability-missing", func(in *enforcer.CreateContainerInput) { in.Capabilities.Effective = nil }},
		{"seccomp", func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = strings.Repeat("0", 64) }},
		{"device", func(in *enforcer.CreateContainerInput) {
			in.Devices = []enforcer.Device{{Path: "/dev/kmem", Type: "c"}}
		}},
		{"mount-added", func(in *enforcer.CreateContainerInput) {
			in.Mounts = append(in.Mounts, enforcer.Mount{Destination: "/etc", Source: sandboxDir + "/shared/etc", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}})
		}},
		{"mount-option", func(in *enforcer.CreateContainerInput) {
			m := &in.Mounts[len(in.Mounts)-1]
			m.Options = append(m.Options, "suid")
		}},
		{"mount-source", func(in *enforcer.CreateContainerInput) { in.Mounts[len(in.Mounts)-1].Source += "x" }},
		{"mount-destination", func(in *enforcer.CreateContainerInput) { in.Mounts[len(in.Mounts)-1].Destination = "/bin" }},
	}
	file := readEverything(t)
	for i := range file.Workloads {
		w := &file.Workloads[i]
		t.Run(w.String(), func(t *testing.T) {
			j := newJudge(t, w)
			for _, c := range resolve(t, w) {
				j.mount(c, fmt.Sprintf("%064x", c.Name))
				for _, change := range changes {
					in := request(t, w, c)
					change.change(&in)
					j.refuse(c.Name+": "+change.name, in)
				}
				for n := range c.Env {
					in := request(t, w, c)
					in.EnvList = slices.Delete(in.EnvList, n, n+1)
					j.refuse(c.Name+": without "+c.Env[n], in)
					in = request(t, w, c)
					in.EnvList[n] += "x"
					j.refuse(c.Name+": other "+c.Env[n], in)
				}
				j.refuseRuntime(w, c)
				if c.NoNewPrivileges {
					in := request(t, w, c)
					in.NoNewPrivileges = false
					j.refuse(c.Name+": no-new-privileges", in)
				}
				if !c.Privileged {
					in := request(t, w, c)
					in.Privileged = true
					j.refuse(c.Name+": privileged", in)
				}
				j.allow(request(t, w, c)) // a refusal changes nothing
			}
		})
	}
}

// refuseRuntime leaves out, changes and repeats the variables that the cluster makes.
func (j *judge) refuseRuntime(w *Workload, c *pod.Container) {
	j.t.Helper()
	for n, entry := range environment(j.t, w, c) {
		name, _, _ := strings.Cut(entry, "=")
		if n < len(c.Env)+len(serviceSamples) {
			continue
		}
		in := request(j.t, w, c)
		in.EnvList = slices.Delete(in.EnvList, n, n+1)
		j.refuse(c.Name+": without "+name, in)
		for _, value := range []string{"", "EVIL$(x)", "x\n"} {
			in := request(j.t, w, c)
			in.EnvList[n] = name + "=" + value
			j.refuse(c.Name+": "+in.EnvList[n], in)
		}
	}
}

// TestStagedOptions: what the host copies is read-only, whatever the document says.
func TestStagedOptions(t *testing.T) {
	file := readEverything(t)
	for i := range file.Workloads {
		for _, c := range resolve(t, &file.Workloads[i]) {
			for _, m := range c.Mounts {
				shared := strings.HasPrefix(m.Source, "sandbox:///shared/")
				message := m.Destination == "/dev/termination-log" || m.Destination == "/dev/message"
				if shared && !message && !slices.Contains(m.Options, "ro") {
					t.Errorf("%s: the mount at %s is %v, want it read-only", c.Name, m.Destination, m.Options)
				}
				if _, err := regexp.Compile(m.Source); err != nil {
					t.Errorf("%s: source %q: %v", c.Name, m.Source, err)
				}
			}
		}
	}
}
