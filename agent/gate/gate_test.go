package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/enforcer"
)

const policy = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := []
allow_properties_access := true
get_properties := data.framework.get_properties
runtime_logging := data.framework.runtime_logging
reason := data.framework.reason
`

func constant(d [32]byte, err error) HostData {
	return func(context.Context) ([32]byte, error) { return d, err }
}

func TestBindPolicyNeedsHostData(t *testing.T) {
	hash := sha256.Sum256([]byte(policy))
	for _, tc := range []struct {
		name string
		host HostData
		text string
		want string // part of the refusal; "" is bound
	}{
		{"equal", constant(hash, nil), policy, ""},
		{"one-byte-more", constant(hash, nil), policy + "\n", "HOST_DATA is"},
		{"all-zero", constant([32]byte{}, nil), policy, "all zero"},
		{"no-device", constant([32]byte{}, errors.New("no device")), policy, "cannot be read"},
		{"does-not-parse", constant(sha256.Sum256([]byte("package")), nil), "package", "does not load"},
		{"empty", constant(sha256.Sum256(nil), nil), "", "does not load"},
		{"insecure-takes-any", nil, policy, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(Options{HostData: tc.host})
			err := g.BindPolicy(t.Context(), []byte(tc.text))
			if tc.want == "" {
				if err != nil || g.Policy() == nil {
					t.Fatalf("got %v, want bound", err)
				}
				return
			}
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want PermissionDenied with %q", err, tc.want)
			}
			if g.Policy() != nil {
				t.Fatal("a refused policy was kept")
			}
			if _, err := g.Admit("grpc.AgentService/CreateSandbox"); err == nil {
				t.Fatal("CreateSandbox was admitted without a policy")
			}
		})
	}
}

func TestSecondPolicyIsRefused(t *testing.T) {
	g := New(Options{HostData: constant(sha256.Sum256([]byte(policy)), nil)})
	if err := g.BindPolicy(t.Context(), []byte(policy)); err != nil {
		t.Fatal(err)
	}
	for name, bind := range map[string]func() error{
		"same-again": func() error { return g.BindPolicy(t.Context(), []byte(policy)) },
		"initdata":   func() error { return g.BindInitdata(t.Context(), sha256.Sum256([]byte(policy)), nil, []byte(policy)) },
	} {
		if err := bind(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "already bound") {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestDecideRefusalNamesThePoint(t *testing.T) {
	g := New(Options{})
	if err := g.BindPolicy(t.Context(), []byte(policy)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decide(t.Context(), "StatsContainerRequest", enforcer.GetPropertiesInput{}); err != nil {
		t.Fatalf("get_properties: got %v, want allowed", err)
	}
	_, err := g.Decide(t.Context(), "CreateContainerRequest", enforcer.MountDeviceInput{
		Target: "/run/mounts/scsi/m0", DeviceHash: strings.Repeat("ab", 32), MountPathRegex: "/run/mounts/scsi/m[0-9]+",
	})
	text := status.Convert(err).Message()
	if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(text, "CreateContainerRequest is blocked by policy: mount_device") {
		t.Fatalf("got %v, want a refusal that names message and point", err)
	}
	if strings.Contains(text, "policyDecision<") || len(text) > MaxRefusal {
		t.Fatalf("got %q: the policy does not allow runtime logging, want one short line", text)
	}
}

func TestRefusalLineIsOneBoundedLine(t *testing.T) {
	text := refusalLine("M", strings.Repeat("word\n", 400))
	if len(text) > MaxRefusal || strings.Contains(text, "\n") {
		t.Fatalf("got %d bytes, want one line of at most %d", len(text), MaxRefusal)
	}
}
