package enforcer_test

import (
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

var (
	unprivileged = aci.UnprivilegedCapabilities()
	privileged   = aci.PrivilegedCapabilities()
)

type createCase struct {
	name    string
	policy  func(*testContainer)
	request func(*enforcer.CreateContainerInput)
	reasons []string // nil: allowed
}

func TestCreateContainerFields(t *testing.T) {
	mount := func(m enforcer.Mount) func(*enforcer.CreateContainerInput) {
		return func(in *enforcer.CreateContainerInput) { in.Mounts = append(in.Mounts, m) }
	}
	user := func(strategy, pattern string) func(*testContainer) {
		return func(c *testContainer) { c.User.UserIDName = testPattern{Pattern: pattern, Strategy: strategy} }
	}
	group := func(strategy, pattern string) func(*testContainer) {
		return func(c *testContainer) {
			c.User.GroupIDNames = []testPattern{{Pattern: pattern, Strategy: strategy}}
		}
	}
	env := func(list ...string) func(*enforcer.CreateContainerInput) {
		return func(in *enforcer.CreateContainerInput) { in.EnvList = list }
	}
	cases := []createCase{
		{name: "as-listed"},
		{"command-longer", nil, func(in *enforcer.CreateContainerInput) { in.ArgList = append(in.ArgList, "-x") }, []string{"invalid command"}},
		{"command-shorter", nil, func(in *enforcer.CreateContainerInput) { in.ArgList = in.ArgList[:1] }, []string{"invalid command"}},
		{"command-empty", nil, func(in *enforcer.CreateContainerInput) { in.ArgList = nil }, []string{"invalid command"}},
		{"command-joined", nil, func(in *enforcer.CreateContainerInput) { in.ArgList = []string{"/bin/web --serve"} }, []string{"invalid command"}},
		{"working-dir", nil, func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/srv/" }, []string{"invalid working directory"}},
		{"privileged", nil, func(in *enforcer.CreateContainerInput) { in.Privileged = true }, []string{"privileged escalation not allowed"}},
		{"privileged-allowed", func(c *testContainer) { c.AllowElevated = true }, func(in *enforcer.CreateContainerInput) { in.Privileged = true }, nil},
		{"elevated-not-used", func(c *testContainer) { c.AllowElevated = true }, nil, nil},
		{"seccomp-other", nil, func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = rootOne }, []string{"invalid seccomp"}},
		{"seccomp-missing", func(c *testContainer) { c.Seccomp = rootOne }, nil, []string{"invalid seccomp"}},
		{"device", nil, func(in *enforcer.CreateContainerInput) { in.Devices = []enforcer.Device{{Path: "/dev/kvm", Type: "c"}} }, []string{"devices not supported"}},
		{"nnp-demanded", func(c *testContainer) { c.NoNewPrivs = true }, nil, []string{"invalid noNewPrivileges"}},
		{"nnp-given", func(c *testContainer) { c.NoNewPrivs = true }, func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = true }, nil},
		{"nnp-stricter", nil, func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = true }, nil},
		{"umask", nil, func(in *enforcer.CreateContainerInput) { in.Umask = "0000" }, []string{"invalid user"}},
		{"user-id", user("id", "0"), nil, nil},
		{"user-id-other", user("id", "1"), nil, []string{"invalid user"}},
		{"user-name", user("name", "root"), nil, nil},
		{"user-name-is-no-id", user("name", "0"), nil, []string{"invalid user"}},
		{"user-re2", user("re2", "ro+t"), nil, nil},
		{"user-re2-anchored", user("re2", "oo"), nil, []string{"invalid user"}},
		{"user-strategy-unknown", user("glob", "*"), nil, []string{"invalid user"}},
		{"group-other", group("name", "wheel"), nil, []string{"invalid user"}},
		{"every-group-must-match", group("name", "root"), func(in *enforcer.CreateContainerInput) {
			in.Groups = append(in.Groups, enforcer.User{ID: "27", Name: "sudo"})
		}, []string{"invalid user"}},
		{"no-groups", group("name", "wheel"), func(in *enforcer.CreateContainerInput) { in.Groups = nil }, nil},

		{"mount-destination", nil, mount(enforcer.Mount{Destination: "/etc", Source: "/run/gcs/c/S/sandboxMounts/tmp/data/x", Type: "bind", Options: []string{"rbind", "rw"}}), []string{"invalid mount list: /etc"}},
		{"mount-option-missing", nil, mount(enforcer.Mount{Destination: "/data", Source: "/run/gcs/c/S/sandboxMounts/tmp/data/x", Type: "bind", Options: []string{"rbind"}}), []string{"invalid mount list: /data"}},
		{"mount-option-doubled", nil, mount(enforcer.Mount{Destination: "/data", Source: "/run/gcs/c/S/sandboxMounts/tmp/data/x", Type: "bind", Options: []string{"rbind", "rbind"}}), []string{"invalid mount list: /data"}},
		{"mount-type", nil, mount(enforcer.Mount{Destination: "/data", Source: "/run/gcs/c/S/sandboxMounts/tmp/data/x", Type: "tmpfs", Options: []string{"rbind", "rw"}}), []string{"invalid mount list: /data"}},
		{"mount-source", nil, mount(enforcer.Mount{Destination: "/data", Source: "/etc/shadow", Type: "bind", Options: []string{"rbind", "rw"}}), []string{"invalid mount list: /data"}},
		{"mount-source-other-sandbox", nil, mount(enforcer.Mount{Destination: "/data", Source: "/run/gcs/c/X/sandboxMounts/tmp/data/x", Type: "bind", Options: []string{"rbind", "rw"}}), []string{"invalid mount list: /data"}},
		{"mount-source-is-the-pattern", nil, mount(enforcer.Mount{Destination: "/data", Source: "sandbox:///tmp/data/.+", Type: "bind", Options: []string{"rbind", "rw"}}), []string{"invalid mount list: /data"}},
		{"mount-empty-destination", func(c *testContainer) { c.Mounts = append(c.Mounts, aci.Mount{Source: "s", Type: "t"}) }, mount(enforcer.Mount{Source: "s", Type: "t"}), []string{"invalid mount list: "}},
		{"mount-literal-source", func(c *testContainer) {
			c.Mounts = append(c.Mounts, aci.Mount{Destination: "/k", Source: "cloister://attest", Type: "bind", Options: []string{"ro"}})
		}, mount(enforcer.Mount{Destination: "/k", Source: "cloister://attest", Type: "bind", Options: []string{"ro"}}), nil},
		{"mount-listed-unused", nil, func(in *enforcer.CreateContainerInput) { in.Mounts = nil }, nil},

		{"env-alternative", nil, env("PATH=/bin", "MODE=b"), nil},
		{"env-alternative-escapes-anchor", nil, env("PATH=/bin", "xMODE=b"), []string{"invalid env list", "invalid env list: xMODE"}},
		{"env-alternative-tail", nil, env("PATH=/bin", "MODE=ab"), []string{"invalid env list", "invalid env list: MODE"}},
		{"env-newline", nil, env("PATH=/bin", "MODE=a\n"), []string{"invalid env list", "invalid env list: MODE"}},
		{"env-unknown", nil, env("PATH=/bin", "LD_PRELOAD=/x", "B=secret"), []string{"invalid env list", "invalid env list: LD_PRELOAD,B"}},
		{"env-required-missing", nil, env("MODE=a"), []string{"invalid env list", "missing required environment variable"}},
		{"env-none", nil, env(), []string{"invalid env list", "missing required environment variable"}},

		{"caps-more", nil, func(in *enforcer.CreateContainerInput) {
			in.Capabilities.Bounding = []string{"CAP_KILL", "CAP_SYS_ADMIN"}
		}, []string{"capabilities don't match"}},
		{"caps-fewer", nil, func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding = nil }, []string{"capabilities don't match"}},
		{"caps-default", func(c *testContainer) { c.Capabilities = nil }, func(in *enforcer.CreateContainerInput) {
			in.Capabilities = defaultCaps(aci.UnprivilegedCapabilities())
		}, nil},
		{"caps-default-is-not-privileged", func(c *testContainer) { c.Capabilities = nil }, func(in *enforcer.CreateContainerInput) {
			in.Capabilities = defaultCaps(aci.PrivilegedCapabilities())
		}, []string{"capabilities don't match"}},
		{"caps-default-privileged", func(c *testContainer) { c.Capabilities, c.AllowElevated = nil, true }, func(in *enforcer.CreateContainerInput) {
			in.Privileged, in.Capabilities = true, privilegedCaps(aci.PrivilegedCapabilities())
		}, nil},
		{"caps-default-elevated-but-not-privileged", func(c *testContainer) { c.Capabilities, c.AllowElevated = nil, true }, func(in *enforcer.CreateContainerInput) {
			in.Capabilities = defaultCaps(aci.PrivilegedCapabilities())
		}, []string{"capabilities don't match"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { runCreate(t, c) })
	}
}

func runCreate(t *testing.T, c createCase) {
	definition, in := web(), request(idA)
	if c.policy != nil {
		c.policy(&definition)
	}
	if c.request != nil {
		c.request(&in)
	}
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	if c.reasons != nil {
		d := refuse(t, e, in, c.reasons...)
		if d.Container != "web" {
			t.Errorf("got container %q, want web", d.Container)
		}
		return
	}
	d, _ := allow(t, e, in)
	if !slices.Equal(d.Env, in.EnvList) || !d.AllowStdio || !slices.Equal(d.Capabilities.Bounding, in.Capabilities.Bounding) {
		t.Errorf("got %+v, want what was asked", d)
	}
	refuse(t, e, in, "container already started")
}

func defaultCaps(list []string) enforcer.Capabilities {
	return enforcer.Capabilities{Bounding: list, Effective: list, Permitted: slices.Clone(list)}
}

// privilegedCaps are what a privileged container has by default: only it inherits any.
func privilegedCaps(list []string) enforcer.Capabilities {
	return enforcer.Capabilities{Bounding: list, Effective: list, Inheritable: slices.Clone(list), Permitted: slices.Clone(list)}
}

func TestCreateWithoutOverlay(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	mountImage(t, e, idB, 1)
	refuse(t, e, request(idA), "invalid command", "invalid env list: PATH,MODE", "invalid mount list: /data",
		"invalid noNewPrivileges", "invalid seccomp", "invalid user", "invalid working directory",
		"privileged escalation not allowed")
}

func TestDefaultAndPrivilegedMounts(t *testing.T) {
	opts := enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()}
	ask := func(definition testContainer, change func(*enforcer.CreateContainerInput), reasons ...string) {
		t.Helper()
		e := load(t, policyText(t, []testContainer{definition}), opts)
		etc := []enforcer.Mount{{Destination: "/etc/hosts", Source: "/run/x/hosts", Type: "bind", Options: []string{"ro"}}}
		if err := e.AddDefaultMounts(etc); err != nil {
			t.Fatal(err)
		}
		if err := e.AddDefaultMounts(etc); err == nil {
			t.Error("mounts were added twice")
		}
		mountImage(t, e, idA, 1)
		in := request(idA)
		in.Mounts = append(append(in.Mounts, aci.DefaultMounts()...), etc...)
		change(&in)
		if len(reasons) > 0 {
			refuse(t, e, in, reasons...)
			return
		}
		allow(t, e, in)
	}
	ask(web(), func(*enforcer.CreateContainerInput) {})
	rw := func(in *enforcer.CreateContainerInput) { in.Mounts = append(in.Mounts, aci.PrivilegedMounts()...) }
	ask(web(), rw, "invalid mount list: /sys,/sys/fs/cgroup,/sys/fs/cgroup")
	elevated := web()
	elevated.AllowElevated = true
	ask(elevated, rw)
	// The pause container's writable /sys, and only that.
	sysfs := func(in *enforcer.CreateContainerInput) {
		in.IsSandboxContainer, in.Mounts = true, append(in.Mounts, aci.PrivilegedMounts()[0])
	}
	ask(web(), sysfs)
	ask(web(), func(in *enforcer.CreateContainerInput) { sysfs(in); rw(in) }, "invalid mount list: /sys/fs/cgroup,/sys/fs/cgroup")
}

func TestPlan9MountBelongsToOneContainer(t *testing.T) {
	definition := web()
	definition.Mounts = []aci.Mount{{Destination: "/share", Source: "plan9://share", Type: "bind", Options: []string{"ro"}}}
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	allow(t, e, overlay(idB, 1))
	shareB := "/run/gcs/c/" + idB + "/mounts/m1"
	allow(t, e, enforcer.Plan9MountInput{RootPrefix: "/run/gcs/c", MountPathPrefix: "/mounts/m[0-9]+", Target: shareB})
	in := request(idA)
	in.Mounts = []enforcer.Mount{{Destination: "/share", Source: shareB, Type: "bind", Options: []string{"ro"}}}
	refuse(t, e, in, "invalid mount list: /share")
	in.ContainerID = idB
	allow(t, e, in)
}

func TestEnvironmentDropping(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}, "allow_environment_variable_dropping"))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.EnvList = []string{"X=1", "MODE=b", "PATH=/bin", "MODE=b", "Y"}
	d, _ := allow(t, e, in)
	if want := []string{"MODE=b", "PATH=/bin", "MODE=b"}; !slices.Equal(d.Env, want) {
		t.Errorf("got %q, want the request's order and duplicates: %q", d.Env, want)
	}
}

func TestDroppingNeedsRequiredVariables(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}, "allow_environment_variable_dropping"))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.EnvList = []string{"MODE=b", "X=1"}
	refuse(t, e, in, "invalid env list", "invalid env list: X", "missing required environment variable")
}

func TestDroppingIsUndecidableBetweenTwins(t *testing.T) {
	one, two := web(), web()
	one.EnvRules = []testEnv{{Pattern: "A=1", Strategy: "string"}}
	two.EnvRules = []testEnv{{Pattern: "B=1", Strategy: "string"}}
	e := load(t, policyText(t, []testContainer{one, two}, "allow_environment_variable_dropping"))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.EnvList = []string{"A=1", "B=1"}
	refuse(t, e, in, "invalid env list")
	in.EnvList = []string{"A=1", "C=1"}
	d, _ := allow(t, e, in)
	if !slices.Equal(d.Env, []string{"A=1"}) {
		t.Errorf("got %q, want A only", d.Env)
	}
}

func TestCapabilityDropping(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}, "allow_capability_dropping"))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.Capabilities.Bounding = []string{"CAP_SYS_ADMIN", "CAP_KILL"}
	in.Capabilities.Ambient = []string{"CAP_KILL"}
	d, _ := allow(t, e, in)
	if c := d.Capabilities; !slices.Equal(c.Bounding, []string{"CAP_KILL"}) || len(c.Ambient) != 0 {
		t.Errorf("got %+v, want CAP_KILL in bounding and effective only", c)
	}
}

func TestCapabilityDroppingIsUndecidableBetweenTwins(t *testing.T) {
	one, two := web(), web()
	one.Capabilities = &enforcer.Capabilities{Bounding: []string{"CAP_KILL"}}
	two.Capabilities = &enforcer.Capabilities{Bounding: []string{"CAP_CHOWN"}}
	e := load(t, policyText(t, []testContainer{one, two}, "allow_capability_dropping"))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.Capabilities = enforcer.Capabilities{Bounding: []string{"CAP_KILL", "CAP_CHOWN"}}
	refuse(t, e, in, "containers only distinguishable by capabilties")
}

func TestNameValueRules(t *testing.T) {
	text := policyText(t, []testContainer{web()})
	const rules = `{"name":"[A-Z]+_TOKEN","name_strategy":"re2","value":"a=b","value_strategy":"string","required":false}`
	e := load(t, replaceOnce(t, text, `"env_rules":[`, `"env_rules":[`+rules+`,`))
	mountImage(t, e, idA, 1)
	in := request(idA)
	for _, bad := range []string{"MY_TOKEN=a", "MY_TOKEN", "my_TOKEN=a=b", "MY_TOKEN=a=b="} {
		in.EnvList = []string{"PATH=/bin", bad}
		name, _, _ := cutEnv(bad)
		refuse(t, e, in, "invalid env list", "invalid env list: "+name)
	}
	in.EnvList = []string{"PATH=/bin", "MY_TOKEN=a=b"}
	allow(t, e, in)
}
