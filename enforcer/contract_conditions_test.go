package enforcer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// neighbour is a request that breaks exactly one condition of a point.
type neighbour struct {
	name    string
	in      enforcer.Input
	reasons []string
}

// conditionRow is a row of the contract's sections 2.3 and 2.3b: what is allowed, and its neighbours.
type conditionRow struct {
	name  string
	text  string // the policy; web alone when empty
	opts  enforcer.Options
	prior []enforcer.Input
	good  []enforcer.Input
	bad   []neighbour
}

func no(name string, in enforcer.Input, reasons ...string) neighbour {
	return neighbour{name, in, reasons}
}

func runConditions(t *testing.T, rows []conditionRow) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			text := row.text
			if text == "" {
				text = one(t, nil)
			}
			e := both(t, text, row.opts)
			for _, in := range row.prior {
				allow(t, e, in)
			}
			for _, in := range row.good {
				would(t, e, in)
			}
			for _, n := range row.bad {
				t.Run(n.name, func(t *testing.T) { refuse(t, e, n.in, n.reasons...) })
			}
			for _, in := range row.good {
				would(t, e, in) // no refusal changed that
			}
		})
	}
}

const plainDisk = "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption"

func TestContractMountConditions(t *testing.T) {
	type (
		device = enforcer.MountDeviceInput
		rw     = enforcer.RWMountDeviceInput
	)
	image := []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}
	unencrypted := changed(disk(), func(in *rw) { in.Encrypted = false })
	scratch := enforcer.ScratchMountInput{Target: scratchA, Encrypted: true}
	runConditions(t, []conditionRow{
		{
			name: "mount_device", prior: []enforcer.Input{layerOne(), disk()},
			good: []enforcer.Input{layerTwo(), changed(layerTwo(), func(in *device) { in.DeviceHash = rootOne })},
			bad: []neighbour{
				no("target-in-devices", changed(layerTwo(), func(in *device) { in.Target = target(1) }), "device already mounted at path"),
				no("target-in-rw-devices", changed(layerTwo(), func(in *device) { in.Target, in.MountPathRegex = diskA, diskA }), "device already mounted at path"),
				no("hash-of-no-container", changed(layerTwo(), func(in *device) { in.DeviceHash = root(7) }), "deviceHash not found"),
				no("hash-empty", changed(layerTwo(), func(in *device) { in.DeviceHash = "" }), "deviceHash not found"),
				no("hash-in-upper-case", changed(layerTwo(), func(in *device) { in.DeviceHash = strings.Repeat("AA", 32) }), "deviceHash not found"),
				no("target-outside", changed(layerTwo(), func(in *device) { in.Target = "/run/mounts/scsi/m" }), "mountpoint invalid"),
				no("target-with-head", changed(layerTwo(), func(in *device) { in.Target = "/x/run/mounts/scsi/m2" }), "mountpoint invalid"),
				no("regex-alternative", changed(layerTwo(), func(in *device) {
					in.Target, in.MountPathRegex = "/etc/m2", "/run/mounts/scsi/m[0-9]+|/run/mounts/pmem/m[0-9]+"
				}), "mountpoint invalid"),
			},
		},
		{
			name: "rw_mount_device", prior: []enforcer.Input{layerOne()},
			good: []enforcer.Input{disk(), changed(disk(), func(in *rw) { in.Filesystem = "xfs" })},
			bad: []neighbour{
				no("target-in-devices", changed(disk(), func(in *rw) { in.Target, in.MountPathRegex = target(1), scsi }), "device already mounted at path"),
				no("unencrypted", unencrypted, plainDisk),
				no("no-file-system", changed(disk(), func(in *rw) { in.EnsureFilesystem = false }), "ensureFilesystem must be set on rw device mounts"),
				no("file-system-ext3", changed(disk(), func(in *rw) { in.Filesystem = "ext3" }), "rw device mounts uses a filesystem that is not allowed"),
				no("file-system-empty", changed(disk(), func(in *rw) { in.Filesystem = "" }), "rw device mounts uses a filesystem that is not allowed"),
				no("target", changed(disk(), func(in *rw) { in.Target += "/x" }), "mountpoint invalid"),
			},
		},
		{name: "rw_mount_device-unencrypted-allowed", text: one(t, nil, "allow_unencrypted_scratch"), good: []enforcer.Input{unencrypted, disk()}},
		{
			name: "rw_mount_device-twice", prior: []enforcer.Input{disk()},
			bad: []neighbour{no("target-in-rw-devices", disk(), "device already mounted at path")},
		},
		{
			name: "unmount_device", prior: []enforcer.Input{layerOne(), disk()},
			good: []enforcer.Input{enforcer.UnmountDeviceInput{UnmountTarget: target(1)}},
			bad: []neighbour{
				no("not-recorded", enforcer.UnmountDeviceInput{UnmountTarget: target(2)}, "no device at path to unmount"),
				no("the-other-kind", enforcer.UnmountDeviceInput{UnmountTarget: diskA}, "received read-only unmount request, but device provided is read-write"),
			},
		},
		{
			name: "rw_unmount_device", prior: []enforcer.Input{layerOne(), disk()},
			good: []enforcer.Input{enforcer.RWUnmountDeviceInput{UnmountTarget: diskA}},
			bad: []neighbour{
				no("not-recorded", enforcer.RWUnmountDeviceInput{UnmountTarget: target(2)}, "no device at path to unmount"),
				no("the-other-kind", enforcer.RWUnmountDeviceInput{UnmountTarget: target(1)}, "received read-write unmount request, but device provided is read-only"),
			},
		},
		{
			name: "mount_overlay", prior: image, good: []enforcer.Input{overlay(idB, 1)},
			bad: []neighbour{
				no("id-has-matches", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.ContainerID = idA }), "overlay has already been mounted"),
				no("target-mounted", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.Target = rootfsA }), "overlay has already been mounted"),
				no("base-first", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = []string{target(1), target(2)} }), "no matching containers for overlay"),
				no("one-layer-too-few", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = []string{target(2)} }), "no matching containers for overlay"),
				no("one-layer-too-many", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = append(in.LayerPaths, target(1)) }), "no matching containers for overlay"),
				no("a-path-that-is-no-device", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = append(in.LayerPaths, target(9)) }), "no matching containers for overlay"),
				no("a-writable-device-among-the-layers", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = append(in.LayerPaths, diskA) }), "no matching containers for overlay"),
				no("nothing", changed(overlay(idB, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = nil }), "no matching containers for overlay"),
			},
		},
		{
			name: "unmount_overlay", prior: image, good: []enforcer.Input{enforcer.UnmountOverlayInput{UnmountTarget: rootfsA}},
			bad: []neighbour{no("not-recorded", enforcer.UnmountOverlayInput{UnmountTarget: rootfsA + "/"}, "no overlay at path to unmount")},
		},
		{
			name: "scratch_mount", prior: []enforcer.Input{scratch},
			good: []enforcer.Input{enforcer.ScratchMountInput{Target: "/other", Encrypted: true}},
			bad: []neighbour{
				no("mounted", scratch, "scratch already mounted at path"),
				no("unencrypted", enforcer.ScratchMountInput{Target: "/other"}, "unencrypted scratch not allowed"),
				no("both", enforcer.ScratchMountInput{Target: scratchA}, "scratch already mounted at path", "unencrypted scratch not allowed"),
			},
		},
		{
			name: "scratch_unmount", prior: []enforcer.Input{scratch}, good: []enforcer.Input{enforcer.ScratchUnmountInput{UnmountTarget: scratchA}},
			bad: []neighbour{no("not-recorded", enforcer.ScratchUnmountInput{UnmountTarget: "/other"}, "no scratch at path to unmount")},
		},
		{
			name: "plan9_mount", prior: append(slices.Clone(image), share()),
			good: []enforcer.Input{changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = "/run/gcs/c/" + idA + "/mounts/m22" })},
			bad: []neighbour{
				no("mounted", share(), "device already mounted at path"),
				no("id-without-matches", changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = "/run/gcs/c/" + idB + "/mounts/m1" }), "mountpoint invalid"),
				no("not-digits", changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = "/run/gcs/c/" + idA + "/mounts/m1a" }), "mountpoint invalid"),
				no("deeper", changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = shareA + "/etc" }), "mountpoint invalid"),
				no("dot-dot", changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = "/run/gcs/c/" + idA + "/../" + idA + "/mounts/m1" }), "mountpoint invalid"),
				no("other-root", changed(share(), func(in *enforcer.Plan9MountInput) { in.Target = "/run/gcs/x/" + idA + "/mounts/m1" }), "mountpoint invalid"),
			},
		},
		{
			name: "plan9_unmount", prior: append(slices.Clone(image), share()), good: []enforcer.Input{enforcer.Plan9UnmountInput{UnmountTarget: shareA}},
			bad: []neighbour{no("not-recorded", enforcer.Plan9UnmountInput{UnmountTarget: shareA + "1"}, "no device at path to unmount")},
		},
		{
			name: "never", bad: []neighbour{
				no("mount_blockdev", enforcer.MountBlockDevInput{Target: "/dev/x"}, "blockdev mounts are not supported"),
				no("unmount_blockdev", enforcer.UnmountBlockDevInput{UnmountTarget: "/dev/x"}, "blockdev mounts are not supported"),
				no("mount_cims", enforcer.MountCIMsInput{ContainerID: idA}, "not supported by a Linux utility VM"),
				no("registry_changes", enforcer.RegistryChangesInput{ContainerID: idA}, "not supported by a Linux utility VM"),
				no("log_provider", enforcer.LogProviderInput{Providers: []string{"x"}}, "not supported by a Linux utility VM"),
			},
		},
	})
}

// TestContractFlagConditions: each flag opens its point and no other; undefined and false are the same.
func TestContractFlagConditions(t *testing.T) {
	points := map[string]enforcer.Input{
		"allow_properties_access": enforcer.GetPropertiesInput{},
		"allow_dump_stacks":       enforcer.DumpStacksInput{},
		"allow_runtime_logging":   enforcer.RuntimeLoggingInput{},
		"allow_host_network":      enforcer.HostNetworkInput{},
	}
	for flag := range points {
		for _, value := range []string{"true", "false", "undefined"} {
			t.Run(flag+"-"+value, func(t *testing.T) {
				text := one(t, nil)
				if value != "undefined" {
					text += flag + " := " + value + "\n"
				}
				e := both(t, text)
				for other, in := range points {
					if value == "true" && other == flag {
						would(t, e, in)
						continue
					}
					if d := refuse(t, e, in); d.Rule != "not allowed by the policy" || d.Field != "policy."+other {
						t.Errorf("got %v", d)
					}
				}
			})
		}
	}
	text := strings.Replace(one(t, nil, "allow_host_network", "allow_dump_stacks"), `"0.5.0"`, `"0.4.1"`, 1)
	e := both(t, text)
	would(t, e, enforcer.DumpStacksInput{})
	refuse(t, e, enforcer.HostNetworkInput{}) // came with framework 0.5.0
}

// TestContractFlagsAreBooleans: a flag of another type opens nothing, whether the policy loads or not.
func TestContractFlagsAreBooleans(t *testing.T) {
	for _, odd := range []string{`"true"`, "1", "[true]", "null", "{}", "{true}"} {
		for _, judge := range enforcer.Judges() {
			text := one(t, nil) + "allow_dump_stacks := " + odd + "\n"
			e, err := enforcer.Load(t.Context(), []byte(text), enforcer.Options{Judge: judge})
			if err == nil {
				refuse(t, e, enforcer.DumpStacksInput{})
			}
		}
	}
}

// create is request(idA) with one thing different.
func create(change func(*enforcer.CreateContainerInput)) enforcer.CreateContainerInput {
	return changed(request(idA), change)
}

func TestContractCreateConditions(t *testing.T) {
	type in = enforcer.CreateContainerInput
	image := []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}
	rw := aci.PrivilegedMounts()
	privileged := create(func(in *in) { in.Privileged = true })
	nnp := create(func(in *in) { in.NoNewPrivileges = true })
	sysfs := create(func(in *in) { in.IsSandboxContainer, in.Mounts = true, append(in.Mounts, rw[0]) })
	data := request(idA).Mounts[0]
	mount := func(change func(*enforcer.Mount)) enforcer.CreateContainerInput {
		m := data
		m.Options = slices.Clone(m.Options)
		change(&m)
		return create(func(in *in) { in.Mounts = []enforcer.Mount{m} })
	}
	mounts := func(list ...enforcer.Mount) enforcer.CreateContainerInput {
		return create(func(in *in) { in.Mounts = append(in.Mounts, list...) })
	}
	runConditions(t, []conditionRow{
		{
			name: "web", prior: image,
			good: []enforcer.Input{request(idA), nnp, create(func(in *in) { in.Mounts = nil }), create(func(in *in) { in.EnvList = []string{"PATH=/bin", "PATH=/bin"} })},
			bad: []neighbour{
				no("privileged", privileged, "privileged escalation not allowed"),
				no("working_dir", create(func(in *in) { in.WorkingDir = "/srv/." }), "invalid working directory"),
				no("command-order", create(func(in *in) { in.ArgList = []string{"--serve", "/bin/web"} }), "invalid command"),
				no("command-tail", create(func(in *in) { in.ArgList = append(slices.Clip(in.ArgList), "") }), "invalid command"),
				no("command-none", create(func(in *in) { in.ArgList = nil }), "invalid command"),
				no("mount-destination", mount(func(m *enforcer.Mount) { m.Destination = "/data/" }), "invalid mount list: /data/"),
				no("mount-type", mount(func(m *enforcer.Mount) { m.Type = "tmpfs" }), "invalid mount list: /data"),
				no("mount-option", mount(func(m *enforcer.Mount) { m.Options[0] = "ro" }), "invalid mount list: /data"),
				no("mount-option-count", mount(func(m *enforcer.Mount) { m.Options = append(m.Options, "rw") }), "invalid mount list: /data"),
				no("mount-options-as-one", mount(func(m *enforcer.Mount) { m.Options = []string{"rw,rbind"} }), "invalid mount list: /data"),
				no("mount-source", mount(func(m *enforcer.Mount) { m.Source = "/run/gcs/c/S/sandboxMounts/tmp/data/" }), "invalid mount list: /data"),
				no("mounts-listed-in-order", mounts(enforcer.Mount{Destination: "/b"}, enforcer.Mount{Destination: "/a"}), "invalid mount list: /b,/a"),
				no("default-mounts-not-given", mounts(aci.DefaultMounts()[0]), "invalid mount list: /proc"),
				no("privileged-mounts", mounts(rw...), "invalid mount list: /sys,/sys/fs/cgroup,/sys/fs/cgroup"),
				no("sysfs-of-no-sandbox", mounts(rw[0]), "invalid mount list: /sys"),
				no("seccomp", create(func(in *in) { in.SeccompProfileSHA256 = rootOne }), "invalid seccomp"),
				no("devices", create(func(in *in) { in.Devices = []enforcer.Device{{Path: "/dev/null"}} }), "devices not supported"),
				no("devices-twice", create(func(in *in) { in.Devices = []enforcer.Device{{Path: "/dev/x"}, {Path: "/dev/x"}} }), "devices not supported"),
				no("umask", create(func(in *in) { in.Umask = "022" }), "invalid user"),
				no("env-unknown", create(func(in *in) { in.EnvList = append(slices.Clip(in.EnvList), "B=1", "A=1") }), "invalid env list", "invalid env list: B,A"),
				no("env-without-equals", create(func(in *in) { in.EnvList = append(slices.Clip(in.EnvList), "PATH") }), "invalid env list", "invalid env list: PATH"),
				no("env-required", create(func(in *in) { in.EnvList = []string{"MODE=a"} }), "invalid env list", "missing required environment variable"),
				no("caps", create(func(in *in) { in.Capabilities.Permitted = []string{"CAP_KILL"} }), "capabilities don't match"),
				no("caps-in-the-wrong-set", create(func(in *in) {
					in.Capabilities = enforcer.Capabilities{Bounding: in.Capabilities.Bounding, Permitted: in.Capabilities.Effective}
				}), "capabilities don't match"),
				no("another-id", changed(request(idB), func(in *in) { in.Mounts, in.EnvList = nil, nil }), "invalid command", "invalid noNewPrivileges",
					"invalid seccomp", "invalid user", "invalid working directory", "privileged escalation not allowed"),
			},
		},
		{name: "sandbox-sysfs", prior: image, good: []enforcer.Input{sysfs}, bad: []neighbour{
			no("only-sysfs", changed(sysfs, func(in *in) { in.Mounts = append(slices.Clip(in.Mounts), rw[2]) }), "invalid mount list: /sys/fs/cgroup"),
			no("only-these-options", changed(sysfs, func(in *in) {
				in.Mounts = []enforcer.Mount{{Type: "sysfs", Source: "sysfs", Destination: "/sys", Options: []string{"nosuid", "nodev", "rw"}}}
			}), "invalid mount list: /sys"),
		}},
		{name: "started", prior: append(slices.Clone(image), request(idA)), bad: []neighbour{no("again", request(idA), "container already started")}},
		{
			name: "no_new_privileges", text: one(t, func(c *testContainer) { c.NoNewPrivs = true }), prior: image,
			good: []enforcer.Input{nnp}, bad: []neighbour{no("not-asked", request(idA), "invalid noNewPrivileges")},
		},
		{
			name: "allow_elevated", text: one(t, func(c *testContainer) { c.AllowElevated = true }), opts: withMounts(), prior: image,
			good: []enforcer.Input{privileged, request(idA), mounts(aci.DefaultMounts()...), mounts(rw...)},
			bad:  []neighbour{no("neither-default-nor-privileged", mounts(changed(rw[0], func(m *enforcer.Mount) { m.Destination = "/sys2" })), "invalid mount list: /sys2")},
		},
		{
			name: "default-mounts", opts: withMounts(), prior: image, good: []enforcer.Input{mounts(aci.DefaultMounts()...)},
			bad: []neighbour{no("privileged-mounts", mounts(rw...), "invalid mount list: /sys,/sys/fs/cgroup,/sys/fs/cgroup")},
		},
		{
			name: "seccomp", text: one(t, func(c *testContainer) { c.Seccomp = rootOne }), prior: image,
			good: []enforcer.Input{create(func(in *in) { in.SeccompProfileSHA256 = rootOne })},
			bad:  []neighbour{no("none", request(idA), "invalid seccomp"), no("other", create(func(in *in) { in.SeccompProfileSHA256 = rootTwo }), "invalid seccomp")},
		},
	})
}

// TestContractCreateNeedsOneCandidateThatHasAll: what two candidates allow between them is not allowed.
func TestContractCreateNeedsOneCandidateThatHasAll(t *testing.T) {
	changes := map[string]func(*testContainer){
		"command":     func(c *testContainer) { c.Command = []string{"/bin/other"} },
		"working_dir": func(c *testContainer) { c.WorkingDir = "/other" },
		"elevated":    func(c *testContainer) { c.AllowElevated = true },
		"nnp":         func(c *testContainer) { c.NoNewPrivs = true },
		"seccomp":     func(c *testContainer) { c.Seccomp = rootTwo },
		"user":        func(c *testContainer) { c.User.Umask = "0077" },
	}
	ask := map[string]func(*enforcer.CreateContainerInput){
		"command":     func(in *enforcer.CreateContainerInput) { in.ArgList = []string{"/bin/other"} },
		"working_dir": func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/other" },
		"elevated":    func(in *enforcer.CreateContainerInput) { in.Privileged = true },
		"nnp":         func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = false },
		"seccomp":     func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = rootTwo },
		"user":        func(in *enforcer.CreateContainerInput) { in.Umask = "0077" },
	}
	for a, changeA := range changes {
		for b, changeB := range changes {
			if a >= b || a == "nnp" || b == "nnp" {
				continue
			}
			t.Run(a+"-"+b, func(t *testing.T) {
				first, second := web(), web()
				changeA(&first)
				changeB(&second)
				e := imaged(t, policyText(t, []testContainer{first, second}))
				in := create(ask[a])
				would(t, e, in)
				would(t, e, create(ask[b]))
				ask[b](&in)
				if d := refuse(t, e, in); d.Rule != "no single container of the policy has all that was asked" {
					t.Errorf("got %v", d)
				}
			})
		}
	}
}

func TestContractProcessConditions(t *testing.T) {
	type exec = enforcer.ExecInContainerInput
	const badSignal = "target isn't allowed to receive the signal"
	image := []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}
	container := append(slices.Clone(image), request(idA))
	ask := func(change func(*exec)) enforcer.Input { return changed(execRequest(idA), change) }
	init := enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 9, IsInitProcess: true, ArgList: []string{"/bin/web", "--serve"}}
	process := enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 15, ArgList: []string{"/bin/ls"}}
	signal := func(from enforcer.SignalContainerProcessInput, change func(*enforcer.SignalContainerProcessInput)) enforcer.Input {
		return changed(from, change)
	}
	nnp := one(t, func(c *testContainer) { c.NoNewPrivs = true })
	two := one(t, func(c *testContainer) {
		c.ExecProcesses = append(c.ExecProcesses, testProcess{Command: []string{"/bin/kill"}, Signals: []int{1}})
	})
	runConditions(t, []conditionRow{
		{
			name: "exec_in_container", prior: container,
			good: []enforcer.Input{execRequest(idA), ask(func(in *exec) { in.NoNewPrivileges = true }), ask(func(in *exec) { in.EnvList = []string{"MODE=b", "PATH=/bin"} })},
			bad: []neighbour{
				no("command", ask(func(in *exec) { in.ArgList = []string{"/bin/ls", "-l"} }), "invalid command"),
				no("command-of-init", ask(func(in *exec) { in.ArgList = []string{"/bin/web", "--serve"} }), "invalid command"),
				no("working_dir", ask(func(in *exec) { in.WorkingDir = "" }), "invalid working directory"),
				no("umask", ask(func(in *exec) { in.Umask = "" }), "invalid user"),
				no("env-unknown", ask(func(in *exec) { in.EnvList = append(slices.Clip(in.EnvList), "B=") }), "invalid env list: B"),
				no("env-required", ask(func(in *exec) { in.EnvList = nil }), "missing required environment variable"),
				no("caps", ask(func(in *exec) { in.Capabilities.Effective = nil }), "capabilities don't match"),
			},
		},
		{name: "exec_in_container-not-started", prior: image, bad: []neighbour{no("overlay-only", execRequest(idA), "container not started")}},
		{
			name: "exec_in_container-no_new_privileges", text: nnp,
			prior: append(slices.Clone(image), create(func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = true })),
			good:  []enforcer.Input{ask(func(in *exec) { in.NoNewPrivileges = true })},
			bad:   []neighbour{no("not-asked", execRequest(idA), "invalid noNewPrivileges")},
		},
		{
			name: "exec_external", text: one(t, nil) + external,
			good: []enforcer.Input{enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, EnvList: []string{"A=1"}, WorkingDir: "/"}},
			bad: []neighbour{
				no("command", enforcer.ExecExternalInput{ArgList: []string{"/bin/df", "/"}, EnvList: []string{"A=1"}, WorkingDir: "/"}, "invalid command"),
				no("command-of-a-container", enforcer.ExecExternalInput{ArgList: []string{"/bin/ls"}, EnvList: []string{"A=1"}, WorkingDir: "/"}, "invalid command"),
				no("working_dir", enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, EnvList: []string{"A=1"}, WorkingDir: "/srv"}, "invalid working directory"),
				no("env", enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, EnvList: []string{"A=1", "B=2"}, WorkingDir: "/"}, "invalid env list: B"),
				no("env-required", enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, WorkingDir: "/"}, "missing required environment variable"),
			},
		},
		{
			name: "shutdown_container", prior: container, good: []enforcer.Input{enforcer.ShutdownContainerInput{ContainerID: idA}},
			bad: []neighbour{no("not-started", enforcer.ShutdownContainerInput{ContainerID: idB}, "container not started")},
		},
		{name: "shutdown_container-overlay-only", prior: image, bad: []neighbour{no("not-started", enforcer.ShutdownContainerInput{ContainerID: idA}, "container not started")}},
		{
			name: "signal_container_process", text: two, prior: container, good: []enforcer.Input{init, process},
			bad: []neighbour{
				no("init-signal", signal(init, func(in *enforcer.SignalContainerProcessInput) { in.Signal = 15 }), badSignal),
				no("init-signal-0", signal(init, func(in *enforcer.SignalContainerProcessInput) { in.Signal = 0 }), badSignal),
				no("init-negative", signal(init, func(in *enforcer.SignalContainerProcessInput) { in.Signal = -9 }), badSignal),
				no("process-signal", signal(process, func(in *enforcer.SignalContainerProcessInput) { in.Signal = 9 }), badSignal),
				no("process-command", signal(process, func(in *enforcer.SignalContainerProcessInput) { in.ArgList = []string{"/bin/web", "--serve"} }), badSignal),
				no("signal-of-another-entry", signal(process, func(in *enforcer.SignalContainerProcessInput) { in.Signal = 1 }), badSignal),
				no("exec-as-init", signal(process, func(in *enforcer.SignalContainerProcessInput) { in.IsInitProcess = true }), badSignal),
				no("not-started", signal(init, func(in *enforcer.SignalContainerProcessInput) { in.ContainerID = idB }), "container not started", badSignal),
			},
		},
		{name: "signal_container_process-overlay-only", prior: image, bad: []neighbour{no("not-started", init, "container not started")}},
	})
}

// TestContractExecPrivilegeIsThatOfCreate: the default capabilities of an exec are those of the privilege the container was created with.
func TestContractExecPrivilegeIsThatOfCreate(t *testing.T) {
	text := one(t, func(c *testContainer) { c.AllowElevated, c.Capabilities = true, nil })
	for _, elevated := range []bool{false, true} {
		t.Run(fmt.Sprintf("privileged-%t", elevated), func(t *testing.T) {
			e := imaged(t, text)
			mine, other := defaultCaps(unprivileged), privilegedCaps(privileged)
			if elevated {
				mine, other = other, mine
			}
			allow(t, e, create(func(in *enforcer.CreateContainerInput) { in.Privileged, in.Capabilities = elevated, mine }))
			allow(t, e, changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.Capabilities = mine }))
			refuse(t, e, changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.Capabilities = other }), "capabilities don't match")
		})
	}
}
