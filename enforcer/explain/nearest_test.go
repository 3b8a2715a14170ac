package explain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/explain"
)

func web(i int) *entry.Container {
	return &entry.Container{
		Index: i, Name: fmt.Sprintf("web%d", i), Command: []string{"/bin/web", "-p", "80"}, Layers: []string{"base", "top"}, WorkingDir: "/srv",
		EnvRules: []*entry.EnvRule{
			{Whole: true, Pattern: "MODE=fast", Strategy: "string", Required: true},
			{Whole: true, Pattern: "(?:NONCE=[0-9a-f]+)", Strategy: "re2"},
			{Split: true, Name: "SEED", NameStrategy: "string", Value: "[0-9]+", ValueStrategy: "re2"},
		},
		User: &entry.User{
			UserIDName: entry.IDName{Pattern: "1000", Strategy: "id"}, GroupIDNames: []entry.IDName{{Pattern: "web.*", Strategy: "re2"}},
			Umask: "0022",
		},
		Mounts: []*entry.Mount{
			{Destination: "/data", Source: "sandbox:///tmp/data/.+", Type: "bind", Options: []string{"rbind", "ro"}},
			{Destination: "/share", Source: "plan9://", Type: "bind", Options: []string{"rbind"}},
			{Destination: "/huge", Source: "hugepages://2M/.+", Type: "bind"},
		},
		ExecProcesses: []*entry.ExecProcess{{Command: []string{"/bin/check", "-v"}, Signals: []int64{9}}, {Command: []string{"/bin/dump"}}},
		Signals:       []int64{9, 15},
		Capabilities:  &entry.Capabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}},
	}
}

// fitting is a request that web containers allow.
func fitting() enforcer.CreateContainerInput {
	return enforcer.CreateContainerInput{
		ContainerID: "c", ArgList: []string{"/bin/web", "-p", "80"}, WorkingDir: "/srv", EnvList: []string{"MODE=fast", "NONCE=0f", "SEED=3"},
		SandboxDir: "/box", HugePagesDir: "/huge-", User: enforcer.User{ID: "1000", Name: "w"}, Groups: []enforcer.User{{ID: "5", Name: "webbers"}},
		Umask: "0022", Mounts: []enforcer.Mount{
			{Destination: "/data", Source: "/box/tmp/data/1", Type: "bind", Options: []string{"ro", "rbind"}},
			{Destination: "/share", Source: "/shared", Type: "bind", Options: []string{"rbind"}},
			{Destination: "/huge", Source: "/huge-2M/x", Type: "bind"},
			{Destination: "/proc", Source: "proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		},
		Capabilities: enforcer.Capabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}},
	}
}

func options() explain.Options {
	return explain.Options{
		DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(), Shares: map[string]string{"/shared": "c"},
		Devices: map[string]string{"/m/0": "base", "/m/1": "top", "/m/2": "other", "/m/3": "base"},
	}
}

func TestNearestCreateDifferences(t *testing.T) {
	type request = enforcer.CreateContainerInput
	cases := []struct {
		name   string
		change func(*request, *entry.Container, *explain.Options)
		want   []explain.Difference
	}{
		{"fits", func(r *request, c *entry.Container, o *explain.Options) {}, nil},
		{"argument", func(r *request, c *entry.Container, o *explain.Options) { r.ArgList[2] = "81" }, []explain.Difference{{"process.args[2]", `"80"`, `"81"`}}},
		{
			"argument-redacted", func(r *request, c *entry.Container, o *explain.Options) { r.ArgList[2], o.Redact = "8181", true },
			[]explain.Difference{{"process.args[2]", "argument of 2 bytes", "argument of 4 bytes"}},
		},
		{
			"fewer-arguments", func(r *request, c *entry.Container, o *explain.Options) { r.ArgList = r.ArgList[:2] },
			[]explain.Difference{{"process.args[2]", `"80"`, "nothing (2 arguments in all)"}},
		},
		{
			"more-arguments", func(r *request, c *entry.Container, o *explain.Options) { r.ArgList = append(r.ArgList, "x", "y") },
			[]explain.Difference{{"process.args[3]", "nothing (3 arguments in all)", `"x"`}},
		},
		{
			"long-arguments", func(r *request, c *entry.Container, o *explain.Options) {
				c.Command, r.ArgList = []string{strings.Repeat("x", 300) + "a"}, []string{strings.Repeat("x", 300) + "bb"}
			},
			[]explain.Difference{{
				"process.args[0]", `"` + strings.Repeat("x", 126) + `"... (301 bytes)`, `"` + strings.Repeat("x", 126) + `"... (302 bytes, another from byte 300 on)`,
			}},
		},
		{
			"command-null", func(r *request, c *entry.Container, o *explain.Options) { c.Command, c.CommandNull = nil, true },
			[]explain.Difference{{"process.args", "nothing: the policy's command is null, which no request equals", `"/bin/web" (3 arguments in all)`}},
		},
		{"directory", func(r *request, c *entry.Container, o *explain.Options) { r.WorkingDir = "/" }, []explain.Difference{{"process.cwd", `"/srv"`, `"/"`}}},
		{
			"user", func(r *request, c *entry.Container, o *explain.Options) { r.User.ID = "0" },
			[]explain.Difference{{"process.user", `id "1000"`, `id "0" name "w"`}},
		},
		{
			"group", func(r *request, c *entry.Container, o *explain.Options) {
				r.Groups = append(r.Groups, enforcer.User{ID: "6", Name: "xweb"})
			},
			[]explain.Difference{{"process.user.groups[1]", `re2 "web.*"`, `id "6" name "xweb"`}},
		},
		{"umask", func(r *request, c *entry.Container, o *explain.Options) { r.Umask = "0000" }, []explain.Difference{{"process.user.umask", `"0022"`, `"0000"`}}},
		{
			"no-user-in-policy", func(r *request, c *entry.Container, o *explain.Options) { c.User = nil },
			[]explain.Difference{{"process.user", "nothing: the policy's container has no user", `id "1000" name "w"`}},
		},
		{
			"no-new-privileges", func(r *request, c *entry.Container, o *explain.Options) { c.NoNewPrivileges = true },
			[]explain.Difference{{"process.noNewPrivileges", "true", "false"}},
		},
		{"privileged", func(r *request, c *entry.Container, o *explain.Options) { r.Privileged = true }, []explain.Difference{{"privileged", "false", "true"}}},
		{
			"seccomp", func(r *request, c *entry.Container, o *explain.Options) { r.SeccompProfileSHA256 = "ab" },
			[]explain.Difference{{"linux.seccomp", "none", `"ab"`}},
		},
		{
			"devices", func(r *request, c *entry.Container, o *explain.Options) { r.Devices = make([]enforcer.Device, 2) },
			[]explain.Difference{{"linux.devices", "none", "2"}},
		},
		{
			"capability-added", func(r *request, c *entry.Container, o *explain.Options) {
				r.Capabilities.Effective = []string{"CAP_KILL", "CAP_SYS_ADMIN"}
				r.Capabilities.Permitted = r.Capabilities.Effective
			},
			[]explain.Difference{{"process.capabilities.effective,permitted", "not there", "CAP_SYS_ADMIN"}},
		},
		{
			"capability-added-dropping", func(r *request, c *entry.Container, o *explain.Options) {
				r.Capabilities.Effective, o.DropCapabilities = []string{"CAP_KILL", "CAP_SYS_ADMIN"}, true
			}, nil,
		},
		{
			"capability-missing-dropping", func(r *request, c *entry.Container, o *explain.Options) {
				r.Capabilities.Ambient, o.DropCapabilities = nil, true
				c.Capabilities.Ambient = []string{"CAP_KILL"}
			},
			[]explain.Difference{{"process.capabilities.ambient", "CAP_KILL", "not there"}},
		},
		{
			"default-capabilities", func(r *request, c *entry.Container, o *explain.Options) {
				c.Capabilities = nil
				u := aci.UnprivilegedCapabilities()
				r.Capabilities = enforcer.Capabilities{Bounding: u, Effective: u, Permitted: u}
			}, nil,
		},
		{
			"variable-without-rule", func(r *request, c *entry.Container, o *explain.Options) {
				r.EnvList = append(r.EnvList, "X=s3cret", "X=2")
			},
			[]explain.Difference{{"process.env X", "no variable of this name", "X=<<redacted>>"}},
		},
		{
			"variable-without-rule-dropping", func(r *request, c *entry.Container, o *explain.Options) {
				r.EnvList, o.DropEnvironment = append(r.EnvList, "X=s3cret"), true
			}, nil,
		},
		{
			"variable-with-other-value", func(r *request, c *entry.Container, o *explain.Options) { r.EnvList[1] = "NONCE=s3cret" },
			[]explain.Difference{{"process.env NONCE", "a value that env_rules[1] (NONCE) allows", "NONCE=<<redacted>>"}},
		},
		{
			"split-rule-with-other-value", func(r *request, c *entry.Container, o *explain.Options) { r.EnvList[2] = "SEED=s3cret" },
			[]explain.Difference{{"process.env SEED", "a value that env_rules[2] (SEED) allows", "SEED=<<redacted>>"}},
		},
		{
			"required-with-other-value", func(r *request, c *entry.Container, o *explain.Options) { r.EnvList[0] = "MODE=s3cret" },
			[]explain.Difference{{"process.env MODE", "a value that env_rules[0] (MODE) allows", "MODE=<<redacted>>"}},
		},
		{
			"required-with-other-value-dropping", func(r *request, c *entry.Container, o *explain.Options) {
				r.EnvList[0], o.DropEnvironment = "MODE=s3cret", true
			},
			[]explain.Difference{{"process.env MODE", "what env_rules[0] requires", "MODE=<<redacted>>"}},
		},
		{
			"required-missing", func(r *request, c *entry.Container, o *explain.Options) { r.EnvList = r.EnvList[1:] },
			[]explain.Difference{{"process.env MODE", "what env_rules[0] requires", "not there"}},
		},
		{
			"mount-unknown", func(r *request, c *entry.Container, o *explain.Options) { r.Mounts[0].Destination = "/etc" },
			[]explain.Difference{{`mounts["/etc"]`, "no mount at this destination", `type "bind" source "/box/tmp/data/1" options ro rbind`}},
		},
		{
			"mount-source", func(r *request, c *entry.Container, o *explain.Options) { r.Mounts[0].Source = "/box/tmp/x" },
			[]explain.Difference{{`mounts["/data"].source`, `"sandbox:///tmp/data/.+"`, `"/box/tmp/x"`}},
		},
		{
			"mount-options-and-type", func(r *request, c *entry.Container, o *explain.Options) {
				r.Mounts[0].Options, r.Mounts[0].Type = []string{"rbind", "rw"}, "tmpfs"
			},
			[]explain.Difference{{`mounts["/data"].type`, `"bind"`, `"tmpfs"`}, {`mounts["/data"].options`, "also ro", "also rw"}},
		},
		{
			"mount-option-twice", func(r *request, c *entry.Container, o *explain.Options) {
				r.Mounts[0].Options = []string{"rbind", "ro", "ro"}
			},
			[]explain.Difference{{`mounts["/data"].options`, "2 options", "3 options, some given twice"}},
		},
		{
			"share-of-another", func(r *request, c *entry.Container, o *explain.Options) { o.Shares["/shared"] = "d" },
			[]explain.Difference{{`mounts["/share"].source`, `"plan9://"`, `"/shared"`}},
		},
		{
			"no-default-mounts", func(r *request, c *entry.Container, o *explain.Options) { o.DefaultMounts = nil },
			[]explain.Difference{{`mounts["/proc"]`, "no mount at this destination", `type "proc" source "proc" options nosuid noexec nodev`}},
		},
		{
			"writable-sys", func(r *request, c *entry.Container, o *explain.Options) {
				r.Mounts = append(r.Mounts, aci.PrivilegedMounts()[0])
			},
			[]explain.Difference{{`mounts["/sys"].options`, "also ro", "also rw"}},
		},
		{
			"writable-sys-elevated", func(r *request, c *entry.Container, o *explain.Options) {
				r.Mounts, c.AllowElevated = append(r.Mounts, aci.PrivilegedMounts()[0]), true
			}, nil,
		},
		{
			"writable-sys-of-the-sandbox", func(r *request, c *entry.Container, o *explain.Options) {
				r.Mounts, r.IsSandboxContainer = append(r.Mounts, aci.PrivilegedMounts()[0]), true
			}, nil,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in, container, opts := fitting(), web(3), options()
			c.change(&in, container, &opts)
			m, ok := explain.Nearest([]*entry.Container{container}, in, opts)
			if !ok || m.Container != "web3" || m.Index != 3 {
				t.Fatalf("got %+v, %v", m, ok)
			}
			if diff := cmp.Diff(c.want, m.Differences, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(fmt.Sprint(m), "s3cret") {
				t.Errorf("got %v, which has a value in it", m)
			}
			if fits := explain.Fitting([]*entry.Container{container}, in, opts); (len(fits) == 1) != (len(c.want) == 0) {
				t.Errorf("got %d fitting", len(fits))
			}
		})
	}
}

// The same program with a wrong setting is nearer than another program with the right ones.
func TestNearestFindsTheContainerThatWasMeant(t *testing.T) {
	other := web(0)
	other.Command = []string{"/bin/other", "-p", "80"}
	sameProgram := web(1)
	sameProgram.Command = []string{"/bin/web", "-q"}
	meant := web(2)
	meant.WorkingDir, meant.User.UserIDName.Pattern, meant.NoNewPrivileges = "/elsewhere", "7", true
	list := []*entry.Container{other, nil, sameProgram, meant, web(4), web(5)}

	in, opts := fitting(), options()
	if m, _ := explain.Nearest(list, in, opts); m.Index != 4 || len(m.Differences) != 0 {
		t.Errorf("got %+v, want the first that fits", m)
	}
	if got := explain.Fitting(list, in, opts); len(got) != 2 || got[0].Index != 4 || got[1].Index != 5 {
		t.Errorf("got %d that fit", len(got))
	}
	if m, _ := explain.Nearest(list[:4], in, opts); m.Index != 2 || len(m.Differences) != 3 {
		t.Errorf("got %+v, want container 2 with three settings", m)
	}
	if m, _ := explain.Nearest(list[:3], in, opts); m.Index != 1 {
		t.Errorf("got %+v, want the same program", m)
	}
}

func TestNearestExecAndSignal(t *testing.T) {
	exec := enforcer.ExecInContainerInput{
		ContainerID: "c", ArgList: []string{"/bin/check", "-v"}, WorkingDir: "/srv", EnvList: []string{"MODE=fast"},
		User: enforcer.User{ID: "1000"}, Umask: "0022", Capabilities: fitting().Capabilities,
	}
	with := func(change func(*enforcer.ExecInContainerInput)) enforcer.ExecInContainerInput {
		in := exec
		change(&in)
		return in
	}
	bare := web(0)
	bare.ExecProcesses = nil
	cases := []struct {
		name      string
		container *entry.Container
		in        enforcer.Input
		want      []explain.Difference
	}{
		{"exec-fits", web(0), exec, nil},
		{
			"nearest-process", web(0), with(func(in *enforcer.ExecInContainerInput) { in.ArgList = []string{"/bin/check", "-x"} }),
			[]explain.Difference{{"process.args[1]", `"-v"`, `"-x"`}},
		},
		{
			"no-process", bare, exec,
			[]explain.Difference{{"process.args", "nothing: no command may be executed in this container", `"/bin/check" (2 arguments in all)`}},
		},
		{
			"environment-of-the-container", web(0), with(func(in *enforcer.ExecInContainerInput) { in.EnvList = nil }),
			[]explain.Difference{{"process.env MODE", "what env_rules[0] requires", "not there"}},
		},
		{"signal-fits", web(0), enforcer.SignalContainerProcessInput{Signal: 15, IsInitProcess: true}, nil},
		{
			"signal", web(0),
			enforcer.SignalContainerProcessInput{Signal: 1, IsInitProcess: true},
			[]explain.Difference{{"signal", "one of 9, 15", "1"}},
		},
		{
			"signal-of-a-process", web(0),
			enforcer.SignalContainerProcessInput{Signal: 15, ArgList: []string{"/bin/check", "-v"}},
			[]explain.Difference{{"signal", "one of 9", "15"}},
		},
		{
			"signal-of-a-process-without", web(0),
			enforcer.SignalContainerProcessInput{Signal: 15, ArgList: []string{"/bin/dump"}},
			[]explain.Difference{{"signal", "none", "15"}},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, ok := explain.Nearest([]*entry.Container{c.container}, c.in, explain.Options{})
			if diff := cmp.Diff(c.want, m.Differences, cmpopts.EquateEmpty()); !ok || diff != "" {
				t.Errorf("%v (-want +got)\n%s", ok, diff)
			}
		})
	}
	external := explain.External([]*entry.ExternalProcess{nil, {Command: []string{"/bin/x"}, WorkingDir: "/"}})
	m, ok := explain.Nearest(external, enforcer.ExecExternalInput{ArgList: []string{"/bin/x"}, WorkingDir: "/y"}, explain.Options{})
	if want := []explain.Difference{{"process.cwd", `"/"`, `"/y"`}}; !ok || m.Index != 1 || !cmp.Equal(m.Differences, want) {
		t.Errorf("got %+v, want %v", m, want)
	}
}

func TestNearestLayers(t *testing.T) {
	cases := []struct {
		name  string
		paths []string // top first
		want  []explain.Difference
	}{
		{"same", []string{"/m/1", "/m/0"}, nil},
		{"one-other", []string{"/m/2", "/m/0"}, []explain.Difference{{"layers[1]", `"top"`, `"other"`}}},
		{"one-missing", []string{"/m/1"}, []explain.Difference{{"layers[0]", `"base"`, "no layer here"}}},
		{"one-added", []string{"/m/1", "/m/2", "/m/0"}, []explain.Difference{{"layers[1]", "no layer here", `"other"`}}},
		{"none", nil, []explain.Difference{{"layers[0]", `"base"`, "no layer here"}, {"layers[1]", `"top"`, "no layer here"}}},
		{"swapped", []string{"/m/0", "/m/1"}, []explain.Difference{{"layers[0]", `"base"`, `"top"`}, {"layers[1]", `"top"`, `"base"`}}},
		{"not-mounted", []string{"/m/9", "/m/0"}, []explain.Difference{{"layers[1]", "a mounted layer", `nothing is mounted at "/m/9"`}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, ok := explain.Nearest([]*entry.Container{web(0)}, enforcer.MountOverlayInput{LayerPaths: c.paths}, options())
			if diff := cmp.Diff(c.want, m.Differences, cmpopts.EquateEmpty()); !ok || diff != "" {
				t.Errorf("%v (-want +got)\n%s", ok, diff)
			}
		})
	}
	device := func(hash string) explain.Match {
		m, _ := explain.Nearest([]*entry.Container{nil, web(0)}, enforcer.MountDeviceInput{DeviceHash: hash}, explain.Options{})
		return m
	}
	if m := device("top"); m.Index != -1 || len(m.Differences) != 0 {
		t.Errorf("got %+v of a known layer", m)
	}
	if m := device("x"); m.Index != -1 || len(m.Differences) != 1 || m.Differences[0].Got != `"x"` {
		t.Errorf("got %+v of an unknown layer", m)
	}
	many := web(0)
	many.Layers = make([]string, 300)
	if m, ok := explain.Nearest([]*entry.Container{many}, enforcer.MountOverlayInput{}, explain.Options{}); !ok || len(m.Differences) != 300 {
		t.Errorf("got %d differences, want 300", len(m.Differences))
	}
}

func TestNearestHasNothingToSay(t *testing.T) {
	if m, ok := explain.Nearest(nil, fitting(), explain.Options{}); ok {
		t.Errorf("got %+v without candidates", m)
	}
	if m, ok := explain.Nearest([]*entry.Container{web(0)}, enforcer.DumpStacksInput{}, explain.Options{}); ok {
		t.Errorf("got %+v for a point without containers", m)
	}
}
