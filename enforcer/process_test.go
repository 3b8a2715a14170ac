package enforcer_test

import (
	"context"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

// running is an enforcer of one policy in which idA was created.
func running(t *testing.T, definitions []testContainer, flags ...string) *enforcer.Enforcer {
	t.Helper()
	e := load(t, policyText(t, definitions, flags...))
	mountImage(t, e, idA, 1)
	allow(t, e, request(idA))
	return e
}

func TestExecInContainer(t *testing.T) {
	cases := []struct {
		name    string
		change  func(*enforcer.ExecInContainerInput)
		reasons []string
	}{
		{name: "listed"},
		{"command-of-init", func(in *enforcer.ExecInContainerInput) { in.ArgList = []string{"/bin/web", "--serve"} }, []string{"invalid command"}},
		{"command-with-argument", func(in *enforcer.ExecInContainerInput) { in.ArgList = []string{"/bin/ls", "/"} }, []string{"invalid command"}},
		{"working-dir", func(in *enforcer.ExecInContainerInput) { in.WorkingDir = "/" }, []string{"invalid working directory"}},
		{"env", func(in *enforcer.ExecInContainerInput) { in.EnvList = append(in.EnvList, "LD_PRELOAD=/x") }, []string{"invalid env list: LD_PRELOAD"}},
		{"env-required", func(in *enforcer.ExecInContainerInput) { in.EnvList = nil }, []string{"missing required environment variable"}},
		{"umask", func(in *enforcer.ExecInContainerInput) { in.Umask = "0077" }, []string{"invalid user"}},
		{"caps", func(in *enforcer.ExecInContainerInput) { in.Capabilities.Ambient = []string{"CAP_KILL"} }, []string{"capabilities don't match"}},
		{"other-container", func(in *enforcer.ExecInContainerInput) { in.ContainerID = idB }, []string{
			"container not started", "invalid command", "invalid env list: PATH,MODE", "invalid noNewPrivileges", "invalid user",
			"invalid working directory",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := running(t, []testContainer{web()})
			in := execRequest(idA)
			if c.change == nil {
				d, _ := allow(t, e, in)
				if !slices.Equal(d.Env, in.EnvList) {
					t.Errorf("got env %q", d.Env)
				}
				allow(t, e, in)
				return
			}
			c.change(&in)
			refuse(t, e, in, c.reasons...)
		})
	}
}

func TestExecNeedsCreatedContainer(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	mountImage(t, e, idA, 1)
	refuse(t, e, execRequest(idA), "container not started")
}

func TestExecUsesPrivilegeOfCreate(t *testing.T) {
	definition := web()
	definition.AllowElevated, definition.Capabilities = true, nil
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.Capabilities = defaultCaps(unprivileged)
	allow(t, e, in)
	exec := execRequest(idA)
	exec.Capabilities = defaultCaps(privileged)
	refuse(t, e, exec, "capabilities don't match")
	exec.Capabilities = defaultCaps(unprivileged)
	allow(t, e, exec)
}

func TestSignals(t *testing.T) {
	const refused = "target isn't allowed to receive the signal"
	e := running(t, []testContainer{web()})
	signal := func(n int, init bool, args ...string) enforcer.SignalContainerProcessInput {
		return enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: n, IsInitProcess: init, ArgList: args}
	}
	allow(t, e, signal(9, true, "/bin/web", "--serve"))
	refuse(t, e, signal(15, true, "/bin/web", "--serve"), refused)
	refuse(t, e, signal(0, true), refused)
	allow(t, e, signal(15, false, "/bin/ls"))
	refuse(t, e, signal(9, false, "/bin/ls"), refused)
	refuse(t, e, signal(15, false, "/bin/web", "--serve"), refused)
	other := signal(9, true)
	other.ContainerID = idB
	refuse(t, e, other, "container not started", refused)
}

func TestShutdown(t *testing.T) {
	e := running(t, []testContainer{web()})
	refuse(t, e, enforcer.ShutdownContainerInput{ContainerID: idB}, "container not started")
	allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
	// A second, harder shutdown is still allowed; nothing else is.
	allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
	refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 9, IsInitProcess: true},
		"target isn't allowed to receive the signal")
}

func TestExecExternal(t *testing.T) {
	const list = `external_processes := [
  {"command": ["/bin/df"], "working_dir": "/", "env_rules": [{"pattern": "A=1", "strategy": "string", "required": false}], "allow_stdio_access": true},
  {"command": ["/bin/two"], "working_dir": "/", "env_rules": [], "allow_stdio_access": true},
  {"command": ["/bin/two"], "working_dir": "/", "env_rules": [], "allow_stdio_access": false}]
`
	e := load(t, policyText(t, []testContainer{web()})+list)
	in := enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, EnvList: []string{"A=1"}, WorkingDir: "/"}
	d, _ := allow(t, e, in)
	if !d.AllowStdio || !slices.Equal(d.Env, in.EnvList) {
		t.Errorf("got %+v", d)
	}
	bad := in
	bad.ArgList = []string{"/bin/sh"}
	refuse(t, e, bad, "invalid command")
	bad = in
	bad.WorkingDir = "/root"
	refuse(t, e, bad, "invalid working directory")
	bad = in
	bad.EnvList = []string{"B=1"}
	refuse(t, e, bad, "invalid env list: B")
	refuse(t, e, enforcer.ExecExternalInput{ArgList: []string{"/bin/two"}, WorkingDir: "/"},
		"external processes only distinguishable by allow_stdio_access")
	refuse(t, load(t, policyText(t, []testContainer{web()})), in, "invalid command", "invalid env list: A",
		"invalid working directory")
}

func TestFlags(t *testing.T) {
	cases := []struct {
		flag string
		in   enforcer.Input
	}{
		{"allow_properties_access", enforcer.GetPropertiesInput{}},
		{"allow_dump_stacks", enforcer.DumpStacksInput{}},
		{"allow_runtime_logging", enforcer.RuntimeLoggingInput{}},
		{"allow_host_network", enforcer.HostNetworkInput{}},
	}
	for _, c := range cases {
		t.Run(c.flag, func(t *testing.T) {
			d := refuse(t, load(t, policyText(t, nil)), c.in)
			if d.Field != "policy."+c.flag {
				t.Errorf("got field %q, want the flag", d.Field)
			}
			allow(t, load(t, policyText(t, nil, c.flag)), c.in)
		})
	}
}

// Near twins: two definitions of one image that differ in one field. What happens decides which of them is meant, and from
// then on the other is out.

func TestExecNarrowsTwins(t *testing.T) {
	one, two := web(), web()
	one.ExecProcesses = []testProcess{{Command: []string{"/bin/one"}, Signals: []int{1}}}
	two.ExecProcesses = []testProcess{{Command: []string{"/bin/two"}, Signals: []int{2}}}
	e := running(t, []testContainer{one, two})
	exec := execRequest(idA)
	exec.ArgList = []string{"/bin/one"}
	allow(t, e, exec)
	exec.ArgList = []string{"/bin/two"}
	refuse(t, e, exec, "invalid command")
	refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 2, ArgList: []string{"/bin/two"}},
		"target isn't allowed to receive the signal")
}

func TestSignalNarrowsTwins(t *testing.T) {
	one, two := web(), web()
	one.Signals, two.Signals = []int{1}, []int{2}
	two.ExecProcesses = nil
	e := running(t, []testContainer{one, two})
	allow(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 2, IsInitProcess: true})
	refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 1, IsInitProcess: true},
		"target isn't allowed to receive the signal")
	refuse(t, e, execRequest(idA), "invalid command")
}

func TestCreateNarrowsTwins(t *testing.T) {
	one, two := web(), web()
	one.Command, two.Command = []string{"/bin/one"}, []string{"/bin/two"}
	two.ExecProcesses = []testProcess{{Command: []string{"/bin/sh"}}}
	e := load(t, policyText(t, []testContainer{one, two}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.ArgList = []string{"/bin/one"}
	allow(t, e, in)
	exec := execRequest(idA)
	exec.ArgList = []string{"/bin/sh"}
	refuse(t, e, exec, "invalid command")
}

func TestRefusalDoesNotNarrow(t *testing.T) {
	one, two := web(), web()
	one.ExecProcesses = []testProcess{{Command: []string{"/bin/one"}}}
	two.ExecProcesses = []testProcess{{Command: []string{"/bin/two"}}}
	e := running(t, []testContainer{one, two})
	for _, args := range []string{"/bin/one", "/bin/two"} {
		exec := execRequest(idA)
		exec.ArgList, exec.WorkingDir = []string{args}, "/elsewhere"
		refuse(t, e, exec, "invalid working directory")
	}
	// A decision that is not committed narrows nothing either.
	for _, args := range []string{"/bin/one", "/bin/two"} {
		exec := execRequest(idA)
		exec.ArgList = []string{args}
		if _, err := e.Decide(context.Background(), exec); err != nil {
			t.Error(err)
		}
	}
}

func TestTwinsMustAgreeOnStdio(t *testing.T) {
	one, two := web(), web()
	two.AllowStdio = false
	e := load(t, policyText(t, []testContainer{one, two}))
	mountImage(t, e, idA, 1)
	d := refuse(t, e, request(idA), "containers only distinguishable by allow_stdio_access")
	if d.Container != "web" {
		t.Errorf("got container %q, want the name both have", d.Container)
	}
	two.Name = "other"
	e = load(t, policyText(t, []testContainer{one, two}))
	mountImage(t, e, idA, 1)
	if d := refuse(t, e, request(idA), "containers only distinguishable by allow_stdio_access"); d.Container != "" {
		t.Errorf("got container %q, want none: two are left", d.Container)
	}
}
