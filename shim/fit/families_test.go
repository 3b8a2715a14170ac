package fit_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
)

// listed is a container of a policy text, as another reader than ours finds it.
type listed struct {
	Name         string   `json:"name"`
	Command      []string `json:"command"`
	WorkingDir   string   `json:"working_dir"`
	Layers       []string `json:"layers"`
	Capabilities *struct {
		Bounding, Effective, Inheritable, Permitted, Ambient []string
	} `json:"capabilities"`
	EnvRules []struct {
		Pattern, Strategy string
		Required          bool
	} `json:"env_rules"`
	User struct {
		UserIDName struct{ Pattern, Strategy string } `json:"user_idname"`
	} `json:"user"`
	NoNewPrivileges bool `json:"no_new_privileges"`
}

func policyText(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../tools/cloister/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func listedIn(t testing.TB, policy, name string) listed {
	t.Helper()
	_, rest, _ := strings.Cut(policy, "\ncontainers := ")
	var list []listed
	if err := json.NewDecoder(strings.NewReader(rest)).Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("the policy has no container %q", name)
	return listed{}
}

// asked is the specification for a container that the policy's author described: the runtime's additions are those of kubelet and containerd.
func asked(t testing.TB, c listed) *specs.Spec {
	t.Helper()
	s := kubelet(t)
	without(s, "/cache", "/etc/config")
	s.Process.Args, s.Process.Cwd, s.Process.NoNewPrivileges = c.Command, c.WorkingDir, c.NoNewPrivileges
	s.Process.Env = slices.DeleteFunc(s.Process.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") || strings.HasPrefix(e, "MODE=") })
	for _, r := range c.EnvRules {
		if r.Strategy == "string" {
			s.Process.Env = append(s.Process.Env, r.Pattern)
		}
	}
	if caps := c.Capabilities; caps != nil {
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: caps.Bounding, Effective: caps.Effective, Inheritable: caps.Inheritable, Permitted: caps.Permitted, Ambient: caps.Ambient,
		}
	}
	return s
}

// withProfile gives a specification a seccomp profile, and the policy its digest where the golden file has another one's.
func withProfile(t testing.TB, policy string, s *specs.Spec) string {
	t.Helper()
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}}
	digest, err := container.SeccompSHA256(s.Linux.Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(policy, strings.Repeat("5", 64), digest)
}

// TestFamilies: an untouched policy of each family, and the pod that kubelet makes for it.
func TestFamilies(t *testing.T) {
	token, log := "Mounts[/var/run/secrets/kubernetes.io/serviceaccount]", "Mounts[/dev/termination-log]"
	cases := []struct {
		file, container string
		want            []string // fields of the notes
	}{
		{"acigen/testdata/confcom-1.2.7.rego", "base", []string{log, token}},
		{"acigen/testdata/confcom-1.2.8.rego", "base", []string{log, token}},
		{"acigen/testdata/confcom-1.4.rego", "base", []string{log, token}},
		{"acigen/testdata/confcom-2.rego", "base", []string{log, token}},
		{"acigen/testdata/confcom-prerelease.rego", "base", []string{log, token}},
		{"acigen/testdata/debug.rego", "base", []string{log, token}},
		{"acigen/testdata/latest.rego", "base", []string{log, token}},
		{"acigen/testdata/pretty.rego", "base", []string{log, token}},
		{"acigen/testdata/virtual-node.rego", "base", []string{log, token}},
		{"acigen/testdata/latest.rego", "proxy", []string{log, token}},
		{"kube/testdata/deployment-web.rego", "proxy", nil},
	}
	for _, c := range cases {
		t.Run(strings.TrimSuffix(c.file[strings.LastIndex(c.file, "/")+1:], ".rego")+"-"+c.container, func(t *testing.T) {
			policy := policyText(t, c.file)
			described := listedIn(t, policy, c.container)
			s := asked(t, described)
			if c.file[:4] == "kube" {
				policy = withProfile(t, policy, s)
				s.Process.User = specs.User{UID: 33, GID: 44}
				s.Process.Env = slices.DeleteFunc(s.Process.Env, func(e string) bool { return strings.HasPrefix(e, "HOSTNAME=") })
				s.Process.Env = append(s.Process.Env, "HOSTNAME=web-7d4b9-x2v5z")
			}
			notes, _, err := judge(t, policy, s, described.Layers)
			mustAllow(t, err)
			if got := fieldsOf(notes); !slices.Equal(got, c.want) {
				t.Errorf("got notes of %q, want of %q", got, c.want)
			}
		})
	}
}
