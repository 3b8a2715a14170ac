package acigen

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
	agentcontainer "github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/shim/pod"
)

// agentDigest is what the agent computes of testSeccomp (TestSeccompIsTheAgentsDigest).
const agentDigest = "39e0696b02e643ad94260d619b416a8491e03619f5d83565d0cd12c1822acf8c"

// onTheWire is testSeccomp as a shim sends it, written by hand.
func onTheWire() *api.LinuxSeccomp {
	return &api.LinuxSeccomp{
		DefaultAction: "SCMP_ACT_ERRNO", Architectures: []string{"SCMP_ARCH_X86_64"},
		Syscalls: []*api.LinuxSyscall{
			{
				Names: []string{"read", "write"}, Action: "SCMP_ACT_ALLOW",
				Args: []*api.LinuxSeccompArg{{Index: 0, Value: 1, Op: "SCMP_CMP_EQ"}},
			},
			{Names: []string{"ptrace"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: &api.LinuxSyscall_Errnoret{Errnoret: 1}},
		},
	}
}

func TestSeccompIsTheAgentsDigest(t *testing.T) {
	spec := (&pod.Container{Name: "app", Args: []string{"/entry"}, Cwd: "/"}).OCI(pod.Names{SandboxID: "sandbox", ContainerID: "app"})
	spec.Linux.Seccomp = onTheWire()
	asked, err := agentcontainer.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	want, err := agentcontainer.SeccompSHA256(asked.Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	got, err := SeccompSHA256([]byte(testSeccomp))
	if err != nil || got != want || got != agentDigest {
		t.Errorf("got %s, %v, the agent computes %s, and the constant is %s", got, err, want, agentDigest)
	}
}

func TestSeccompForms(t *testing.T) {
	docker := strings.NewReplacer(
		`"architectures"`, `"comment": "x", "archMap": [], "architectures"`,
		`"names": ["read", "write"],`, `"names": ["read", "write"], "comment": "", "includes": {}, "excludes": {},`,
	).Replace(testSeccomp)
	if got, err := SeccompSHA256([]byte(docker)); err != nil || got != agentDigest {
		t.Errorf("with what an engine adds: got %s, %v, want %s", got, err, agentDigest)
	}
	if got, err := SeccompSHA256(nil); err != nil || got != "" {
		t.Errorf("no profile: got %q, %v, want none", got, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no-action":      {`{}`, "defaultAction is missing"},
		"unknown-member": {`{"defaultAction":"SCMP_ACT_ALLOW","syscall":[]}`, `unknown field "syscall"`},
		"old-form":       {`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}`, `syscalls[0].name`},
		"no-names":       {`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`, "syscalls[0]"},
		"not-json":       {`x`, "invalid character"},
		"two":            {`{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "after top-level value"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := SeccompSHA256([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestSeccompNotesConditions(t *testing.T) {
	c := app()
	c.Security.SeccompProfile = []byte(`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64"}],
		"syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_BPF"]}}]}`)
	notes := strings.Join(mustGenerate(t, only(c), Options{}).Notes, "\n")
	for _, want := range []string{"archMap is no part", "syscalls[0].excludes is no part"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes: got %q, want %q in them", notes, want)
		}
	}
}

func FuzzSeccomp(f *testing.F) {
	f.Add([]byte(testSeccomp))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"b","args":[{"valueTwo":18446744073709551615}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		digest, err := SeccompSHA256(text)
		if (err != nil || len(strings.TrimSpace(string(text))) == 0) != (digest == "") {
			t.Errorf("got digest %q and error %v", digest, err)
		}
		if err == nil && digest != "" && !json.Valid(text) {
			t.Error("a profile that is not JSON has a digest")
		}
	})
}
