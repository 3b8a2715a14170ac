package enforcer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

const pauseRoot = "16b514057a06ad665f92c02863aca074fd5976c755d26bff16365299169e8415"

func familyPolicy(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "policies", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// confcomRequest is what a container runtime asks for such a pod, with the variables the platform adds.
func confcomRequest(id string) enforcer.CreateContainerInput {
	in := request(id)
	in.ArgList, in.WorkingDir = []string{"/bin/app"}, "/"
	in.EnvList = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "Fabric_Id=1", "TMP=/tmp",
		"IDENTITY_HEADER=abc", "KUBERNETES_PORT=x",
	}
	in.Capabilities = defaultCaps(unprivileged)
	in.Mounts = append(aci.DefaultMounts(), enforcer.Mount{
		Destination: "/etc/resolv.conf", Source: in.SandboxDir + "/tmp/atlas/resolvconf/x", Type: "bind",
		Options: []string{"rbind", "rshared", "rw"},
	})
	return in
}

func TestConfcomFamilies(t *testing.T) {
	for _, family := range []string{"confcom-0.10.0-0.2.3.rego", "confcom-0.12.0-0.5.0.rego"} {
		t.Run(family, func(t *testing.T) {
			e := load(t, familyPolicy(t, family), enforcer.Options{DefaultMounts: aci.DefaultMounts()})
			allow(t, e, enforcer.MountDeviceInput{Target: target(0), DeviceHash: pauseRoot, MountPathRegex: scsi})
			allow(t, e, enforcer.ScratchMountInput{Target: "/run/gcs/c/" + idA + "/scratch/" + idA, Encrypted: true})
			mountImage(t, e, idA, 1)
			d, _ := allow(t, e, confcomRequest(idA))
			if want := confcomRequest(idA).EnvList[:5]; !slices.Equal(d.Env, want) || !d.AllowStdio {
				t.Errorf("got env %q, want %q", d.Env, want)
			}
			allow(t, e, enforcer.RWMountDeviceInput{
				Target: "/run/gcs/c/" + idA, Encrypted: true, EnsureFilesystem: true, Filesystem: "xfs",
				MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
			})
			allow(t, e, enforcer.GetPropertiesInput{})
			refuse(t, e, enforcer.DumpStacksInput{})
			refuse(t, e, enforcer.RuntimeLoggingInput{})
			refuse(t, e, enforcer.HostNetworkInput{})
			exec := execRequest(idA)
			exec.ArgList, exec.WorkingDir = []string{"/bin/sh"}, "/"
			exec.EnvList, exec.Capabilities = nil, confcomRequest(idA).Capabilities
			refuse(t, e, exec, "invalid command")
			for _, n := range []int{9, 15} {
				allow(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: n, IsInitProcess: true})
			}
			refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 1, IsInitProcess: true},
				"target isn't allowed to receive the signal")
			allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
		})
	}
}

func TestConfcomContainerWithoutCommand(t *testing.T) {
	third := strings.Repeat("33", 32)
	for _, family := range []string{"confcom-0.10.0-0.2.3.rego", "confcom-0.12.0-0.5.0.rego"} {
		e := load(t, familyPolicy(t, family), enforcer.Options{DefaultMounts: aci.DefaultMounts()})
		allow(t, e, enforcer.MountDeviceInput{Target: target(1), DeviceHash: third, MountPathRegex: scsi})
		in := overlay(idA, 1)
		in.LayerPaths = []string{target(1)}
		allow(t, e, in)
		ask := confcomRequest(idA)
		refuse(t, e, ask, "invalid command", "invalid env list: KUBERNETES_PORT")
		ask.ArgList = nil
		refuse(t, e, ask, "invalid command", "invalid env list: KUBERNETES_PORT")
	}
}

func TestConfcomDebug(t *testing.T) {
	e := load(t, familyPolicy(t, "confcom-0.10.0-0.2.3-debug.rego"), enforcer.Options{DefaultMounts: aci.DefaultMounts()})
	mountImage(t, e, idA, 1)
	d, _ := allow(t, e, confcomRequest(idA))
	if len(d.Env) != 6 {
		t.Errorf("got env %q, want all six", d.Env)
	}
	exec := execRequest(idA)
	exec.ArgList, exec.WorkingDir, exec.Capabilities = []string{"/bin/bash"}, "/", defaultCaps(unprivileged)
	allow(t, e, exec)
	allow(t, e, enforcer.DumpStacksInput{})
	allow(t, e, enforcer.RuntimeLoggingInput{})
}

// oldFields are the fields that came with a framework version, as the contract's section 3.4 lists them.
var oldFields = []struct{ version, field, value string }{
	{"0.2.0", "no_new_privileges", "true"},
	{"0.2.1", "user", `{"user_idname":{"pattern":"1","strategy":"id"},"group_idnames":[],"umask":"0077"}`},
	{"0.2.2", "capabilities", `{"bounding":["CAP_BPF"],"effective":[],"inheritable":[],"permitted":[],"ambient":[]}`},
	{"0.2.3", "seccomp_profile_sha256", `"` + rootOne + `"`},
}

// oldPolicy has one container with the fields every framework knew, and extra ones.
func oldPolicy(framework, extra string) string {
	return fmt.Sprintf(`package policy
api_version := "0.10.0"
framework_version := %q
containers := [{"command": ["/bin/web", "--serve"], "env_rules": [{"pattern": "PATH=/bin", "strategy": "string", "required": false}, {"pattern": "MODE=a", "strategy": "string", "required": false}],
  "layers": [%q, %q], "mounts": [{"destination": "/data", "source": "sandbox:///tmp/data/.+", "type": "bind", "options": ["rbind", "rw"]}],
  "exec_processes": [], "signals": [1], "allow_elevated": false, "working_dir": "/srv", "allow_stdio_access": true%s}]
allow_capability_dropping := true
mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
signal_container_process := data.framework.signal_container_process
reason := {"errors": data.framework.errors}
`, framework, rootOne, rootTwo, extra)
}

func TestFieldsBeforeTheirVersionGetDefaults(t *testing.T) {
	versions := []string{"0.1.0", "0.2.0", "0.2.1", "0.2.2", "0.2.3"}
	for i, version := range versions {
		t.Run(version, func(t *testing.T) {
			// A value for every field that does not exist yet: it must vanish. What exists gets what the request asks for.
			fit := map[string]string{
				"no_new_privileges":      "false",
				"user":                   `{"user_idname":{"pattern":"0","strategy":"id"},"group_idnames":[{"pattern":"","strategy":"any"}],"umask":"0022"}`,
				"capabilities":           "null",
				"seccomp_profile_sha256": `""`,
			}
			var extra strings.Builder
			for n, f := range oldFields {
				value := f.value
				if n < i {
					value = fit[f.field]
				}
				fmt.Fprintf(&extra, ", %q: %s", f.field, value)
			}
			e := load(t, oldPolicy(version, extra.String()))
			mountImage(t, e, idA, 1)
			in := request(idA)
			in.Capabilities = defaultCaps(unprivileged)
			allow(t, e, in)
			for _, n := range []int{1, 9, 15} {
				allow(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: n, IsInitProcess: true})
			}
			refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 2, IsInitProcess: true},
				"target isn't allowed to receive the signal")
		})
	}
}

func TestContainerWithoutAFieldOfItsTimeIsNone(t *testing.T) {
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	allow(t, load(t, oldPolicy("0.1.0", "")), in)
	refuse(t, load(t, oldPolicy("0.2.0", "")), in, "deviceHash not found")
	text := replaceOnce(t, oldPolicy("0.1.0", ""), `"working_dir": "/srv", `, "")
	refuse(t, load(t, text), in, "deviceHash not found")
}

func TestCapabilityDroppingNeedsItsVersion(t *testing.T) {
	const nnpUser = `, "no_new_privileges": false, "user": {"user_idname":{"pattern":"","strategy":"any"},"group_idnames":[{"pattern":"","strategy":"any"}],"umask":"0022"}`
	in := request(idA)
	in.Capabilities = defaultCaps(append([]string{"CAP_BPF"}, unprivileged...))
	old := load(t, oldPolicy("0.2.1", nnpUser))
	mountImage(t, old, idA, 1)
	refuse(t, old, in, "capabilities don't match")
	newer := load(t, oldPolicy("0.2.2", nnpUser+`, "capabilities": null`))
	mountImage(t, newer, idA, 1)
	d, _ := allow(t, newer, in)
	if slices.Contains(d.Capabilities.Bounding, "CAP_BPF") {
		t.Errorf("got %v, want CAP_BPF dropped", d.Capabilities.Bounding)
	}
}

func TestPlatformRules(t *testing.T) {
	const rules = `platform_rules := [
  {"env_rules": [{"pattern": "P=1", "strategy": "string", "required": false}], "mounts": []},
  {"env_rules": [{"pattern": "P=2", "strategy": "string", "required": false}], "mounts": [{"destination": "/p", "source": "p", "type": "bind", "options": []}]}]
`
	ask := func(env []string, mounts ...enforcer.Mount) enforcer.CreateContainerInput {
		in := request(idA)
		in.EnvList, in.Mounts = append([]string{"PATH=/bin"}, env...), mounts
		return in
	}
	p := enforcer.Mount{Destination: "/p", Source: "p", Type: "bind"}
	for name, c := range map[string]struct {
		in enforcer.CreateContainerInput
		ok bool
	}{
		"none":            {ask(nil), true},
		"first":           {ask([]string{"P=1"}), true},
		"second":          {ask([]string{"P=2"}, p), true},
		"mixed":           {ask([]string{"P=1"}, p), false},
		"both-of-the-env": {ask([]string{"P=1", "P=2"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			e := load(t, policyText(t, []testContainer{web()})+rules)
			mountImage(t, e, idA, 1)
			_, err := e.Decide(context.Background(), c.in)
			if (err == nil) != c.ok {
				t.Errorf("got %v, want allowed: %t", err, c.ok)
			}
			old := load(t, replaceOnce(t, policyText(t, []testContainer{web()}), `"0.5.0"`, `"0.4.1"`)+rules)
			mountImage(t, old, idA, 1)
			if _, err := old.Decide(context.Background(), c.in); (err == nil) != (name == "none") {
				t.Errorf("framework 0.4.1: got %v, want platform rules ignored", err)
			}
		})
	}
}

func TestOddLists(t *testing.T) {
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	for name, containers := range map[string]string{
		"none": "", "null": "containers := null", "text": `containers := "all"`, "empty": "containers := []",
		"numbers": "containers := [1, 2]", "no-layers": `containers := [{"command": []}]`, "layers-text": `containers := [{"layers": "` + rootOne + `"}]`,
	} {
		for _, version := range []string{"0.2.3", "0.5.0"} {
			t.Run(name+"-"+version, func(t *testing.T) {
				text := fmt.Sprintf("package policy\napi_version := \"0.12.0\"\nframework_version := %q\n%s\nmount_device := data.framework.mount_device\nreason := data.framework.reason\n", version, containers)
				refuse(t, load(t, text), in, "deviceHash not found")
			})
		}
	}
}
