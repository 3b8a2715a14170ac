package sandbox

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/identity"
)

// fakeBroker keeps who may ask.
type fakeBroker struct {
	open map[string]attest.Identity
	fail error
}

func (b *fakeBroker) Listen(_ context.Context, id attest.Identity, dir string) (string, func(), error) {
	if b.fail != nil {
		return "", nil, b.fail
	}
	b.open[id.Key] = id
	return dir + "/" + attest.SocketName, func() { delete(b.open, id.Key) }, nil
}

const attestMount = `{"destination": "/run/cloister/attest", "source": "cloister://attest", "type": "bind", "options": ["rbind", "ro"]}`

// twinsPolicy has two entries that differ in what may be executed only, with the grant.
func twinsPolicy(t *testing.T) string {
	t.Helper()
	text := strings.Replace(testPolicy(""), `"mounts": [`, `"mounts": [`+attestMount+`, `, 1)
	from, to := strings.Index(text, "containers := [")+len("containers := ["), strings.Index(text, "]\nallow_properties_access")
	if from < 0 || to < from {
		t.Fatal("the test's policy has another form")
	}
	twin := strings.Replace(text[from:to], "/bin/check", "/bin/other", 1)
	return text[:to] + ", " + twin + text[to:]
}

func granted(t *testing.T, id string) CreateRequest {
	return web(t, id, func(r *CreateRequest) {
		r.OCI.Mounts = append(r.OCI.Mounts, specs.Mount{Destination: "/run/cloister/attest", Source: grantAttest, Type: "bind", Options: []string{"rbind", "ro"}})
		r.OCI.Names, r.OCI.ImageName = []string{"web", "pod", "ns"}, "registry.example/web:v1"
	})
}

func root(t *testing.T, s string) [32]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(b)
}

func TestIdentityIsWhatWasDecided(t *testing.T) {
	b := newBench(t, twinsPolicy(t))
	broker := &fakeBroker{open: map[string]attest.Identity{}}
	b.cfg.Broker = broker
	if err := b.CreateContainer(t.Context(), granted(t, "w")); err != nil {
		t.Fatal(err)
	}
	key := Key("w")
	got, ok := broker.open[key]
	if !ok {
		t.Fatal("the container has no listener")
	}
	entries := got.Entries
	got.Entries = nil
	want := attest.Identity{
		Key: key, Cgroup: "/cloister/" + key, Layers: [][32]byte{root(t, rootWeb), root(t, rootBase)},
		Args:    identity.ArgsDigest([]string{"/bin/web"}),
		Claimed: identity.Claimed{ID: "w", Names: []string{"web", "pod", "ns"}, Image: "registry.example/web:v1"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
	wantEntries := func(want ...uint32) {
		t.Helper()
		list, err := entries()
		var got []uint32
		for _, e := range list {
			got = append(got, e.Index)
		}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("got entries %v, %v, want %v", got, err, want)
		}
	}
	wantEntries(0, 1)
	if err := b.StartContainer(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	exec := &container.ProcessRequest{Args: []string{"/bin/other"}, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: granted(t, "w").OCI.Process.Capabilities}
	if err := b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: "e", Process: exec}); err != nil {
		t.Fatal(err)
	}
	wantEntries(1)
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
	if len(broker.open) != 0 {
		t.Error("the listener outlives the container")
	}
	if _, err := entries(); !errors.Is(err, enforcer.ErrNoContainer) {
		t.Errorf("after the container: got %v", err)
	}
}

// TestNoGrantNoListener: under a policy with grants, a container that has none gets nothing at all.
func TestNoGrantNoListener(t *testing.T) {
	other := strings.Replace(testPolicy(""), "containers := [{", `containers := [{
  "name": "granted", "command": ["/bin/granted"], "working_dir": "/", "layers": ["`+rootBase+`"], "env_rules": [], "mounts": [`+attestMount+`],
  "exec_processes": [], "signals": [], "user": {"user_idname": {"pattern": "", "strategy": "any"}, "group_idnames": [{"pattern": "", "strategy": "any"}], "umask": "0022"},
  "capabilities": null, "seccomp_profile_sha256": "", "allow_elevated": false, "allow_stdio_access": true, "no_new_privileges": false
}, {`, 1)
	b := newBench(t, other)
	broker := &fakeBroker{open: map[string]attest.Identity{}}
	b.cfg.Broker, b.cfg.ReportDevice = broker, "/dev/null"
	if err := b.CreateContainer(t.Context(), web(t, "w", nil)); err != nil {
		t.Fatal(err)
	}
	spec := b.runtime.specs[Key("w")]
	for _, m := range spec.Mounts {
		if strings.HasPrefix(m.Destination, "/security-context-") {
			t.Error("the container has a security context")
		}
	}
	if len(broker.open) != 0 || len(spec.Linux.Devices) != 0 {
		t.Errorf("got %d listeners and devices %v, want none", len(broker.open), spec.Linux.Devices)
	}
}

func TestListenerThatFailsIsUndone(t *testing.T) {
	b := newBench(t, twinsPolicy(t))
	b.cfg.Broker = &fakeBroker{fail: errors.New("no socket")}
	if err := b.CreateContainer(t.Context(), granted(t, "w")); err == nil || !strings.Contains(err.Error(), "evidence socket") {
		t.Errorf("got %v, want that the socket cannot be opened", err)
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Errorf("got %+v and %v mounted, want nothing", h, b.storage.mounted)
	}
}

func TestClaimedIsBounded(t *testing.T) {
	long := strings.Repeat("ü", 400)
	got := claimed("id", &container.Request{Names: append(make([]string, 30), long), ImageName: long})
	if len(got.Names) != identity.MaxNames || len(got.Image) > maxClaimed || !strings.HasPrefix(long, got.Image) {
		t.Errorf("got %d names, an image of %d bytes", len(got.Names), len(got.Image))
	}
	if _, err := (&identity.Preimage{Nonce: make([]byte, 16), Claimed: got}).Encode(); err != nil {
		t.Error(err)
	}
}

// TestSecurityContextFiles: under a policy without grants each unprivileged container finds the policy and what the host gave, and the report device; what was
// loaded between two containers is there for both.
func TestSecurityContextFiles(t *testing.T) {
	text := testPolicy("")
	b := newBench(t, text)
	b.cfg.ReportDevice = "/dev/null"
	files := []ContextFile{{"host-amd-cert-base64", []byte(`{"vcekCert": ""}`)}}
	b.cfg.Context = func() []ContextFile { return files }
	dirOf := func(id string) string {
		t.Helper()
		if err := b.CreateContainer(t.Context(), web(t, id, nil)); err != nil {
			t.Fatal(err)
		}
		spec := b.runtime.specs[Key(id)]
		last := spec.Process.Env[len(spec.Process.Env)-1]
		name, ok := strings.CutPrefix(last, contextVariable)
		if !ok {
			t.Fatalf("%s: got %q, want the variable last", id, last)
		}
		if len(spec.Linux.Devices) != 1 || spec.Linux.Devices[0].Path != "/dev/null" {
			t.Errorf("%s: got devices %v, want the report device", id, spec.Linux.Devices)
		}
		for _, m := range spec.Mounts {
			if m.Destination == name {
				return m.Source
			}
		}
		t.Fatalf("%s: nothing is mounted at %q", id, name)
		return ""
	}
	wantFiles := func(dir string, want map[string]string) {
		t.Helper()
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != len(want) {
			t.Errorf("got %v, %v, want %d files", list, err, len(want))
		}
		for name, content := range want {
			encoded, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
				continue
			}
			if got, err := base64.StdEncoding.DecodeString(string(encoded)); err != nil || string(got) != content {
				t.Errorf("%s: got %.40q, %v, want %.40q", name, got, err, content)
			}
		}
	}
	first := dirOf("one")
	wantFiles(first, map[string]string{"security-policy-base64": text, "host-amd-cert-base64": `{"vcekCert": ""}`})
	files = []ContextFile{{"host-amd-cert-base64", []byte("changed")}, {"reference-info-base64", []byte("cose")}}
	second := dirOf("two")
	for _, dir := range []string{first, second} {
		wantFiles(dir, map[string]string{"security-policy-base64": text, "host-amd-cert-base64": "changed", "reference-info-base64": "cose"})
	}
}
