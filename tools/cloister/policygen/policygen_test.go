package policygen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/pod"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakeRoots gives each layer a root that only depends on its diff id.
func fakeRoots(_ context.Context, l pod.Layer) (string, error) {
	sum := sha256.Sum256([]byte(l.DiffID))
	return hex.EncodeToString(sum[:]), nil
}

// testPod is a web server with everything a policy can hold, and a container that leaves all to defaults.
func testPod() []*pod.Container {
	caps := []string{"CAP_NET_BIND_SERVICE", "CAP_KILL"}
	return []*pod.Container{
		{
			Name: "web", ImageRef: "registry.example/web:v1", Args: []string{"/bin/web", "-g", "a <b> & \"c\""},
			Env: []string{"PATH=/bin", "MODE=a|b", "NONCE=00"}, Cwd: "/srv", UID: 33, GID: 44, AdditionalGIDs: []uint32{44, 4, 70},
			Username: "web", Capabilities: pod.Capabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: true, ReadonlyRootfs: true,
			Mounts: []pod.Mount{
				{Destination: "/cache", Source: "sandbox:///emptydir/cache", Type: "bind", Options: []string{"rbind", "rshared", "rw"}},
				{Destination: "/run/cloister/attest", Source: "cloister://attest", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}},
			},
			Layers:     []pod.Layer{{DiffID: "sha256:base"}, {DiffID: "sha256:top"}},
			StopSignal: "SIGQUIT",
			Exec:       [][]string{{"/bin/live"}, {"/bin/drain", "1"}, {"/bin/live"}},
			EnvRules: []pod.EnvRule{
				{Pattern: "NONCE=[0-9a-f]{2}", Strategy: "re2", Required: true},
				{Pattern: "EXTRA=1|EXTRA=2", Strategy: "re2"},
				{Pattern: "DEBUG=1", Strategy: "string"},
			},
		},
		{
			Name: "job", ImageRef: "job", Args: []string{"/bin/job"}, Env: []string{"PATH=/bin"}, Cwd: "/",
			AdditionalGIDs: []uint32{0}, Privileged: true, Layers: []pod.Layer{{DiffID: "sha256:base"}},
		},
	}
}

func TestGenerateGolden(t *testing.T) {
	cases := []struct {
		name string
		o    Options
	}{
		{"newest", Options{}},
		{"api-0.10.0", Options{APIVersion: "0.10.0"}},
		{"open", Options{NoStdio: true, DropUnlistedEnv: true, AllowLogs: true, AllowStacks: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Generate(t.Context(), testPod(), fakeRoots, c.o)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", c.name+".rego")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(string(want), "\n")); diff != "" {
				t.Errorf("policy (-got +want):\n%s", diff)
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	change := func(f func(*pod.Container)) []*pod.Container {
		containers := testPod()
		f(containers[0])
		return containers
	}
	noRoot := func(context.Context, pod.Layer) (string, error) { return "", errors.New("no such layer") }
	upper := func(context.Context, pod.Layer) (string, error) { return strings.Repeat("AB", 32), nil }
	cases := []struct {
		name       string
		containers []*pod.Container
		roots      Roots
		api, want  string
	}{
		{"no-containers", nil, fakeRoots, "", "no containers"},
		{"unknown-api", testPod(), fakeRoots, "0.11.0", `api version is "0.11.0"`},
		{"layer-fails", testPod(), noRoot, "", `container "web": layer 0: no such layer`},
		{"upper-case-root", testPod(), upper, "", `container "web": layer 0`},
		{"args-not-utf8", change(func(c *pod.Container) { c.Args[1] = "\xff" }), fakeRoots, "", "args has text"},
		{"env-zero-byte", change(func(c *pod.Container) { c.Env[1] = "A=\x00" }), fakeRoots, "", "env has text"},
		{"stop-signal", change(func(c *pod.Container) { c.StopSignal = "SIGNOPE" }), fakeRoots, "", "is not a signal"},
		{"stop-signal-range", change(func(c *pod.Container) { c.StopSignal = "65" }), fakeRoots, "", "is not a signal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Generate(t.Context(), c.containers, c.roots, Options{APIVersion: c.api})
			if err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bytes and error %v, want %q in it", len(got), err, c.want)
			}
		})
	}
}

func TestStopSignals(t *testing.T) {
	cases := []struct {
		stop string
		want []int
	}{
		{"", []int{9, 15}},
		{"SIGTERM", []int{9, 15}},
		{"QUIT", []int{9, 15, 3}},
		{"sigint", []int{9, 15, 2}},
		{"3", []int{9, 15, 3}},
		{"SIGRTMIN+3", []int{9, 15, 37}},
	}
	for _, c := range cases {
		t.Run(c.stop, func(t *testing.T) {
			got, err := signals(c.stop)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}
