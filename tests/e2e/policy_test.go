package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// call sends an empty request to a method by its name on the wire.
func call(ctx context.Context, c *run.Client, method string) error {
	service, name, _ := strings.Cut(method, "/")
	return c.TTRPC().Call(ctx, service, name, &emptypb.Empty{}, &emptypb.Empty{})
}

// TestOnePolicyIsBound is a VM's whole way to its one policy.
func TestOnePolicyIsBound(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	c := newContainer(mustImage(t), "echo", "echo", "bound")
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true}, c)
	other := append(bytes.Clone(policy), '\n')
	m := boot(t, policy, nil)

	t.Run("nothing-before-it", func(t *testing.T) {
		for _, row := range gate.Rows {
			if row.Unbound {
				continue
			}
			err := call(m.ctx, m.Client(), row.Method)
			wantRefusal(t, err, row.Message)
		}
		if err := m.Client().Check(m.ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("another-hash", func(t *testing.T) {
		sum, want := sha256.Sum256(other), sha256.Sum256(policy)
		wantRefusal(t, m.SetPolicy(m.ctx, other), "SetPolicyRequest", "HOST_DATA", hex.EncodeToString(sum[:]), hex.EncodeToString(want[:]))
		wantRefusal(t, m.SetPolicy(m.ctx, nil), "HOST_DATA")
	})
	t.Run("the-right-one", func(t *testing.T) {
		if err := m.SetPolicy(m.ctx, policy); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a-second-one", func(t *testing.T) {
		wantRefusal(t, m.SetPolicy(m.ctx, policy), "SetPolicyRequest", "already bound")
		wantRefusal(t, m.SetPolicy(m.ctx, other), "SetPolicyRequest", "already bound")
	})
	t.Run("no-container-before-the-sandbox", func(t *testing.T) {
		m := m.in(t)
		made, request := m.prepare(c)
		wantCode(t, m.tryCreate(made, request), codes.FailedPrecondition, "CreateSandbox")
	})
	m.open()
	t.Run("a-second-sandbox", func(t *testing.T) {
		_, err := m.Client().CreateSandbox(m.ctx, &api.CreateSandboxRequest{SandboxId: strings.Repeat("b", 64), Hostname: "b"})
		wantCode(t, err, codes.FailedPrecondition, "sandbox")
	})
	t.Run("runs", func(t *testing.T) {
		if stdout, _, code := m.in(t).run(c); stdout != "bound\n" || code != 0 {
			t.Errorf("got %q, %d", stdout, code)
		}
	})
	t.Run("diagnostics-not-allowed", func(t *testing.T) {
		_, err := m.Client().GetDiagnosticData(m.ctx, &api.GetDiagnosticDataRequest{LogType: "stacks"})
		wantRefusal(t, err, "dump_stacks")
	})
}

func TestLaunchedWithoutHostData(t *testing.T) {
	alone(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, policy, func(o *run.Options) { o.HostData = &[32]byte{} })
	wantRefusal(t, m.SetPolicy(m.ctx, policy), "HOST_DATA is all zero")
}

func TestInitdataCarriesThePolicy(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	c := newContainer(mustImage(t), "echo", "echo", "by initdata")
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true}, c)
	m := boot(t, policy, func(o *run.Options) { o.Carrier = run.CarrierInitdata })
	wantRefusal(t, m.SetPolicy(m.ctx, policy), "already bound")
	// As Kata's shims do it: without a host name.
	if _, err := m.Client().CreateSandbox(m.ctx, &api.CreateSandboxRequest{SandboxId: m.ID()}); err != nil {
		t.Fatal(err)
	}
	if stdout, _, code := m.run(c); stdout != "by initdata\n" || code != 0 {
		t.Errorf("got %q, %d", stdout, code)
	}
}

// TestInitdataThatDoesNotMatchIsFatal: the guest ends and says why on the console, from its fixed catalogue.
func TestInitdataThatDoesNotMatchIsFatal(t *testing.T) {
	alone(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	o, err := vmOptions(policy)
	if err != nil {
		t.Fatal(err)
	}
	o.Carrier, o.HostData = run.CarrierInitdata, &[32]byte{1}
	ctx := caseContext(t)
	s, err := run.Boot(ctx, o)
	if err == nil {
		// The agent may answer before it has looked; it must not live on.
		select {
		case <-s.VM().Done():
		case <-ctx.Done():
			t.Error("the guest still runs")
		}
		s.Stop(context.Background())
	}
	if console := tail(filepath.Join(o.StateDir, "console.log")); !strings.Contains(console, "initdata") {
		t.Errorf("boot: %v; the console does not name initdata:\n%s", err, console)
	}
}

func TestEnvironmentIsDroppedWherePolicySaysSo(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	c := newContainer(mustImage(t), "env", "env")
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true, DropUnlistedEnv: true}, c)
	m := start(t, policy, nil)
	more := *c
	more.Env = []string{"LD_PRELOAD=/data/evil.so", pathEnv, "EXTRA=1"}
	stdout, _, code := m.run(&more)
	if !strings.Contains(stdout, pathEnv+"\n") || strings.Contains(stdout, "LD_PRELOAD") || strings.Contains(stdout, "EXTRA") || code != 0 {
		t.Errorf("environment got %q and status %d, want %q and neither of the others", stdout, code, pathEnv)
	}
}

func TestStdioIsKeptInsideWherePolicySaysSo(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	c := newContainer(mustImage(t), "spam", "spam", "500000")
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true, NoStdio: true}, c)
	m := start(t, policy, nil)
	// Half a megabyte is more than a pipe holds: the process must not block for want of a reader.
	if stdout, stderr, code := m.run(c); stdout != "" || stderr != "" || code != 0 {
		t.Errorf("got %d and %d bytes, status %d, want no output and 0", len(stdout), len(stderr), code)
	}
}

// TestProductionImageNeedsSNP: without the device nothing can be bound, so nothing can run.
func TestProductionImageNeedsSNP(t *testing.T) {
	alone(t)
	image, err := productionImage()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, policy, func(o *run.Options) { o.Guest, o.TEE, o.HostAliases = image, vm.TEENone, nil })
	wantRefusal(t, m.SetPolicy(m.ctx, policy), "HOST_DATA")
	made, request := m.prepare(fixture(t, "echo"))
	wantRefusal(t, m.tryCreate(made, request), "CreateContainerRequest", "no policy is bound")
	initrd, err := os.ReadFile(filepath.Join(image, "initrd.img"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(initrd, []byte("snp-emulator")) {
		t.Error("the production image names the emulator")
	}
}

// TestSecretsStayInside boots with logging refused, puts secrets in the environment, the arguments, a file and a refused
// request, and looks for them in all that leaves the guest.
func TestSecretsStayInside(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	img := mustImage(t)
	secret := func() string {
		var b [16]byte
		rand.Read(b[:])
		return "secret" + hex.EncodeToString(b[:])
	}
	inEnv, inArgs, refused := secret(), secret(), secret()
	c := newContainer(img, "secret", "read", "/data/secret", "/data/"+inArgs)
	c.Env = append(c.Env, "TOKEN="+inEnv)
	c.Layers = append(c.Layers, img.secret)
	policy := policyFor(t, ctx, policygen.Options{NoStdio: true}, c)
	m := boot(t, policy, nil)
	tap := m.tapped(1)
	for _, step := range []error{m.SetPolicy(ctx, policy), m.Open(ctx)} {
		if step != nil {
			t.Fatal(step)
		}
	}

	bad := *c
	bad.Env = append([]string{"PASSWORD=" + refused}, c.Env...)
	made, request := m.prepare(&bad)
	_, err := tap.client.CreateContainer(ctx, request)
	wantRefusal(t, err, "create_container")
	if err := m.Discard(ctx, made); err != nil {
		t.Error(err)
	}

	made, request = m.prepare(c)
	if _, err := tap.client.CreateContainer(ctx, request); err != nil {
		t.Fatal(err)
	}
	if _, err := tap.client.StartContainer(ctx, &api.StartContainerRequest{ContainerId: made.ID}); err != nil {
		t.Fatal(err)
	}
	process := made.OCI(pod.Names{SandboxID: m.ID(), ContainerID: made.ID}).Process
	process.Args = []string{"/bin/w", refused}
	_, err = tap.client.Exec(ctx, made.ID, process, run.ProcessIO{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
	if err == nil {
		t.Error("an exec that the policy does not list was run")
	}
	var out bytes.Buffer
	if err := tap.client.CopyOutput(ctx, run.Process{Container: made.ID}, &out, &out); err != nil {
		t.Error(err)
	}
	if _, err := tap.client.Wait(ctx, run.Process{Container: made.ID}); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"log", "stacks", "held"} {
		_, err := tap.client.GetDiagnosticData(ctx, &api.GetDiagnosticDataRequest{LogType: kind})
		wantRefusal(t, err, "GetDiagnosticDataRequest")
	}
	if _, err := tap.client.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: made.ID}); err != nil {
		t.Error(err)
	}
	if err := m.Discard(ctx, made); err != nil {
		t.Error(err)
	}
	tap.client.Close()

	console, err := os.ReadFile(m.Console())
	if err != nil {
		t.Fatal(err)
	}
	wire := tap.received()
	if len(wire) == 0 {
		t.Fatal("nothing was recorded on the wire")
	}
	for name, s := range map[string]string{"environment": inEnv, "argument": inArgs, "refused request": refused, "file": secretFile} {
		if bytes.Contains(console, []byte(s)) {
			t.Errorf("the secret of the %s is on the console", name)
		}
		if bytes.Contains(wire, []byte(s)) || out.Len() != 0 {
			t.Errorf("the secret of the %s left the guest", name)
		}
	}
}
