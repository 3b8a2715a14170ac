package gate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// entries are all entries of a gate's log from one on.
func entries(t *testing.T, g *Gate, from int) []eventlog.Entry {
	t.Helper()
	x := g.Events().Excerpt()
	got, err := x.Replay()
	if err != nil {
		t.Fatal(err)
	}
	return got[from:]
}

// line is what tests compare of an entry.
func line(e eventlog.Entry) string {
	var parts []string
	for _, s := range []string{e.Kind, e.Verdict, e.Request, e.Point, e.Container, e.Target, e.Rule, e.Field, e.Decision, e.Issuer, e.Feed, e.SVN, e.Detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Count > 0 {
		parts = append(parts, fmt.Sprint("x", e.Count))
	}
	return strings.Join(parts, "|")
}

func wantLines(t *testing.T, got []eventlog.Entry, want ...string) {
	t.Helper()
	var lines []string
	for _, e := range got {
		lines = append(lines, line(e))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got entries\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

const key = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

var layerHash = strings.Repeat("aa", 32)

// logged is a gate with explainedPolicy, whose one layer has a hash of full length, and what was done before a create.
func logged(t *testing.T) *Gate {
	t.Helper()
	g := New(Options{})
	text := strings.Replace(explainedPolicy, `["aa"]`, `["`+layerHash+`"]`, 1) + "get_properties := data.framework.get_properties\nallow_properties_access := true\n"
	if err := g.BindPolicy(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
	return g
}

func allowed(t *testing.T, g *Gate, in enforcer.Input) (undo func()) {
	t.Helper()
	d, err := g.Decide(t.Context(), "CreateContainerRequest", in)
	if err != nil {
		t.Fatal(err)
	}
	if undo, err = d.Commit(); err != nil {
		t.Fatal(err)
	}
	return undo
}

func TestDecisionsAreLogged(t *testing.T) {
	g := logged(t)
	before := g.Events().Head()
	undoDevice := allowed(t, g, enforcer.MountDeviceInput{Target: "/run/mounts/scsi/m0", DeviceHash: layerHash, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
	undoOverlay := allowed(t, g, enforcer.MountOverlayInput{ContainerID: key, LayerPaths: []string{"/run/mounts/scsi/m0"}, Target: "/run/gcs/c/" + key + "/rootfs"})
	create := enforcer.CreateContainerInput{
		ContainerID: key, ArgList: []string{"/bin/web", "--password=hunter2"}, EnvList: []string{"TOKEN=hunter2"}, WorkingDir: "/hunter2", Umask: "0022",
		Mounts: []enforcer.Mount{{Destination: "/hunter2", Source: "/hunter2", Type: "bind"}}, User: enforcer.User{ID: "0", Name: "hunter2"},
	}
	if _, err := g.Decide(t.Context(), "CreateContainerRequest", create); err == nil {
		t.Fatal("another command is allowed")
	}
	if g.Events().Head() == before {
		t.Fatal("the head is the same after decisions")
	}
	undoOverlay()
	undoOverlay()
	undoDevice()
	got := entries(t, g, 1)
	wantLines(
		t, got,
		"policy|allowed|carrier=SetPolicy judge=compiled",
		"decision|refused|SetPolicyRequest|runtime_logging|not allowed by the policy|policy.allow_runtime_logging",
		"decision|allowed|CreateContainerRequest|mount_device|/run/mounts/scsi/m0|2",
		"decision|allowed|CreateContainerRequest|mount_overlay|"+key+"|/run/gcs/c/"+key+"/rootfs|3|m0",
		"decision|refused|CreateContainerRequest|create_container|"+key+"|invalid command|process.args|4",
		"undone|CreateContainerRequest|mount_overlay|"+key+"|/run/gcs/c/"+key+"/rootfs|3",
		"undone|CreateContainerRequest|mount_device|/run/mounts/scsi/m0|2",
	)
	if want, _ := hex.DecodeString(layerHash); string(got[2].Digest) != string(want) {
		t.Errorf("got digest %x of the layer, want %s", got[2].Digest, layerHash)
	}
	if want := identity.ArgsDigest(create.ArgList); string(got[4].Digest) != string(want[:]) {
		t.Errorf("got digest %x of the arguments, want %x", got[4].Digest, want)
	}
	x := g.Events().Excerpt()
	if text := string(x.Encode()); strings.Contains(text, "hunter2") {
		t.Error("the log repeats a part of the request")
	}
}

func TestACommitThatFailsIsLogged(t *testing.T) {
	g := logged(t)
	in := enforcer.MountDeviceInput{Target: "/run/mounts/scsi/m0", DeviceHash: layerHash, MountPathRegex: "/run/mounts/scsi/m[0-9]+"}
	d, err := g.Decide(t.Context(), "CreateContainerRequest", in)
	if err != nil {
		t.Fatal(err)
	}
	allowed(t, g, in)
	if _, err := d.Commit(); err == nil {
		t.Fatal("a stale decision was committed")
	}
	got := entries(t, g, 3)
	wantLines(
		t, got,
		"decision|allowed|CreateContainerRequest|mount_device|/run/mounts/scsi/m0|2",
		"decision|allowed|CreateContainerRequest|mount_device|/run/mounts/scsi/m0|3",
		"commit-failed|CreateContainerRequest|mount_device|/run/mounts/scsi/m0|2",
	)
}

// TestWhatChangesNothingIsCounted: a host that reads figures all day does not push anything out of the log.
func TestWhatChangesNothingIsCounted(t *testing.T) {
	g := logged(t)
	for range 5000 {
		if _, err := g.Decide(t.Context(), "StatsContainerRequest", enforcer.GetPropertiesInput{}); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Admit("grpc.AgentService/AddSwap"); err == nil {
			t.Fatal("AddSwap was admitted")
		}
		if _, err := g.Admit("grpc.AgentService/Hunter2"); err == nil {
			t.Fatal("a method without a row was admitted")
		}
	}
	got := entries(t, g, 3)
	if len(got) != 3*13 {
		t.Fatalf("got %d entries, want 13 of each kind", len(got))
	}
	wantLines(
		t, got[len(got)-6:],
		"decision|allowed|StatsContainerRequest|get_properties|x2048",
		"request-refused|AddSwapRequest|never allowed|x2048",
		"request-refused|no such method|x2048",
		"decision|allowed|StatsContainerRequest|get_properties|x4096",
		"request-refused|AddSwapRequest|never allowed|x4096",
		"request-refused|no such method|x4096",
	)
}

func TestRefusedPoliciesAreLogged(t *testing.T) {
	g := New(Options{HostData: constant([32]byte{1}, nil)})
	if _, err := g.Admit("grpc.AgentService/CreateSandbox"); err == nil {
		t.Fatal("CreateSandbox was admitted before a policy")
	}
	if err := g.BindPolicy(t.Context(), []byte("hunter2")); err == nil {
		t.Fatal("another policy was bound")
	}
	g.opt.HostData = constant([32]byte{}, errors.New("hunter2"))
	_ = g.BindPolicy(t.Context(), []byte("hunter2"))
	g.opt.HostData = constant([32]byte{}, nil)
	_ = g.BindPolicy(t.Context(), []byte("hunter2"))
	g.opt.HostData = nil
	_ = g.BindInitdata(t.Context(), [32]byte{2}, nil, []byte("hunter2"))
	if err := g.BindPolicy(t.Context(), []byte(policy)); err != nil {
		t.Fatal(err)
	}
	_ = g.BindPolicy(t.Context(), []byte(policy))
	got := entries(t, g, 1)
	wantLines(
		t, got,
		"request-refused|CreateSandboxRequest|no policy is bound",
		"policy|refused|HOST_DATA is another|carrier=SetPolicy",
		"policy|refused|HOST_DATA cannot be read|carrier=SetPolicy",
		"policy|refused|HOST_DATA is all zero|carrier=SetPolicy",
		"policy|refused|the policy does not load|carrier=initdata",
		"policy|allowed|carrier=SetPolicy judge=compiled",
		"decision|refused|SetPolicyRequest|runtime_logging|not allowed by the policy|policy.allow_runtime_logging",
		"policy|refused|a policy is bound already|carrier=SetPolicy",
	)
	if got[4].Digest[0] != 2 {
		t.Errorf("got digest %x, want the document's", got[4].Digest)
	}
}

func TestFragmentsAreLogged(t *testing.T) {
	chain, stranger := cosetest.NewChain(t, cosetest.ChainOptions{}), cosetest.NewChain(t, cosetest.ChainOptions{})
	svn := int64(7)
	g := New(Options{})
	text := policy + "load_fragment := data.framework.load_fragment\n" +
		`fragments := [{"issuer": "` + chain.DID(t, "subject") + `", "feed": "f", "minimum_svn": 1, "includes": ["external_processes"]}]` + "\n"
	if err := g.LoadFragment(t.Context(), "LoadFragmentRequest", []byte("x"), ""); err == nil {
		t.Fatal("a fragment was loaded before a policy")
	}
	if err := g.BindPolicy(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
	const rego = "package infra\nframework_version := \"0.5.0\"\n"
	for _, c := range []struct {
		document []byte
		media    string
	}{
		{stranger.Document(t, []byte(rego), "hunter2", &svn), ""},
		{[]byte("hunter2"), "hunter2"},
		{chain.Document(t, []byte(rego), "f", &svn), ""},
	} {
		_ = g.LoadFragment(t.Context(), "LoadFragmentRequest", c.document, c.media)
	}
	wantLines(
		t, entries(t, g, 1),
		"request-refused|LoadFragmentRequest|no policy is bound",
		"policy|allowed|carrier=SetPolicy judge=compiled",
		"decision|refused|SetPolicyRequest|runtime_logging|not allowed by the policy|policy.allow_runtime_logging",
		"decision|refused|LoadFragmentRequest|load_fragment|invalid fragment issuer|fragment.issuer|2",
		"decision|refused|LoadFragmentRequest|load_fragment|fragment media type is not known|media_type|3",
		"decision|allowed|LoadFragmentRequest|load_fragment|4",
		"fragment-loaded|load_fragment|4|"+chain.DID(t, "subject")+"|f|7",
	)
}

// TestNoDecisionIsAllowedWithoutItsEntry: what follows a decision finds it in the log already.
func TestNoDecisionIsAllowedWithoutItsEntry(t *testing.T) {
	g := logged(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := g.Events().Head()
	if _, err := g.Decide(ctx, "CreateContainerRequest", enforcer.ShutdownContainerInput{ContainerID: key}); err == nil {
		t.Fatal("a decision without time was allowed")
	}
	got := entries(t, g, 3)
	wantLines(t, got, "decision|refused|CreateContainerRequest|shutdown_container|"+key+"|could not decide")
	if g.Events().Head() == before {
		t.Error("the head is the same")
	}
}

// Each disk and directory that a decision is about is named, so that a relying party sees where a container's layers came from and where it writes.
func TestEntriesNameTheirTarget(t *testing.T) {
	for _, in := range []enforcer.Input{
		enforcer.MountDeviceInput{Target: "x"},
		enforcer.RWMountDeviceInput{Target: "x"},
		enforcer.ScratchMountInput{Target: "x"},
		enforcer.MountOverlayInput{Target: "x"},
		enforcer.UnmountDeviceInput{UnmountTarget: "x"},
		enforcer.RWUnmountDeviceInput{UnmountTarget: "x"},
		enforcer.ScratchUnmountInput{UnmountTarget: "x"},
		enforcer.UnmountOverlayInput{UnmountTarget: "x"},
	} {
		if e := about("CreateContainerRequest", in); e.Target != "x" || e.Point != string(in.Point()) {
			t.Errorf("%s: got %+v, want its target", in.Point(), e)
		}
	}
}
