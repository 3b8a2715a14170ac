package acigen

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func patterns(c Container) []string {
	var out []string
	for _, r := range c.EnvRules {
		out = append(out, r.Pattern)
	}
	return out
}

func TestEnvironmentOrder(t *testing.T) {
	c := app()
	c.Env = []workload.Env{{Name: "Z", Value: workload.Text{Value: "1"}}, {Name: "MODE", Value: workload.Text{Value: ""}}, {Name: "TERM", Value: workload.Text{Value: "vt100"}}, {Name: "IDENTITY_HEADER", Value: workload.Text{Value: "h"}}}
	document := []string{"Z=1", "MODE=", "TERM=vt100", "IDENTITY_HEADER=h"}
	image := []string{"PATH=/usr/local/bin:/bin", "LANG=C.UTF-8"}
	added := []string{
		"(?i)(FABRIC)_.+=.+", "HOSTNAME=.+", "T(E)?MP=.+", "FabricPackageFileName=.+", "HostedServiceName=.+", "IDENTITY_API_VERSION=.+",
		"IDENTITY_SERVER_THUMBPRINT=.+", "azurecontainerinstance_restarted_by=.+",
	}
	newest := []string{"IDENTITY_ENDPOINT=.+", "APP_IDENTITY_ENDPOINT=.+", "IMDS_ENDPOINT=.+"}
	for _, level := range defaults.Levels() {
		want := slices.Concat(document, image, added)
		switch level {
		case Latest:
			want = append(want, newest...)
		case "confcom-1.4":
			slices.Sort(want)
		}
		got := mustGenerate(t, only(c), Options{Compat: level}).Containers[0]
		if diff := cmp.Diff(patterns(got), want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", level, diff)
		}
		for _, r := range got.EnvRules {
			if strategy := "re2"; r.Required || r.Strategy != strategy && strings.HasSuffix(r.Pattern, "=.+") {
				t.Errorf("%s: got %+v, want %s and not required", level, r, strategy)
			}
		}
	}
}

func TestTermWhereNothingNamesIt(t *testing.T) {
	got := patterns(mustGenerate(t, only(app()), Options{}).Containers[0])
	if want := "TERM=xterm"; got[3] != want {
		t.Errorf("after the image's variables: got %q, want %q", got[3], want)
	}
}

func TestVirtualNodeDefaults(t *testing.T) {
	g := only(app())
	g.Platform = workload.VirtualNode
	g.Containers[0].Security.Privileged = ptr(true)
	identity := only(app())
	identity.Platform, identity.Labels = workload.VirtualNode, map[string]string{"azure.workload.identity/use": "true"}
	other := only(app())
	other.Platform, other.Labels = workload.VirtualNode, map[string]string{"azure.workload.identity/use": "false"}

	var destinations []string
	for _, m := range mustGenerate(t, g, Options{}).Containers[0].Mounts {
		destinations = append(destinations, m.Destination+" "+m.Options[len(m.Options)-1])
	}
	if diff := cmp.Diff(destinations, []string{
		"/var/run/secrets/kubernetes.io/serviceaccount ro", "/etc/hosts rw", "/dev/termination-log rw", "/etc/hostname rw", "/etc/resolv.conf rw",
		"/sys/fs/cgroup rw", "/sys rw",
	}); diff != "" {
		t.Errorf("mounts of a privileged container (-got +want):\n%s", diff)
	}
	c := mustGenerate(t, identity, Options{}).Containers[0]
	for _, want := range []string{"[A-Z0-9_]+_SERVICE_HOST=.+", "AZURE_CLIENT_ID=.+", "AZURE_TENANT_ID=.+", "AZURE_FEDERATED_TOKEN_FILE=.+", "AZURE_AUTHORITY_HOST=.+"} {
		if !slices.Contains(patterns(c), want) {
			t.Errorf("%s is not allowed", want)
		}
	}
	if last := c.Mounts[len(c.Mounts)-1]; last.Destination != "/var/run/secrets/azure/tokens" || !slices.Contains(last.Options, "ro") {
		t.Errorf("the token's mount is %+v", last)
	}
	if slices.Contains(patterns(mustGenerate(t, other, Options{}).Containers[0]), "AZURE_CLIENT_ID=.+") {
		t.Error("a pod without workload identity has its variables")
	}
	if family := slices.DeleteFunc(patterns(c), func(p string) bool { return !strings.HasPrefix(p, "[A-Z0-9_]+_") }); len(family) != 8 {
		t.Errorf("got %d rules for services, want 8", len(family))
	}
}

func TestDocumentsMountHidesDefault(t *testing.T) {
	c := app()
	c.Mounts = []workload.Mount{{Destination: "/etc/resolv.conf", Source: "sandbox:///tmp/atlas/secretsVolume/.+", Type: "bind", Options: []string{"rbind", "rshared", "ro"}}}
	got := mustGenerate(t, only(c), Options{}).Containers[0].Mounts
	if len(got) != 1 || !strings.Contains(got[0].Source, "secretsVolume") {
		t.Errorf("got %+v, want the document's only", got)
	}
}

func TestNoDefaultsForThePlatformsOwn(t *testing.T) {
	c := app()
	c.NoDefaults = true
	got := mustGenerate(t, only(c), Options{}).Containers[0]
	if diff := cmp.Diff(patterns(got), []string{"PATH=/usr/local/bin:/bin", "LANG=C.UTF-8", "MODE=image"}); diff != "" || len(got.Mounts) != 0 {
		t.Errorf("mounts %v, environment (-got +want):\n%s", got.Mounts, diff)
	}
}

func TestSidecarImages(t *testing.T) {
	own, err := defaults.Load("aci-2026-09")
	if err != nil {
		t.Fatal(err)
	}
	own.SidecarImages = []string{"registry.example:5000/side", "registry.example/app"}
	for reference, want := range map[string]bool{
		"registry.example:5000/side": true, "registry.example:5000/side:1": true, "registry.example:5000/side:1@sha256:aa": true,
		"registry.example/app:1": true, "registry.example/app/x:1": false, "registry.example:5000/sidecar": false, "registry.example": false,
	} {
		if got := own.Sidecar(reference); got != want {
			t.Errorf("%s: got %t, want %t", reference, got, want)
		}
	}
	p := mustGenerate(t, only(app()), Options{Defaults: own})
	if len(p.Containers) != 1 || len(p.Containers[0].EnvRules) != 3 || len(p.Containers[0].Mounts) != 0 {
		t.Errorf("got %d containers with %v, want one with its image's variables", len(p.Containers), p.Containers[0].EnvRules)
	}
}

func TestCapabilities(t *testing.T) {
	cases := []struct {
		name       string
		privileged bool
		add, drop  []string
		want       int
		has, not   string
	}{
		{"unprivileged", false, nil, nil, 14, "CAP_NET_RAW", "CAP_SYS_ADMIN"},
		{"privileged", true, nil, nil, 41, "CAP_SYS_ADMIN", "CAP_NONE"},
		{"added", false, []string{"CAP_SYS_TIME", "CAP_KILL"}, nil, 15, "CAP_SYS_TIME", "CAP_SYS_ADMIN"},
		{"dropped", true, nil, []string{"CAP_SYS_ADMIN", "CAP_UNKNOWN"}, 40, "CAP_BPF", "CAP_SYS_ADMIN"},
		{"literally", false, []string{"NET_ADMIN"}, []string{"ALL"}, 15, "NET_ADMIN", "CAP_NET_ADMIN"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := app()
			in.Security = workload.Security{Privileged: ptr(c.privileged), AddCapabilities: c.add, DropCapabilities: c.drop}
			out := mustGenerate(t, only(in), Options{})
			got := out.Containers[0].Capabilities
			if len(got.Bounding) != c.want || !slices.IsSorted(got.Bounding) || !slices.Contains(got.Bounding, c.has) || slices.Contains(got.Bounding, c.not) {
				t.Errorf("bounding: got %v", got.Bounding)
			}
			inheritable := []string{}
			if c.privileged {
				inheritable = got.Bounding
			}
			if diff := cmp.Diff(got, &defaults.Capabilities{
				Ambient: []string{}, Bounding: got.Bounding, Effective: got.Bounding, Inheritable: inheritable, Permitted: got.Bounding,
			}); diff != "" {
				t.Errorf("sets (-got +want):\n%s", diff)
			}
			if noted := strings.Contains(strings.Join(out.Notes, "\n"), "as it is spelled"); noted != (c.name == "literally") {
				t.Errorf("notes: got %v", out.Notes)
			}
			if out.Containers[0].AllowElevated != c.privileged {
				t.Errorf("allow_elevated: got %t", out.Containers[0].AllowElevated)
			}
		})
	}
}

func TestUser(t *testing.T) {
	id, anybody := func(s string) defaults.IDName { return defaults.IDName{Pattern: s, Strategy: "id"} }, defaults.IDName{Strategy: "any"}
	name := func(s string) defaults.IDName { return defaults.IDName{Pattern: s, Strategy: "name"} }
	cases := []struct {
		name, image string
		user, group *int64
		wantUser    defaults.IDName
		wantGroup   defaults.IDName
	}{
		{"nobody-says", "", nil, nil, anybody, anybody},
		{"image-id", "1000", nil, nil, id("1000"), anybody},
		{"image-ids", "1000:50", nil, nil, id("1000"), id("50")},
		{"image-names", "www-data:web", nil, nil, name("www-data"), name("web")},
		{"image-mixed", "1a:7", nil, nil, name("1a"), id("7")},
		{"image-group-only", ":7", nil, nil, anybody, id("7")},
		{"document", "www-data:web", ptr(int64(0)), ptr(int64(5)), id("0"), id("5")},
		{"document-user", "www-data:web", ptr(int64(7)), nil, id("7"), name("web")},
		{"document-group", "www-data", nil, ptr(int64(5)), name("www-data"), id("5")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := workload.Container{Image: workload.Text{Value: "i"}, Security: workload.Security{RunAsUser: c.user, RunAsGroup: c.group}}
			source := fakeImages{"i": {Config: v1.Config{User: c.image, Cmd: []string{"/a"}}, Layers: []images.Layer{{Ext4: root(1)}}}}
			p, err := Generate(t.Context(), only(in), source, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := defaults.User{User: c.wantUser, Groups: []defaults.IDName{c.wantGroup}, Umask: "0022"}
			if diff := cmp.Diff(p.Containers[0].User, want); diff != "" {
				t.Errorf("user (-got +want):\n%s", diff)
			}
		})
	}
}

func TestNoNewPrivileges(t *testing.T) {
	for _, c := range []struct {
		escalation *bool
		want       bool
	}{{nil, false}, {ptr(true), false}, {ptr(false), true}} {
		in := app()
		in.Security.AllowPrivilegeEscalation = c.escalation
		if got := mustGenerate(t, only(in), Options{}).Containers[0].NoNewPrivileges; got != c.want {
			t.Errorf("%v: got %t, want %t", c.escalation, got, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	texts := func(list ...string) []workload.Text {
		out := []workload.Text{}
		for _, s := range list {
			out = append(out, workload.Text{Value: s})
		}
		return out
	}
	image := v1.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}}
	cases := []struct {
		name          string
		c             workload.Container
		config        v1.Config
		want          []string
		neverMatching bool
	}{
		{"image", workload.Container{}, image, []string{"/entry", "serve"}, false},
		{"command", workload.Container{Command: texts("/a", "b")}, image, []string{"/a", "b"}, false},
		{"entrypoint", workload.Container{Entrypoint: texts("/a")}, image, []string{"/a"}, false},
		{"args", workload.Container{Args: texts("b")}, image, []string{"/entry", "b"}, false},
		{"both", workload.Container{Entrypoint: texts("/a"), Args: texts("b")}, image, []string{"/a", "b"}, false},
		{"no-args", workload.Container{Args: texts()}, image, []string{"/entry"}, false},
		{"nothing", workload.Container{}, v1.Config{}, nil, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.c.Image.Value = "i"
			p, err := Generate(t.Context(), only(c.c), fakeImages{"i": {Config: c.config, Layers: []images.Layer{{Ext4: root(1)}}}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p.Containers[0].Command, c.want); diff != "" {
				t.Errorf("command (-got +want):\n%s", diff)
			}
			if noted := len(p.Notes) > 0; noted != c.neverMatching {
				t.Errorf("notes: got %v", p.Notes)
			}
			if null := strings.Contains(string(p.Rego(false)), `"command":null`); null != c.neverMatching {
				t.Errorf("null in the text: got %t", null)
			}
		})
	}
}

func TestWorkingDir(t *testing.T) {
	for _, c := range []struct {
		document *workload.Text
		image    string
		want     string
	}{{nil, "", "/"}, {nil, "/srv", "/srv"}, {&workload.Text{Value: "/w"}, "/srv", "/w"}, {&workload.Text{}, "/srv", "/srv"}} {
		in := workload.Container{Image: workload.Text{Value: "i"}, WorkingDir: c.document}
		p, err := Generate(t.Context(), only(in), fakeImages{"i": {Config: v1.Config{WorkingDir: c.image}, Layers: []images.Layer{{Ext4: root(1)}}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Containers[0].WorkingDir; got != c.want {
			t.Errorf("%v, %q: got %q, want %q", c.document, c.image, got, c.want)
		}
	}
}

func TestSignals(t *testing.T) {
	cases := []struct {
		level, stop string
		document    []int
		want        []int
		pause       []int
	}{
		{"confcom-1.2.7", "", nil, []int{}, []int{}},
		{"confcom-1.2.7", "SIGQUIT", nil, []int{3}, []int{}},
		{"confcom-1.4", "3", nil, []int{3}, []int{}},
		{"confcom-2", "", nil, []int{9, 15}, []int{9, 15}},
		{"confcom-2", "SIGQUIT", nil, []int{9, 15}, []int{9, 15}},
		{"confcom-prerelease", "", nil, []int{9, 15}, []int{9, 15}},
		{"latest", "SIGQUIT", nil, []int{9, 15, 3}, []int{9, 15}},
		{"latest", "SIGTERM", nil, []int{9, 15}, []int{9, 15}},
		{"latest", "SIGRTMIN+3", nil, []int{9, 15, 37}, []int{9, 15}},
		{"latest", "quit", []int{1}, []int{1}, []int{9, 15}},
	}
	for _, c := range cases {
		in := workload.Container{Image: workload.Text{Value: "i"}, Signals: c.document}
		p, err := Generate(t.Context(), only(in), fakeImages{"i": {Config: v1.Config{StopSignal: c.stop}, Layers: []images.Layer{{Ext4: root(1)}}}}, Options{Compat: c.level})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Containers[0].Signals; !slices.Equal(got, c.want) {
			t.Errorf("%s, %q: got %v, want %v", c.level, c.stop, got, c.want)
		}
		if got := p.Containers[1].Signals; !slices.Equal(got, c.pause) {
			t.Errorf("%s: pause container: got %v, want %v", c.level, got, c.pause)
		}
	}
}

func TestFragments(t *testing.T) {
	svn := func(p *Policy) []string {
		var out []string
		for _, f := range p.Fragments {
			out = append(out, f.Feed[strings.LastIndex(f.Feed, "/")+1:]+" "+f.MinimumSVN)
		}
		return out
	}
	more := []workload.Fragment{{Feed: "x/more", Issuer: "did:x509:0:sha256:AA::eku:1.2", MinimumSVN: "0"}}
	cases := []struct {
		name string
		o    Options
		want []string
	}{
		{"oldest", Options{Compat: "confcom-1.2.7"}, []string{"aci-cc-infra-fragment 1", "fragment 2"}},
		{"newest", Options{}, []string{"aci-cc-infra-fragment 4", "fragment 2"}},
		{"option", Options{InfrastructureSVN: "7", Fragments: more}, []string{"aci-cc-infra-fragment 7", "fragment 2", "more 0"}},
		{"none", Options{NoDefaultFragments: true}, []string{"fragment 2"}},
	}
	for _, c := range cases {
		if diff := cmp.Diff(svn(mustGenerate(t, testGroup(), c.o)), c.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", c.name, diff)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	wild := workload.Text{Value: ".*", Wildcard: true, Origin: at("parameters('x')", 7)}
	change := func(f func(*workload.Container)) *workload.Group {
		c := app()
		f(&c)
		return only(c)
	}
	env := func(list ...workload.Env) *workload.Group {
		return change(func(c *workload.Container) { c.Env = list })
	}
	cases := []struct {
		name string
		g    *workload.Group
		o    Options
		want string
	}{
		{"level", testGroup(), Options{Compat: "confcom-9"}, `compatibility level is "confcom-9"`},
		{"platform", &workload.Group{Platform: "x"}, Options{}, `platform is "x"`},
		{"format", testGroup(), Options{Format: "squashfs"}, `layer format is "squashfs"`},
		{"empty", &workload.Group{}, Options{}, "no containers"},
		{"image-unknown", change(func(c *workload.Container) { c.Image.Value = "other" }), Options{}, "no such image"},
		{"image-wildcard", change(func(c *workload.Container) { c.Image = wild }), Options{}, "is not known before deployment"},
		{"command-wildcard", change(func(c *workload.Container) { c.Command = []workload.Text{wild} }), Options{}, "template.json:7: parameters('x')"},
		{"working-dir-wildcard", change(func(c *workload.Container) { c.WorkingDir = &wild }), Options{}, "is not known before deployment"},
		{"working-dir-relative", change(func(c *workload.Container) { c.WorkingDir = &workload.Text{Value: "srv"} }), Options{}, "not an absolute path"},
		{"env-twice", env(workload.Env{Name: "A", Value: workload.Text{Value: "1"}}, workload.Env{Name: "A", Value: workload.Text{Value: "2"}}), Options{}, "named twice"},
		{"env-name", env(workload.Env{Name: "A=B"}), Options{}, "not a name"},
		{"env-no-name", env(workload.Env{}), Options{}, "not a name"},
		{"env-pattern", env(workload.Env{Name: "A", Strategy: "re2", Value: workload.Text{Value: "("}}), Options{}, "not RE2"},
		{"env-strategy", env(workload.Env{Name: "A", Strategy: "glob"}), Options{}, `strategy is "glob"`},
		{"env-literal-wildcard", env(workload.Env{Name: "A", Strategy: "string", Value: wild}), Options{}, "matched as it is"},
		{"env-not-utf8", env(workload.Env{Name: "A", Value: workload.Text{Value: "\xff"}}), Options{}, "not UTF-8"},
		{"command-zero-byte", change(func(c *workload.Container) { c.Command = []workload.Text{{Value: "a\x00"}} }), Options{}, "zero byte"},
		{"exec-empty", change(func(c *workload.Container) { c.Exec = []workload.Exec{{}} }), Options{}, "command is empty"},
		{"mount", change(func(c *workload.Container) { c.Mounts = []workload.Mount{{Destination: "/a"}} }), Options{}, "want both"},
		{"user", change(func(c *workload.Container) { c.Security.RunAsUser = ptr(int64(-1)) }), Options{}, "id is -1"},
		{"signal", change(func(c *workload.Container) { c.Signals = []int{65} }), Options{}, "signals[0] is 65"},
		{"layers", change(func(c *workload.Container) { c.Layers = []string{"x"} }), Options{}, "layers[0]"},
		{"seccomp", change(func(c *workload.Container) { c.Security.SeccompProfile = []byte("{}") }), Options{}, "seccomp profile"},
		{"fragment-svn", testGroup(), Options{InfrastructureSVN: "1.0"}, "svn is"},
		{"fragment-issuer", testGroup(), Options{Fragments: []workload.Fragment{{Feed: "a", MinimumSVN: "1"}}}, "want both"},
		{"fragment-includes", testGroup(), Options{Fragments: []workload.Fragment{{Feed: "a", Issuer: "b", MinimumSVN: "1", Includes: []string{"all"}}}}, "includes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := Generate(t.Context(), c.g, testImages(), c.o)
			if err == nil || p != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestImageRefused(t *testing.T) {
	cases := []struct {
		name  string
		image images.Image
		o     Options
		want  string
	}{
		{"platform", images.Image{Platform: "linux/arm64"}, Options{}, "linux/arm64"},
		{"no-layers", images.Image{Reference: "i"}, Options{}, "has no layers"},
		{"no-root", images.Image{Layers: []images.Layer{{EROFS: root(1)}}}, Options{}, "layer 0 has no ext4 root"},
		{"no-erofs-root", images.Image{Layers: []images.Layer{{Ext4: root(1)}}}, Options{Format: Both}, "layer 0 has no erofs root"},
		{"root", images.Image{Layers: []images.Layer{{Ext4: "x"}}}, Options{}, "64 lower-case hex digits"},
		{"env", images.Image{Config: v1.Config{Env: []string{"A"}}, Layers: []images.Layer{{Ext4: root(1)}}}, Options{}, "has no value"},
		{"stop-signal", images.Image{Config: v1.Config{StopSignal: "SIGNOPE"}, Layers: []images.Layer{{Ext4: root(1)}}}, Options{}, "is not a signal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Generate(t.Context(), only(workload.Container{Image: workload.Text{Value: "i"}}), fakeImages{"i": &c.image}, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestImageErrorNamesItOnce(t *testing.T) {
	_, err := Generate(t.Context(), only(workload.Container{Image: workload.Text{Value: "other"}}), testImages(), Options{})
	if err == nil || strings.Count(err.Error(), `image "other"`) != 1 {
		t.Errorf("got %v, want the image named once", err)
	}
}
