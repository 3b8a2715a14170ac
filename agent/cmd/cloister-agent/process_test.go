package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/gate"
)

const testPolicy = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := []
allow_properties_access := true
get_properties := data.framework.get_properties
mount_device := data.framework.mount_device
reason := data.framework.reason
`

// start runs the agent as a process does and returns a client of it.
func start(t *testing.T) *ttrpc.Client {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runProcess(ctx, flags{listen: "unix://" + socket, insecure: true, prefix: dir, crun: "crun"})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	var conn net.Conn
	deadline := time.Now().Add(10 * time.Second)
	for conn == nil {
		var err error
		if conn, err = net.Dial("unix", socket); err != nil {
			select {
			case err := <-done:
				t.Fatalf("the agent ended with %v", err)
			case <-time.After(10 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	c := ttrpc.NewClient(conn)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestProcessAnswersAndRefuses(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	agent := api.NewAgentServiceClient(c)
	if r, err := api.NewHealthClient(c).Check(ctx, &api.CheckRequest{}); err != nil || r.Status != api.HealthCheckResponse_SERVING {
		t.Fatalf("check: got %v, %v, want SERVING", r, err)
	}
	if r, err := agent.GetGuestDetails(ctx, &api.GuestDetailsRequest{}); err != nil || r.AgentDetails.Version != version || r.AgentDetails.InitDaemon {
		t.Fatalf("details: got %v, %v", r, err)
	}
	_, err := agent.CreateSandbox(ctx, &api.CreateSandboxRequest{SandboxId: "p"})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "CreateSandboxRequest is blocked by policy: no policy is bound yet") {
		t.Fatalf("before a policy: got %v, want a refusal", err)
	}
	if _, err := agent.SetPolicy(ctx, &api.SetPolicyRequest{Policy: testPolicy}); err != nil {
		t.Fatalf("set policy: %v", err)
	}
	if _, err := agent.SetPolicy(ctx, &api.SetPolicyRequest{Policy: testPolicy}); !strings.Contains(status.Convert(err).Message(), "already bound") {
		t.Fatalf("second policy: got %v, want a refusal", err)
	}
	if _, err := agent.GetMetrics(ctx, &api.GetMetricsRequest{}); err != nil {
		t.Fatalf("metrics, which the policy allows: %v", err)
	}
	if _, err := agent.GetDiagnosticData(ctx, &api.GetDiagnosticDataRequest{LogType: "log"}); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("logs, which the policy does not allow: got %v, want a refusal", err)
	}
}

// Every method that is never allowed answers so, whatever it is sent, and a method without a row does not exist.
func TestRefusedMethodsOverTheWire(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := api.NewAgentServiceClient(c).SetPolicy(ctx, &api.SetPolicyRequest{Policy: testPolicy}); err != nil {
		t.Fatal(err)
	}
	for _, r := range gate.Rows {
		if r.Way != gate.Refused {
			continue
		}
		service, method, _ := strings.Cut(r.Method, "/")
		err := c.Call(ctx, service, method, &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(status.Convert(err).Message(), r.Message+" is blocked by policy: never allowed") {
			t.Errorf("%s: got %v, want a refusal that names %s", r.Method, err, r.Message)
		}
	}
	if err := c.Call(ctx, "grpc.AgentService", "RunAnything", &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method nobody knows: got %v, want Unimplemented", err)
	}
}

func TestParseFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"none":       {},
		"no-scheme":  {"--listen", "/tmp/x"},
		"argument":   {"--listen", "unix:///x", "y"},
		"not-a-flag": {"--no-such"},
	} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if f, err := parseFlags([]string{"--listen", "unix:///x", "--insecure-no-tee"}); err != nil || !f.insecure {
		t.Errorf("got %+v, %v, want accepted", f, err)
	}
}
