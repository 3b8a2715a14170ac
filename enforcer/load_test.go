package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/agentpolicy"
)

func TestOpenDoor(t *testing.T) {
	e := load(t, openDoor())
	for _, row := range enforcer.Points() {
		if row.Unsupported != "" {
			continue
		}
		in, err := enforcer.DecodeInput(row.Point, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		allow(t, e, in)
	}
	in := request(idA)
	in.EnvList = []string{"B=1", "A=2", "B=1"}
	d, _ := allow(t, e, in)
	if fmt.Sprint(d.Env) != "[B=1 A=2 B=1]" || !d.AllowStdio || len(d.Capabilities.Bounding) != 1 {
		t.Errorf("got %+v, want what was asked", d)
	}
}

func TestPolicyCannotAdd(t *testing.T) {
	e := load(t, `package policy
api_version := "0.12.0"
create_container := {"allowed": true, "env_list": ["A=1", "LD_PRELOAD=/x"], "caps_list": {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN"]}}`)
	in := request(idA)
	in.EnvList = []string{"A=1", "C=1"}
	d, _ := allow(t, e, in)
	if fmt.Sprint(d.Env) != "[A=1]" || fmt.Sprint(d.Capabilities.Bounding) != "[CAP_KILL]" || len(d.Capabilities.Effective) != 0 || d.AllowStdio {
		t.Errorf("got %+v %+v, want the intersection", d, d.Capabilities)
	}
}

func TestRegoVersions(t *testing.T) {
	v0 := `package policy
import future.keywords.in
api_version := "0.10.0"
framework_version := "0.2.3"
default mount_device = {"allowed": false}
mount_device = {"allowed": true} { input.target == allowed[_] }
allowed[x] { x := "/a" }
reason = {"errors": e} { e := data.framework.errors }
`
	v1 := `package policy
import future.keywords.every
import future.keywords.if
api_version := "0.12.0"
framework_version := "0.5.0"
default mount_device := {"allowed": false}
mount_device := {"allowed": true} if every x in ["/a"] { x == input.target }
reason := data.framework.reason
`
	both := `package policy
import rego.v1
api_version := "0.12.0"
framework_version := "0.5.0"
default mount_device := {"allowed": false}
mount_device := {"allowed": true} if input.target == "/a"
reason := data.framework.reason
`
	for name, text := range map[string]string{"v0": v0, "v1": v1, "import": both} {
		t.Run(name, func(t *testing.T) {
			e := load(t, text)
			allow(t, e, enforcer.MountDeviceInput{Target: "/a"})
			refuse(t, e, enforcer.MountDeviceInput{Target: "/b"}, "deviceHash not found", "mountpoint invalid")
		})
	}
}

func TestPrintIsIgnored(t *testing.T) {
	e := load(t, "package policy\napi_version := \"0.12.0\"\nmount_device := {\"allowed\": true} if { print(input); trace(\"x\") }\n")
	allow(t, e, enforcer.MountDeviceInput{})
}

func TestPolicyTextRefused(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"empty", "", "parse"},
		{"no-rego", "{\"allow_all\": true}", "parse"},
		{"framework", "package framework\nmount_device := {\"allowed\": true}", `got "framework", want policy`},
		{"framework-in-disguise", "package #policy\nframework\nmount_device := {\"allowed\": true}", `got "framework", want policy`},
		{"api", "package api", `want policy`},
		{"metadata", "package metadata", `want policy`},
		{"below-policy", "package policy.x", `want policy`},
		{"two-packages", "package policy\npackage framework\n", "parse"},
		{"kata", "package agent_policy\ndefault CreateContainerRequest := true", "cloister policy generate"},
		{"type-error", "package policy\nx := 1 + \"a\"", "line 2"},
		{"api-version-number", "package policy\napi_version := 1", "want a string"},
		{"api-version-form", "package policy\napi_version := \"v1\"", "MAJOR.MINOR.PATCH"},
		{"deep", "package policy\nx := " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "nest deeper"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := enforcer.Load(context.Background(), []byte(c.text), enforcer.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("got %q, want one line", err)
			}
		})
	}
	_, err := enforcer.Load(context.Background(), []byte("package agent_policy"), enforcer.Options{})
	if !errors.Is(err, agentpolicy.ErrUnsupported) {
		t.Errorf("got %v, want %v", err, agentpolicy.ErrUnsupported)
	}
}

func TestNothingReachesOutside(t *testing.T) {
	inOneGoroutine(t)
	for _, call := range []string{
		`http.send({"method": "get", "url": "http://h/"})`, `opa.runtime()`, `net.lookup_ip_addr("h")`, `time.now_ns()`,
		`rand.intn("x", 3)`, `uuid.rfc4122("x")`, `io.jwt.decode_verify("x", {})`, `io.jwt.decode("x")`,
		`time.clock([1, "Europe/Berlin"])`, `crypto.x509.parse_and_verify_certificates("x")`,
		`json.match_schema({}, {"$ref": "http://h/"})`, `providers.aws.sign_req({}, {}, 1)`, `rego.parse_module("a", "b")`,
		`graphql.is_valid("a", "b")`, `net.cidr_expand("10.0.0.0/8")`,
	} {
		_, err := enforcer.Load(context.Background(), []byte("package policy\nx := "+call), enforcer.Options{})
		if err == nil || !strings.Contains(err.Error(), "undefined function") {
			t.Errorf("%s: got %v, want an undefined function", call, err)
		}
	}
}

func TestPolicySize(t *testing.T) {
	text := []byte("package policy\n#" + strings.Repeat("x", 100))
	ctx := context.Background()
	if _, err := enforcer.Load(ctx, text, enforcer.Options{PolicyLimit: len(text) - 1}); err == nil {
		t.Error("a policy above the limit was loaded")
	}
	if _, err := enforcer.Load(ctx, text, enforcer.Options{PolicyLimit: len(text)}); err != nil {
		t.Error(err)
	}
	if _, err := enforcer.Load(ctx, text, enforcer.Options{PolicyLimit: enforcer.MaxPolicyLimit + 1}); err == nil {
		t.Error("a limit above the highest was accepted")
	}
	if _, err := enforcer.Load(ctx, make([]byte, enforcer.DefaultPolicyLimit+1), enforcer.Options{}); err == nil {
		t.Error("a policy above the default limit was loaded")
	}
}

func TestEvaluationDeadline(t *testing.T) {
	const slow = `package policy
api_version := "0.12.0"
mount_device := {"allowed": n > 0} if {
	n := count([1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j < 0])
}`
	e := load(t, slow, enforcer.Options{EvalTimeout: 50 * time.Millisecond})
	_, err := e.Decide(context.Background(), enforcer.MountDeviceInput{})
	if !errors.Is(err, enforcer.ErrDeadline) {
		t.Errorf("got %v, want %v", err, enforcer.ErrDeadline)
	}
	e = load(t, slow)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Decide(ctx, enforcer.MountDeviceInput{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the caller's deadline", err)
	}
}

func TestOddAnswersAreNoPermission(t *testing.T) {
	inOneGoroutine(t)
	cases := []struct{ name, rule, want string }{
		{"true", `mount_device := true`, "want an object"},
		{"no-allowed", `mount_device := {"metadata": []}`, "no boolean"},
		{"allowed-text", `mount_device := {"allowed": "true"}`, "no boolean"},
		{"allowed-one", `mount_device := {"allowed": 1}`, "no boolean"},
		{"conflict", "mount_device := {\"allowed\": true} if input.target\nmount_device := {\"allowed\": false} if input.deviceHash", "conflict"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, "package policy\napi_version := \"0.12.0\"\n"+c.rule)
			_, err := e.Decide(context.Background(), enforcer.MountDeviceInput{Target: "/a", DeviceHash: "b"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for name, answer := range map[string]string{
		"env-object": `"env_list": {}`, "env-number": `"env_list": [1]`, "caps-list": `"caps_list": []`,
		"caps-number": `"caps_list": {"bounding": [1]}`, "stdio-text": `"allow_stdio_access": "yes"`,
	} {
		t.Run(name, func(t *testing.T) {
			e := load(t, "package policy\napi_version := \"0.12.0\"\ncreate_container := {\"allowed\": true, "+answer+"}")
			if _, err := e.Decide(context.Background(), request(idA)); err == nil {
				t.Error("an odd answer was taken for a permission")
			}
		})
	}
}

// TestDefaultsByVersion: what a policy without rules answers, by the version it was written for.
func TestDefaultsByVersion(t *testing.T) {
	inOneGoroutine(t)
	versions := []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0", "0.11.1", "0.12.0"}
	for i, version := range versions {
		for _, spelling := range []string{"api_version", "api_svn"}[i%2:][:1] {
			text := fmt.Sprintf("package policy\n%s := %q\nframework_version := \"0.5.0\"\n", spelling, version)
			lenient, strict := load(t, text), load(t, text, enforcer.Options{Strict: true})
			for _, row := range enforcer.Points() {
				if row.Unsupported != "" {
					continue
				}
				in, err := enforcer.DecodeInput(row.Point, []byte("{}"))
				if err != nil {
					t.Fatal(err)
				}
				missing := "rule for " + string(row.Point) + " is missing from policy"
				refuse(t, strict, in, missing)
				known := false
				for _, v := range versions[:i+1] {
					known = known || v == row.Since
				}
				_, err = lenient.Decide(context.Background(), in)
				var denial *enforcer.Denial
				switch isDenial := errors.As(err, &denial); {
				case known && (!isDenial || fmt.Sprint(denial.Reasons) != "["+missing+"]"):
					t.Errorf("%s %s: got %v, want %q", version, row.Point, err, missing)
				case !known && row.Default == "allow" && err != nil:
					t.Errorf("%s %s: got %v, want the old default to allow", version, row.Point, err)
				case !known && row.Default != "allow" && !isDenial:
					t.Errorf("%s %s: got %v, want a denial", version, row.Point, err)
				}
			}
		}
	}
}

func TestOldPolicyUsesFrameworkForWritableDisks(t *testing.T) {
	e := load(t, "package policy\napi_version := \"0.10.0\"\nframework_version := \"0.2.3\"\n")
	in := enforcer.RWMountDeviceInput{
		Target: "/run/gcs/c/" + idA, Encrypted: true, EnsureFilesystem: true, Filesystem: "ext4", MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
	}
	allow(t, e, in)
	if _, err := e.Decide(context.Background(), in); err == nil {
		t.Error("a second disk was mounted at the same place")
	}
	allow(t, e, enforcer.RWUnmountDeviceInput{UnmountTarget: in.Target})
}

func TestPolicyWithoutAPIVersion(t *testing.T) {
	e := load(t, "package policy\nmount_device := {\"allowed\": true}")
	refuse(t, e, enforcer.MountDeviceInput{}, "policy does not define api_version")
}

func TestFrameworkVersions(t *testing.T) {
	text := policyText(t, []testContainer{web()}, "allow_properties_access")
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}

	ahead := load(t, replaceOnce(t, text, `framework_version := "0.5.0"`, `framework_version := "0.6.0"`))
	reason := "framework_version is ahead of the current version: 0.6.0 is greater than 0.5.0"
	refuse(t, ahead, in, "deviceHash not found", reason)
	refuse(t, ahead, enforcer.GetPropertiesInput{}, reason)
	refuse(t, ahead, enforcer.ScratchMountInput{Target: "/x", Encrypted: true}, reason)

	missing := load(t, replaceOnce(t, text, `framework_version := "0.5.0"`, ""))
	refuse(t, missing, in, "deviceHash not found", "framework_version is missing")
	refuse(t, missing, enforcer.GetPropertiesInput{}, "framework_version is missing")

	allow(t, load(t, replaceOnce(t, text, "framework_version", "framework_svn")), in)
	refuse(t, load(t, replaceOnce(t, text, `"0.5.0"`, `"five"`)), in, "deviceHash not found", "framework_version is not a semantic version")
}

func TestInputsMustBePlainStructs(t *testing.T) {
	e := load(t, openDoor())
	for name, in := range map[string]enforcer.Input{"nil": nil, "pointer": &enforcer.GetPropertiesInput{}} {
		if _, err := e.Decide(context.Background(), in); err == nil {
			t.Errorf("%s: decided, want an error", name)
		}
	}
}

// TestFlagThatIsNoBoolean: such a policy loads, and the flag allows nothing.
func TestFlagThatIsNoBoolean(t *testing.T) {
	for _, value := range []string{`"true"`, "1", "null", `["true"]`} {
		e := load(t, "package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\nallow_dump_stacks := "+value+
			"\ndump_stacks := data.framework.dump_stacks\n")
		if _, err := e.Decide(t.Context(), enforcer.DumpStacksInput{}); err == nil {
			t.Errorf("allow_dump_stacks := %s allows", value)
		}
	}
}
