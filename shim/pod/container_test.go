package pod

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cloister-cc/cloister/agent/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

func loadFull(t *testing.T) *Pod {
	t.Helper()
	p, err := Load(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// resolveOne resolves a pod of one container.
func resolveOne(t *testing.T, p *Pod, config v1.Config) (*Container, error) {
	t.Helper()
	containers, err := p.Resolve(t.Context(), testImages(t, config))
	if err != nil {
		return nil, err
	}
	if len(containers) != 1 {
		t.Fatalf("got %d containers, want 1", len(containers))
	}
	return containers[0], nil
}

func TestOCIGolden(t *testing.T) {
	privileged := mustParse(t, "containers: [{name: app, image: app, securityContext: {privileged: true}}]")
	plain := mustParse(t, "containers: [{name: app, image: app}]")
	cases := []struct {
		name string
		pod  *Pod
	}{{"full", loadFull(t)}, {"plain", plain}, {"privileged", privileged}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			container, err := resolveOne(t, c.pod, v1.Config{
				Env: []string{"LANG=C", "PATH=/bin"}, Entrypoint: []string{"/entry"}, Cmd: []string{"default"}, WorkingDir: "/image",
			})
			if err != nil {
				t.Fatal(err)
			}
			spec := container.OCI(Names{SandboxID: "sb", ContainerID: "ct"})
			golden(t, c.name+".oci.json", spec)
		})
	}
}

func mustParse(t *testing.T, spec string) *Pod {
	t.Helper()
	p, err := Parse([]byte(head + "spec:\n  " + spec + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// golden compares messages, not their text: protojson's spacing is not stable.
func golden(t *testing.T, name string, got *api.Spec) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want api.Spec
	if err := protojson.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	a, b := protojson.Format(got), protojson.Format(&want)
	if diff := cmp.Diff(strings.Split(a, "\n"), strings.Split(b, "\n")); diff != "" {
		t.Errorf("%s (-got +want):\n%s", name, diff)
	}
}

func TestResolveFull(t *testing.T) {
	c, err := resolveOne(t, loadFull(t), v1.Config{StopSignal: "SIGQUIT", User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Args, []string{"/bin/app", "--name=shop", "hello shop $(PATH)", "$(NAME)", "$(UNKNOWN)"}); diff != "" {
		t.Errorf("args (-got +want):\n%s", diff)
	}
	if c.UID != 33 || c.GID != 44 || c.Username != "web" {
		t.Errorf("got user %d:%d %q, want 33:44 \"web\"", c.UID, c.GID, c.Username)
	}
	if diff := cmp.Diff(c.AdditionalGIDs, []uint32{44, 4, 70, 2000}); diff != "" {
		t.Errorf("groups (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(c.Exec, [][]string{{"/bin/live"}, {"/bin/drain", "1"}, {"/bin/status", "--short"}}); diff != "" {
		t.Errorf("exec (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(c.Capabilities.Bounding, []string{"CAP_NET_BIND_SERVICE"}); diff != "" {
		t.Errorf("capabilities (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(c.Resources, Resources{MemoryLimit: 64 << 20, CPUQuota: 50_000, CPUPeriod: 100_000, CPUShares: 256}); diff != "" {
		t.Errorf("resources (-got +want):\n%s", diff)
	}
	if c.StopSignal != "SIGQUIT" || !c.NoNewPrivileges || !c.ReadonlyRootfs {
		t.Errorf("got stop signal %q, no new privileges %v, readonly %v", c.StopSignal, c.NoNewPrivileges, c.ReadonlyRootfs)
	}
}

func TestResolveCommand(t *testing.T) {
	image := v1.Config{Entrypoint: []string{"/entry", "-e"}, Cmd: []string{"cmd"}}
	cases := []struct {
		name, spec string
		config     v1.Config
		want       []string
	}{
		{"image", "", image, []string{"/entry", "-e", "cmd"}},
		{"args-keep-entrypoint", "args: [x]", image, []string{"/entry", "-e", "x"}},
		{"command-drops-both", "command: [/c]", image, []string{"/c"}},
		{"command-and-args", "command: [/c], args: [x]", image, []string{"/c", "x"}},
		{"nothing", "", v1.Config{}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := resolveOne(t, mustParse(t, "containers: [{name: app, image: app, "+c.spec+"}]"), c.config)
			if c.want == nil {
				if err == nil || !strings.Contains(err.Error(), "names a command") {
					t.Fatalf("got %v, want an error about the command", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got.Args, c.want); diff != "" {
				t.Errorf("args (-got +want):\n%s", diff)
			}
		})
	}
}

func TestResolveUser(t *testing.T) {
	cases := []struct {
		name, image, pod, container string
		uid, gid                    uint32
		groups                      []uint32
		err                         string
	}{
		{name: "default-root", uid: 0, gid: 0, groups: []uint32{0, 4}},
		{name: "image-name", image: "web", uid: 33, gid: 44, groups: []uint32{44, 4, 70}},
		{name: "image-number-with-account", image: "33", uid: 33, gid: 44, groups: []uint32{44, 4, 70}},
		{name: "image-number-without", image: "1234", uid: 1234, gid: 0, groups: []uint32{0}},
		{name: "image-name-and-group", image: "web:adm", uid: 33, gid: 4, groups: []uint32{4, 70}},
		{name: "image-numbers", image: "5:6", uid: 5, gid: 6, groups: []uint32{6}},
		{name: "image-unknown-name", image: "nobody", err: `user "nobody" is not in`},
		{name: "image-unknown-group", image: "web:none", err: `group "none" is not in`},
		{name: "pod-user", image: "web:adm", pod: "runAsUser: 1234", uid: 1234, gid: 0, groups: []uint32{0}},
		{name: "container-wins", pod: "runAsUser: 1", container: "runAsUser: 33", uid: 33, gid: 44, groups: []uint32{44, 4, 70}},
		{name: "group-alone", image: "web", container: "runAsGroup: 9", uid: 33, gid: 9, groups: []uint32{9, 4, 70}},
		{name: "non-root-refused", pod: "runAsNonRoot: true", err: "the user is root"},
		{name: "non-root-overridden", pod: "runAsNonRoot: true", container: "runAsNonRoot: false", groups: []uint32{0, 4}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := mustParse(t, "securityContext: {"+c.pod+"}\n  containers: [{name: app, image: app, command: [x], securityContext: {"+c.container+"}}]")
			got, err := resolveOne(t, p, v1.Config{User: c.image})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.UID != c.uid || got.GID != c.gid {
				t.Errorf("got %d:%d, want %d:%d", got.UID, got.GID, c.uid, c.gid)
			}
			if diff := cmp.Diff(got.AdditionalGIDs, c.groups); diff != "" {
				t.Errorf("groups (-got +want):\n%s", diff)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	cases := []struct {
		name, spec string
		want       []string
		err        string
	}{
		{name: "default", want: defaultCapabilities},
		{name: "drop-one", spec: "drop: [CAP_NET_RAW]", want: without("CAP_NET_RAW")},
		{name: "add-lower-case", spec: "add: [net_admin]", want: append(without(), "CAP_NET_ADMIN")},
		{name: "all-but-one", spec: "add: [ALL], drop: [SYS_ADMIN]", want: func() []string {
			return withoutFrom(allCapabilities, "CAP_SYS_ADMIN")
		}()},
		{name: "none", spec: "drop: [ALL]", want: nil},
		{name: "drop-wins", spec: "add: [KILL], drop: [KILL]", want: without("CAP_KILL")},
		{name: "unknown", spec: "add: [SYS_ADMINN]", err: `"SYS_ADMINN" is not a capability`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := resolveOne(t, mustParse(t, "containers: [{name: app, image: app, command: [x], securityContext: {capabilities: {"+c.spec+"}}}]"), v1.Config{})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			caps := got.Capabilities
			for set, names := range map[string][]string{"bounding": caps.Bounding, "effective": caps.Effective, "permitted": caps.Permitted} {
				if strings.Join(names, " ") != strings.Join(c.want, " ") {
					t.Errorf("%s: got %v, want %v", set, names, c.want)
				}
			}
			if len(caps.Inheritable)+len(caps.Ambient) > 0 {
				t.Errorf("got inheritable %v, ambient %v, want none", caps.Inheritable, caps.Ambient)
			}
		})
	}
}

func without(names ...string) []string { return withoutFrom(defaultCapabilities, names...) }

func withoutFrom(list []string, names ...string) []string {
	var out []string
	for _, c := range list {
		if len(names) == 0 || names[0] != c {
			out = append(out, c)
		}
	}
	return out
}

func TestSetEnv(t *testing.T) {
	p := loadFull(t)
	if err := p.SetEnv("app", "NONCE", "cost $(NAME) $$"); err != nil {
		t.Fatal(err)
	}
	if err := p.SetEnv("app", "EXTRA", "1"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][2]string{{"other", "A"}, {"app", "A=B"}, {"app", ""}} {
		if err := p.SetEnv(bad[0], bad[1], "x"); err == nil {
			t.Errorf("set %q in %q: got no error", bad[1], bad[0])
		}
	}
	c, err := resolveOne(t, p, v1.Config{})
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Join(c.Env, "\n")
	for _, want := range []string{"NONCE=cost $(NAME) $$", "EXTRA=1"} {
		if !strings.Contains(env, want) {
			t.Errorf("got environment\n%s\nwant %q in it", env, want)
		}
	}
}

func TestGrantAtVolume(t *testing.T) {
	p, err := Parse([]byte(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"io.cloister.grants/app": "attest"}},
 "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "app", "image": "app", "command": ["x"],
 "volumeMounts": [{"name": "v", "mountPath": "/run/cloister/attest"}]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resolveOne(t, p, v1.Config{}); err == nil || !strings.Contains(err.Error(), "a volume is mounted at") {
		t.Errorf("got %v, want a refusal", err)
	}
}
