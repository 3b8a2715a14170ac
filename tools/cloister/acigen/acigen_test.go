package acigen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func TestGenerateGolden(t *testing.T) {
	for _, level := range defaults.Levels() {
		t.Run(level, func(t *testing.T) {
			golden(t, level+".rego", mustGenerate(t, testGroup(), Options{Compat: level}).Rego(false))
		})
	}
	cases := []struct {
		name   string
		change func(*workload.Group, *Options)
		pretty bool
	}{
		{"pretty", func(*workload.Group, *Options) {}, true},
		{"debug", func(_ *workload.Group, o *Options) { o.Debug = true }, false},
		{"virtual-node", func(g *workload.Group, _ *Options) {
			g.Platform = workload.VirtualNode
			g.Labels = map[string]string{"azure.workload.identity/use": "true"}
			g.Containers[1].Security.Privileged = ptr(true)
		}, true},
		{"options", func(_ *workload.Group, o *Options) {
			o.Compat, o.Stdio, o.OmitID, o.NoDefaultFragments, o.Format = "confcom-2", ptr(false), true, true, Both
		}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g, o := testGroup(), Options{}
			c.change(g, &o)
			golden(t, c.name+".rego", mustGenerate(t, g, o).Rego(c.pretty))
		})
	}
}

// TestPublicPolicy describes the container group of a policy that az confcom wrote and Microsoft published
// (github.com/microsoft/confidential-aci-examples, examples/http_server/policy.rego at 24f824b8), and wants that text's digest.
// Only the name of the pause container is not in it: confcom added that later.
func TestPublicPolicy(t *testing.T) {
	const want = "a550372baaa5b3f2aa1f7b9e9aab992a748f67938fc4a8a6eb4528f35df55c70"
	var layers []images.Layer
	for _, l := range []string{
		"3bc88466236d9f1ac79130b54cd6b30922e13630b15c7f5f37a3cc981295e3f4",
		"2aab044072f35af932532b72d1c338a7ac38a8a09518760fafdfb346946db8dc",
		"c8a1dbc03706936e21125db02a162243022bc0a53d019af09a713cb5b2216c84",
		"c510ffab59dd922f87319b2373a2b4ade221eceb1d34418a8fd1d381fe995411",
		"c6557730f419538ed0d2a42ccbbe7dd3e5cec81cd6fb3a4142a9bd16a5102a4a",
		"844ec2d8237c1ab16e42f3a8dc97521a9f3014057523693d0776961f4bb11c57",
		"6dc701b9c3d6ce4732096dc61e5653146b0cdcf2dbfbd63b69659713338a63b8",
	} {
		layers = append(layers, images.Layer{Ext4: l})
	}
	source := fakeImages{"nginx:latest": {
		Reference: "nginx:latest", Platform: "linux/amd64", Layers: layers,
		Config: v1.Config{
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NGINX_VERSION=1.25.4", "NJS_VERSION=0.8.3", "PKG_RELEASE=1~bookworm"},
			Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT",
		},
	}}
	own, err := defaults.Load("aci-2023")
	if err != nil {
		t.Fatal(err)
	}
	own.Pause.Name = ""
	got, err := Generate(t.Context(), only(workload.Container{ID: "nginx:latest", Image: workload.Text{Value: "nginx:latest"}}), source,
		Options{Compat: "confcom-1.2.7", Defaults: own})
	if err != nil {
		t.Fatal(err)
	}
	if digest := got.SHA256(); hex.EncodeToString(digest[:]) != want {
		t.Errorf("digest: got %x, want %s; the text is\n%s", digest, want, got.Rego(false))
	}
}

// TestEveryPolicyReads: each level's text, compact and pretty, says the same to the reader that all tools use.
func TestEveryPolicyReads(t *testing.T) {
	for _, level := range defaults.Levels() {
		t.Run(level, func(t *testing.T) {
			p := mustGenerate(t, testGroup(), Options{Compat: level})
			compact, err := policydoc.Read(t.Context(), p.Rego(false))
			if err != nil {
				t.Fatal(err)
			}
			pretty, err := policydoc.Read(t.Context(), p.Rego(true))
			if err != nil {
				t.Fatal(err)
			}
			if len(compact.Problems) > 0 {
				t.Errorf("got problems %v, want none", compact.Problems)
			}
			if diff := policydoc.Diff(compact, pretty); len(diff) > 0 {
				t.Errorf("the pretty text differs: %v", diff)
			}
			if compact.NotPlain != "" {
				t.Errorf("the compact text is judged by the slow engine: %s", compact.NotPlain)
			}
			if got, want := p.SHA256(), sha256.Sum256(p.Rego(false)); got != want {
				t.Errorf("digest: got %x, want %x", got, want)
			}
		})
	}
}

func TestSameInputsSameBytes(t *testing.T) {
	want := mustGenerate(t, testGroup(), Options{}).Rego(false)
	for range 20 {
		g := testGroup()
		g.Labels = map[string]string{"a": "1", "b": "2", "c": "3"}
		if got := mustGenerate(t, g, Options{}).Rego(false); !bytes.Equal(got, want) {
			t.Fatal("the text changed from one run to the next")
		}
	}
	before, err := json.Marshal(testGroup())
	if err != nil {
		t.Fatal(err)
	}
	g := testGroup()
	mustGenerate(t, g, Options{Debug: true})
	after, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the group was changed")
	}
}

func TestLeftOutWhenCovered(t *testing.T) {
	p := mustGenerate(t, testGroup(), Options{Covered: func(c *Container) (bool, error) { return c.Name == "base", nil }})
	if diff := cmp.Diff(p.LeftOut, []string{"base"}); diff != "" {
		t.Errorf("left out (-got +want):\n%s", diff)
	}
	if len(p.Containers) != 3 {
		t.Errorf("got %d containers, want app, proxy and pause", len(p.Containers))
	}
	for _, r := range p.Explain() {
		if r.Container == "base" {
			t.Errorf("a rule of a container that was left out is explained: %v", r)
		}
	}
}

func TestGivenContainers(t *testing.T) {
	one := mustGenerate(t, only(app()), Options{OmitID: true})
	text, err := json.Marshal(one.Containers[0])
	if err != nil {
		t.Fatal(err)
	}
	two, err := Generate(t.Context(), &workload.Group{}, nil, Options{With: [][]byte{text}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := two.Rego(false), one.Rego(false); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, c := range map[string]struct{ text, want string }{
		"unknown-member": {`{"layers":["` + root(1) + `"],"privileged":true}`, `unknown field "privileged"`},
		"no-layers":      {`{"command":["/a"]}`, "layers is empty"},
		"two":            {string(text) + string(text), "after top-level value"},
		"upper-case":     {`{"layers":["` + strings.Repeat("AB", 32) + `"]}`, "lower-case"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Generate(t.Context(), &workload.Group{}, nil, Options{With: [][]byte{[]byte(c.text)}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestPauseOnlyWithOwnContainers(t *testing.T) {
	c := app()
	c.NoDefaults = true
	p := mustGenerate(t, only(c), Options{})
	if len(p.Containers) != 1 || p.Containers[0].Name != "app" {
		t.Errorf("got %d containers, want the platform's own only", len(p.Containers))
	}
}

func TestFragmentGolden(t *testing.T) {
	for _, level := range []string{"confcom-1.2.7", "latest"} {
		p, err := Fragment(t.Context(), testGroup(), testImages(), FragmentOptions{Options: Options{Compat: level}, Namespace: "contoso", SVN: "3"})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "fragment-"+level+".rego", p.Rego(false))
		if _, err := policydoc.ReadFragment(t.Context(), string(p.Rego(true))); err != nil {
			t.Errorf("%s: %v", level, err)
		}
	}
}

func TestFragmentRefuses(t *testing.T) {
	for name, c := range map[string]struct{ namespace, svn, want string }{
		"reserved":  {"framework", "1", "reserved"},
		"policy":    {"policy", "1", "reserved"},
		"keyword":   {"every", "1", "reserved"},
		"newline":   {"a\nb", "1", "letters"},
		"empty":     {"", "1", "letters"},
		"semver":    {"a", "1.0.0", "whole number"},
		"negative":  {"a", "-1", "whole number"},
		"no-svn":    {"a", "", "whole number"},
		"svn-zeros": {"a", "01", "whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Fragment(t.Context(), testGroup(), testImages(), FragmentOptions{Namespace: c.namespace, SVN: c.svn})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
