package cases

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// sizedSteps are the requests of one admission: six disks, the overlay, create, exec.
const (
	sizedLayers  = 6
	stepOverlay  = sizedLayers
	stepCreate   = sizedLayers + 1
	stepExec     = sizedLayers + 2
	sizedSandbox = "5a4d6f1b0c9e8a7756453423120f1e2d3c4b5a69788796a5b4c3d2e1f0011223"
)

// Sized is a policy of n containers for measuring, of the family 0.10.0/0.3.0. A container has six layers, of which two are
// everybody's (shared: all six), a command of five words, twelve environment rules of which seven are RE2, three mounts, two
// exec entries, and all five capability lists in full. admission(i) are the requests that start container i and run a
// process in it: six mount_device, mount_overlay, create_container with ten variables and ten mounts (load with DefaultMounts),
// exec_in_container. An i of n or more starts container i modulo n again, under another id.
func Sized(n int, shared bool) (policy string, admission func(i int) []enforcer.Input) {
	var b strings.Builder
	b.WriteString("package policy\n\nimport future.keywords.every\nimport future.keywords.in\n\n")
	b.WriteString("api_version := \"0.10.0\"\nframework_version := \"0.3.0\"\n\nfragments := []\n\ncontainers := [")
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(encoded(sizedContainer(i, shared).document(), ""))
	}
	b.WriteString("]\n\nexternal_processes := []\n\nallow_properties_access := true\nallow_dump_stacks := false\nallow_runtime_logging := false\n")
	b.WriteString("allow_environment_variable_dropping := false\nallow_unencrypted_scratch := false\nallow_capability_dropping := false\n\n")
	for _, info := range enforcer.Points() {
		if !before("0.10.0", info.Since) {
			fmt.Fprintf(&b, "%[1]s := data.framework.%[1]s\n", info.Point)
		}
	}
	b.WriteString("reason := {\"errors\": data.framework.errors}\n")
	return b.String(), func(i int) []enforcer.Input { return sizedAdmission(i%n, i, shared) }
}

// Refusal is a request of an admission with one thing wrong.
type Refusal struct {
	Name  string
	Input enforcer.Input
	// After is how many requests of the admission have to be allowed first for this to be the only thing wrong.
	After int
}

// SizedRefusals are what is refused in the admission i of a policy of n containers.
func SizedRefusals(n, i int, shared bool) []Refusal {
	steps := sizedAdmission(i%n, i, shared)
	disk := steps[0].(enforcer.MountDeviceInput)
	disk.DeviceHash = sizedDigest("unknown", i)
	overlay := steps[stepOverlay].(enforcer.MountOverlayInput)
	overlay.LayerPaths = append(plus(overlay.LayerPaths[1:]), overlay.LayerPaths[0])
	env := steps[stepCreate].(enforcer.CreateContainerInput)
	env.EnvList = with(env.EnvList, 3, "LEVEL=loud")
	command := steps[stepCreate].(enforcer.CreateContainerInput)
	command.ArgList = with(command.ArgList, 4, "--id=none")
	exec := steps[stepExec].(enforcer.ExecInContainerInput)
	exec.ArgList = []string{"/bin/sh", "-i"}
	return []Refusal{
		{"unknown-hash", disk, 0},
		{"layer-order", overlay, stepOverlay},
		{"env-value", env, stepCreate},
		{"command", command, stepCreate},
		{"exec-command", exec, stepExec},
	}
}

func sizedDigest(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return hex.EncodeToString(sum[:])
}

func sizedContainer(i int, shared bool) *container {
	c := &container{
		id: fmt.Sprintf("registry.example/team/service-%d:1.4.2", i), name: fmt.Sprintf("service-%d", i),
		command: []string{"/usr/bin/env", "server", "--port", "8080", fmt.Sprintf("--id=%d", i)},
		env: []word{
			literal("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), literal("TERM=xterm"), literal("LANG=C.UTF-8"),
			literal("MODE=production"), literal(fmt.Sprintf("SERVICE=service-%d", i)),
			re2("HOSTNAME=.+"), re2("LEVEL=(debug|info|warn)"), re2("T(E)?MP=.+"), re2("(?i)(FABRIC)_.+=.+"), re2("HostedServiceName=.+"),
			re2("IDENTITY_API_VERSION=.+"), re2("IDENTITY_SERVER_THUMBPRINT=[0-9A-F]{8,64}"),
		},
		mounts: []mountWord{
			{constraint: mount{"/data", "sandbox:///tmp/atlas/emptydir/.+", "bind", []string{"rbind", "rshared", "rw"}}},
			{constraint: mount{"/etc/secrets", "sandbox:///tmp/atlas/secretsVolume/.+", "bind", []string{"rbind", "rshared", "ro"}}},
			{constraint: mount{"/etc/config", "sandbox:///tmp/atlas/gitRepoVolume/.+", "bind", []string{"rbind", "rshared", "ro"}}},
		},
		execs:   []process{{[]string{"/bin/health", "--quick"}, []int{9, 15}}, {[]string{"/bin/stop", "--wait", "5"}, []int{}}},
		signals: []int{9, 15}, stdio: true, workingDir: "/srv",
		user:    user{who: idname{"1000", "id"}, groups: []idname{{"", "any"}}, umask: "0022"},
		seccomp: sizedDigest("seccomp", 0),
	}
	all := aci.UnprivilegedCapabilities()
	c.caps = &enforcer.Capabilities{Bounding: all, Effective: all, Inheritable: all, Permitted: all, Ambient: all}
	owner := i
	if shared {
		owner = 0
	}
	for l := range sizedLayers {
		if l < 2 {
			c.layers = append(c.layers, sizedDigest("base", l))
		} else {
			c.layers = append(c.layers, sizedDigest("layer", owner*sizedLayers+l))
		}
	}
	return c
}

func sizedAdmission(definition, i int, shared bool) []enforcer.Input {
	c := sizedContainer(definition, shared)
	id := sizedDigest("container", i)
	var steps []enforcer.Input
	paths := make([]string, sizedLayers)
	for l, hash := range c.layers {
		target := fmt.Sprintf("/run/mounts/scsi/m%d", i*sizedLayers+l)
		paths[sizedLayers-1-l] = target
		steps = append(steps, enforcer.MountDeviceInput{Target: target, DeviceHash: hash, MountPathRegex: layerPaths})
	}
	steps = append(steps, enforcer.MountOverlayInput{ContainerID: id, LayerPaths: paths, Target: rootfs(id)})
	create := enforcer.CreateContainerInput{
		ContainerID: id, ArgList: c.command, WorkingDir: c.workingDir,
		EnvList: []string{
			c.env[0].rule.pattern, "TERM=xterm", "HOSTNAME=host-1", "LEVEL=info", "TMP=/tmp", "Fabric_Folder=/x",
			"HostedServiceName=svc", "IDENTITY_API_VERSION=2020-05-01", "IDENTITY_SERVER_THUMBPRINT=00112233445566778899AABBCCDDEEFF", c.env[4].rule.pattern,
		},
		SandboxDir: plan9Root + "/" + sizedSandbox + "/sandboxMounts", HugePagesDir: plan9Root + "/" + sizedSandbox + "/hugepages",
		Devices: []enforcer.Device{}, User: enforcer.User{ID: "1000", Name: "app"}, Groups: []enforcer.User{{ID: "1000", Name: "app"}}, Umask: "0022",
		Capabilities: *c.caps, SeccompProfileSHA256: c.seccomp,
	}
	for k, dir := range []string{"emptydir", "secretsVolume", "gitRepoVolume"} {
		m := c.mounts[k].constraint
		create.Mounts = append(create.Mounts, enforcer.Mount{
			Destination: m.destination, Source: fmt.Sprintf("%s/tmp/atlas/%s/%d", create.SandboxDir, dir, i), Type: m.kind, Options: m.options,
		})
	}
	create.Mounts = append(create.Mounts, aci.DefaultMounts()[:7]...)
	return append(steps, create, enforcer.ExecInContainerInput{
		ContainerID: id, ArgList: c.execs[0].command, EnvList: create.EnvList, WorkingDir: c.workingDir,
		User: create.User, Groups: create.Groups, Umask: create.Umask, Capabilities: *c.caps,
	})
}
