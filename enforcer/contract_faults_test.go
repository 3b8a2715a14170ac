package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// The faults that are known of the reference (policy contract, sections 7.1 and 7.2) and the tests that show that they are not here.
//
//	hooks of the host run in the guest              agent/container TestParseRefuses (hook), agent/rpc (guest_hook_path)
//	concurrent mount and create                     TestAnyInterleavingIsSerial; agent/sandbox TestContainerIsFoundWhenItsTurnHasCome
//	a package line replaces framework rules         TestPolicyTextRefused; enforcer/fragment TestNamespace, enforcer/rego TestReservedNames
//	paths and ids of the host's making              agent/sandbox TestKey, TestRefusedCreatesLeaveNothing; TestFault_TargetsAreTheAgents
//	mount options of the host's making              agent/rpc TestParseStoragesRefuses, agent/storage TestOverlayRefuses, agent/sandbox TestRefusedCreatesLeaveNothing
//	devices in the spec                             TestContractCreateConditions (devices), agent/container TestParseRefuses
//	a host name that is lines of /etc/hosts         agent/network TestCheckHostname, TestParseHostsRefuses
//	layers unmounted while in use                   agent/sandbox TestDiskOfTwoContainersIsCounted, TestUnknownStatePoisons
//	state out of step after a failed mount          agent/sandbox TestFailureAtEachStepIsUndone and the twins' tests
//	{"allow_all": true} is a policy                 TestPolicyTextRefused (no-rego)
//	RE2 is not anchored, or not as a group          TestContractRegexIsAnchoredAsAGroup, TestFault_EnvironmentPatternIsAnchored
//	user judged is not the user that runs           TestContractUserStrategies; agent/sandbox TestFault_ExecRunsAsTheUserThatWasJudged
//	writable /sys of the pause container            TestContractCreateConditions (sandbox-sysfs), TestContractConfcomShapes
//	a chain of one certificate                      TestFragmentChainLengths
//	files are touched before the decision           agent/sandbox TestFault_NothingIsMadeBeforeTheForm, TestRefusedCreateWritesNoHosts
//	frames of any size                              agent/api/session, agent/rpc TestTooManyPartsAreRefused; enforcer/point TestInputsAreBounded
//	false and missing reasons                       TestFault_NoFalseReasons, TestFault_EveryRefusalNamesARule
//	defaultMounts grow                              TestFault_DefaultMountsDoNotGrow
//	order and duplicates of the environment         TestFault_EnvironmentOrderIsKept, TestContractEnvironmentDropping
//	signals after a shutdown                        TestFault_AfterShutdown
//	built-ins reach outside, no deadline            TestFault_NoBuiltinReachesOutside, TestNothingReachesOutside, TestFault_Deadline
//	old versions allow                              TestContractDefaultsByVersion (strict); agent/gate TestUnboundAdmitsFour, TestBindPolicyNeedsHostData
//	errors carry stacks and values                  TestFault_ErrorsAreOneLineWithoutValues, enforcer/rego TestPanicIsRefusal
//	Rego v0 is broken                               TestContractRegoVersions

// TestFault_EnvironmentPatternIsAnchored is the case of the contract's section 3.2, at every point that has an environment.
func TestFault_EnvironmentPatternIsAnchored(t *testing.T) {
	process := `external_processes := [{"command": ["/x"], "working_dir": "/", "env_rules": [{"pattern": "MODE=a|MODE=b", "strategy": "re2", "required": false}], "allow_stdio_access": true}]` + "\n"
	for _, flags := range [][]string{nil, {envFlag}} {
		e := imaged(t, one(t, nil, flags...)+process)
		allow(t, e, request(idA))
		for _, escape := range []string{"xMODE=b", "MODE=ax", "MODE=a|MODE=b", "MODE=b\n", "\nMODE=a"} {
			env := []string{"PATH=/bin", escape}
			for _, in := range []enforcer.Input{
				changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = env }),
				enforcer.ExecExternalInput{ArgList: []string{"/x"}, WorkingDir: "/", EnvList: env[1:]},
			} {
				d, err := e.Decide(t.Context(), in)
				if flags == nil && err == nil || err == nil && slices.Contains(d.Env, escape) {
					t.Errorf("%s: %q is kept", in.Point(), escape)
				}
			}
		}
	}
}

// TestFault_EnvironmentOrderIsKept: the reference's goes through a map.
func TestFault_EnvironmentOrderIsKept(t *testing.T) {
	definition := web()
	definition.EnvRules = []testEnv{{Pattern: "V[0-9]+=.*", Strategy: "re2"}}
	var env []string
	for i := range 200 {
		env = append(env, fmt.Sprintf("V%d=%d", (i*37)%50, i%3))
	}
	for _, flags := range [][]string{nil, {envFlag}} {
		e := imaged(t, policyText(t, []testContainer{definition}, flags...))
		if d := would(t, e, create(func(in *enforcer.CreateContainerInput) { in.EnvList = env })); !slices.Equal(d.Env, env) {
			t.Errorf("flags %v: got another order: %q", flags, d.Env)
		}
	}
}

// TestFault_NoFalseReasons: one thing is wrong, one reason is given; on exec there is nothing about fields that exec entries do not have.
func TestFault_NoFalseReasons(t *testing.T) {
	strict := func(c *testContainer) {
		c.NoNewPrivs = true
		c.User.UserIDName = testPattern{Pattern: "0", Strategy: "id"}
	}
	for _, flags := range [][]string{nil, {envFlag}, {capsFlag}, {envFlag, capsFlag}} {
		t.Run(strings.Join(flags, "-"), func(t *testing.T) {
			e := imaged(t, one(t, strict, flags...))
			ask := create(func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = true })
			for reason, change := range map[string]func(*enforcer.CreateContainerInput){
				"invalid command":                   func(in *enforcer.CreateContainerInput) { in.ArgList = nil },
				"invalid working directory":         func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" },
				"invalid seccomp":                   func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = "x" },
				"privileged escalation not allowed": func(in *enforcer.CreateContainerInput) { in.Privileged = true },
				"invalid noNewPrivileges":           func(in *enforcer.CreateContainerInput) { in.NoNewPrivileges = false },
				"invalid user":                      func(in *enforcer.CreateContainerInput) { in.User.ID = "1" },
				"invalid mount list: /x":            func(in *enforcer.CreateContainerInput) { in.Mounts = []enforcer.Mount{{Destination: "/x"}} },
				"devices not supported":             func(in *enforcer.CreateContainerInput) { in.Devices = make([]enforcer.Device, 1) },
				"capabilities don't match":          func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding = nil },
			} {
				refuse(t, e, changed(ask, change), reason)
			}
			allow(t, e, ask)
			exec := changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.NoNewPrivileges = true })
			for reason, change := range map[string]func(*enforcer.ExecInContainerInput){
				"invalid command":                       func(in *enforcer.ExecInContainerInput) { in.ArgList = nil },
				"invalid working directory":             func(in *enforcer.ExecInContainerInput) { in.WorkingDir = "/" },
				"invalid noNewPrivileges":               func(in *enforcer.ExecInContainerInput) { in.NoNewPrivileges = false },
				"invalid user":                          func(in *enforcer.ExecInContainerInput) { in.Umask = "0" },
				"capabilities don't match":              func(in *enforcer.ExecInContainerInput) { in.Capabilities.Bounding = nil },
				"missing required environment variable": func(in *enforcer.ExecInContainerInput) { in.EnvList = nil },
			} {
				refuse(t, e, changed(exec, change), reason)
			}
		})
	}
}

// TestFault_DroppedVariableIsNotTheCause: with dropping, a variable that nobody knows would be dropped; whatever else is wrong is what the
// refusal tells.
func TestFault_DroppedVariableIsNotTheCause(t *testing.T) {
	e := imaged(t, one(t, nil, envFlag))
	for rule, change := range map[string]func(*enforcer.CreateContainerInput){
		"invalid command":                   func(in *enforcer.CreateContainerInput) { in.ArgList = nil },
		"invalid working directory":         func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" },
		"invalid seccomp":                   func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = "x" },
		"invalid mount list":                func(in *enforcer.CreateContainerInput) { in.Mounts = []enforcer.Mount{{Destination: "/x"}} },
		"privileged escalation not allowed": func(in *enforcer.CreateContainerInput) { in.Privileged = true },
		"capabilities don't match":          func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding = nil },
	} {
		ask := create(func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "DROP=me") })
		would(t, e, ask)
		_, err := e.Decide(t.Context(), changed(ask, change))
		var denial *enforcer.Denial
		if !errors.As(err, &denial) || denial.Rule != rule {
			t.Errorf("got %v, want rule %q", err, rule)
		}
	}
}

// TestFault_EveryRefusalNamesARule: the reference gives no reason for flags and for some creates; here every refusal of every point says
// something.
func TestFault_EveryRefusalNamesARule(t *testing.T) {
	for _, text := range []string{one(t, nil), "package policy\napi_version := \"0.1.0\"\nframework_version := \"0.1.0\"\n"} {
		e := both(t, text)
		for _, p := range enforcer.Points() {
			_, err := e.Decide(t.Context(), empty(t, p.Point))
			var denial *enforcer.Denial
			if errors.As(err, &denial) && (denial.Rule == "" || denial.Field == "" || denial.Rule == "the policy gives no reason" && p.Default != "framework") {
				t.Errorf("%s: got rule %q, field %q", p.Point, denial.Rule, denial.Field)
			}
		}
	}
}

// TestFault_DefaultMountsDoNotGrow: any number of creates, refused, allowed and taken back, leaves the list of accepted mounts as it is.
func TestFault_DefaultMountsDoNotGrow(t *testing.T) {
	text := replaceOnce(t, one(t, nil), "reason := data.framework.reason", `reason := {"errors": [sprintf("%d %d", [count(data.defaultMounts), count(data.privilegedMounts)])]}`)
	e := custom(t, text, withMounts())
	want := fmt.Sprintf("%d %d", len(aci.DefaultMounts())+1, len(aci.PrivilegedMounts()))
	hosts := enforcer.Mount{Destination: "/etc/hosts", Source: "/run/x", Type: "bind", Options: []string{"ro"}}
	if err := e.AddDefaultMounts([]enforcer.Mount{hosts}); err != nil {
		t.Fatal(err)
	}
	mountImage(t, e, idA, 1)
	withHosts := create(func(in *enforcer.CreateContainerInput) { in.Mounts = append(in.Mounts, hosts) })
	for range 5 {
		_, undo := allow(t, e, withHosts)
		undo()
		refuse(t, e, changed(withHosts, func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" }), want)
		if err := e.AddDefaultMounts([]enforcer.Mount{hosts}); err == nil {
			t.Fatal("the list grew")
		}
	}
	allow(t, e, withHosts)
	refuse(t, e, enforcer.DumpStacksInput{}, want)
}

// TestFault_DefaultMountsAreOneSandboxs: what a sandbox adds counts in that enforcer only, for both judges.
func TestFault_DefaultMountsAreOneSandboxs(t *testing.T) {
	hosts := enforcer.Mount{Destination: "/etc/hosts", Source: "/run/x", Type: "bind", Options: []string{"ro"}}
	ask := create(func(in *enforcer.CreateContainerInput) { in.Mounts = append(in.Mounts, hosts) })
	first, second := imaged(t, one(t, nil)), imaged(t, one(t, nil))
	pending := would(t, first, request(idA))
	if err := first.AddDefaultMounts([]enforcer.Mount{hosts}); err != nil {
		t.Fatal(err)
	}
	if _, err := pending.Commit(); err == nil {
		t.Error("a decision that was made with other mounts was committed")
	}
	would(t, first, ask)
	refuse(t, second, ask, "invalid mount list: /etc/hosts")
}

// TestFault_AfterShutdown: a shutdown can be repeated and harder; what is refused afterwards is refused with a true reason, and the
// id is used up.
func TestFault_AfterShutdown(t *testing.T) {
	e := imaged(t, one(t, nil))
	allow(t, e, request(idA))
	for range 3 {
		allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
	}
	refuse(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 9, IsInitProcess: true}, "target isn't allowed to receive the signal")
	if d := refuse(t, e, changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = nil }),
		"invalid command", "invalid noNewPrivileges", "invalid user", "invalid working directory"); d.Container != "" {
		t.Errorf("got container %q of no candidate", d.Container)
	}
	_, err := e.Decide(t.Context(), request(idA))
	var denial *enforcer.Denial
	if !errors.As(err, &denial) || denial.Rule != "container already started" {
		t.Errorf("got %v, want that the id was used", err)
	}
}

// TestFault_TargetsAreTheAgents: a target that is not of the agent's pattern is refused however close it comes.
func TestFault_TargetsAreTheAgents(t *testing.T) {
	e := both(t, one(t, nil))
	for _, bad := range []string{
		"", "/", "/run/mounts/scsi/", "/run/mounts/scsi/m", "/run/mounts/scsi/m1/..", "/run/mounts/scsi/../scsi/m1", "/run/mounts/scsi//m1", "run/mounts/scsi/m1",
		"/run/mounts/scsi/m1\x00", "/run/mounts/scsi/m-1", "/run/mounts/scsi/m1,ro", "/run/mounts/scsi/m1:/etc", "/run/mounts/scsi/m٣",
	} {
		refuse(t, e, layerOneAt(bad), "mountpoint invalid")
	}
}

// TestFault_NoBuiltinReachesOutside goes through the engine's own list: a function that does not answer the same each time, or whose name
// says that it reaches the network, the clock, the environment, files, keys or random numbers, is undefined for a policy of
// either language.
func TestFault_NoBuiltinReachesOutside(t *testing.T) {
	inOneGoroutine(t)
	outside := []string{
		"http.", "net.lookup", "opa.", "time.", "rand.", "uuid.rfc", "io.jwt", "crypto.x509", "crypto.parse", "providers.", "rego.", "graphql.", "json.match_schema",
		"json.verify_schema", "net.cidr_expand", "strings.render",
	}
	tried := 0
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if !b.Nondeterministic && !slices.ContainsFunc(outside, func(s string) bool { return strings.HasPrefix(b.Name, s) }) {
			continue
		}
		tried++
		args := make([]string, len(b.Decl.FuncArgs().Args))
		for i := range args {
			args[i] = "input.x"
		}
		call := b.Name + "(" + strings.Join(args, ", ") + ")"
		for _, text := range []string{"x := " + call, "x = y { y = " + call + " }", "import rego.v1\nx := y if y := " + call} {
			_, err := enforcer.Load(t.Context(), []byte("package policy\n"+text+"\n"), enforcer.Options{})
			if err == nil || !strings.Contains(err.Error(), "undefined function") {
				t.Errorf("%s: got %v, want an undefined function", call, err)
			}
		}
	}
	if tried < 40 {
		t.Errorf("tried %d functions: the engine's list is not what it was", tried)
	}
}

// TestFault_Deadline: both judges end in time and say so, and nothing was decided.
func TestFault_Deadline(t *testing.T) {
	definition := web()
	definition.EnvRules = nil
	for i := range 4000 {
		definition.EnvRules = append(definition.EnvRules, testEnv{Pattern: fmt.Sprintf("(V|W)[0-9]*x%d=.*", i), Strategy: "re2"})
	}
	text := policyText(t, []testContainer{definition})
	ask := create(func(in *enforcer.CreateContainerInput) {
		for i := range 4000 {
			in.EnvList = append(in.EnvList, fmt.Sprintf("V%d=x", i))
		}
	})
	for _, judge := range []enforcer.JudgeName{enforcer.JudgeOPA, enforcer.JudgeCompiled} {
		t.Run(string(judge), func(t *testing.T) {
			e := load(t, text, enforcer.Options{Judge: judge, EvalTimeout: 50 * time.Millisecond})
			mountImage(t, e, idA, 1)
			start := time.Now()
			_, err := e.Decide(t.Context(), ask)
			if !errors.Is(err, enforcer.ErrDeadline) {
				t.Errorf("got %v after %s, want %v", err, time.Since(start), enforcer.ErrDeadline)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := e.Decide(ctx, ask); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, enforcer.ErrDeadline) {
				t.Errorf("got %v, want the caller's deadline", err)
			}
			refuse(t, e, execRequest(idB), "container not started", "invalid command", "invalid env list: PATH,MODE", "invalid noNewPrivileges", "invalid user", "invalid working directory")
		})
	}
}

// TestFault_ErrorsAreOneLineWithoutValues: whatever a policy does, the error that goes to the host is one short line, without a stack
// and without the environment or the arguments of the request.
func TestFault_ErrorsAreOneLineWithoutValues(t *testing.T) {
	const start = "package policy\nimport rego.v1\napi_version := \"0.12.0\"\n"
	in := create(func(in *enforcer.CreateContainerInput) {
		in.EnvList, in.ArgList = []string{"TOKEN=" + secret, secret}, []string{"/bin/x", secret}
	})
	for name, rules := range map[string]string{
		"refused":          `create_container := {"allowed": false}`,
		"odd-allowed":      `create_container := {"allowed": input.envList[0]}`,
		"odd-env":          `create_container := {"allowed": true, "env_list": input.envList[0]}`,
		"odd-env-entry":    `create_container := {"allowed": true, "env_list": [input.envList]}`,
		"odd-caps":         `create_container := {"allowed": true, "caps_list": input.envList[0]}`,
		"odd-answer":       `create_container := input.envList[0]`,
		"object-conflict":  `create_container := {"allowed": true, "x": {k: v | some v in input.envList; k := "k"}}`,
		"function-fails":   `create_container := {"allowed": to_number(input.envList[0]) > 0}`,
		"regex-fails":      `create_container := {"allowed": regex.match(concat("", ["(", input.envList[0]]), "x")}`,
		"print":            "create_container := {\"allowed\": false} if print(input.envList)",
		"conflict":         "create_container := {\"allowed\": true, \"x\": input.envList[0]}\ncreate_container := {\"allowed\": true, \"x\": input.envList[1]}",
		"metadata-type":    `create_container := {"allowed": true, "metadata": [{"name": "t", "action": "add", "key": "k", "value": 1, "type": input.envList}]}`,
		"metadata-action":  `create_container := {"allowed": true, "metadata": [{"name": "t", "action": input.envList[0], "key": "k", "value": 1}]}`,
		"metadata-name":    `create_container := {"allowed": true, "metadata": [{"name": input.envList[0], "action": "add", "key": "k"}]}`,
		"metadata-odd":     `create_container := {"allowed": true, "metadata": input.envList}`,
		"reason-fails":     "create_container := {\"allowed\": false}\nreason := {\"errors\": [input.envList[0]]} if input\nreason := {\"errors\": [input.envList[1]]} if input",
		"reason-is-not-it": "create_container := {\"allowed\": false}\nreason := {\"errors\": [[input.envList]]}",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := load(t, start+rules+"\n").Decide(t.Context(), in)
			if err == nil {
				t.Fatalf("got %+v, want a refusal", d)
			}
			text := err.Error()
			if strings.Contains(text, secret) || strings.ContainsAny(text, "\n\r") || strings.Contains(text, "goroutine") || strings.Contains(text, ".go:") || len(text) > 2048 {
				t.Errorf("got %q", text)
			}
		})
	}
}
