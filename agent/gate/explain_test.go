package gate

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/enforcer"
)

const explainedPolicy = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := [{
  "name": "web", "command": ["/bin/web", "--port=80"], "working_dir": "/", "layers": ["aa"],
  "env_rules": [{"pattern": "MODE=fast", "strategy": "string", "required": false}],
  "mounts": [], "exec_processes": [], "signals": [],
  "user": {"user_idname": {"pattern": "", "strategy": "any"}, "group_idnames": [{"pattern": "", "strategy": "any"}], "umask": "0022"},
  "capabilities": null, "seccomp_profile_sha256": "", "allow_elevated": false, "allow_stdio_access": true, "no_new_privileges": false
}]
mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
runtime_logging := data.framework.runtime_logging
reason := data.framework.reason
`

// TestExplainOnlyWhereLoggingIsAllowed: the nearest container and what differs go to the host where the policy lets it read the
// log, without arguments and values; elsewhere nothing is kept.
func TestExplainOnlyWhereLoggingIsAllowed(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		text := explainedPolicy
		if allowed {
			text += "allow_runtime_logging := true\n"
		}
		g := New(Options{})
		if err := g.BindPolicy(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		for _, in := range []enforcer.Input{
			enforcer.MountDeviceInput{Target: "/run/mounts/scsi/m0", DeviceHash: "aa", MountPathRegex: "/run/mounts/scsi/m[0-9]+"},
			enforcer.MountOverlayInput{ContainerID: "c", LayerPaths: []string{"/run/mounts/scsi/m0"}, Target: "/rootfs"},
		} {
			d, err := g.Decide(t.Context(), "CreateContainerRequest", in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := g.Decide(t.Context(), "CreateContainerRequest", enforcer.CreateContainerInput{
			ContainerID: "c", ArgList: []string{"/bin/web", "--password=hunter2"}, EnvList: []string{"MODE=s3cret"}, WorkingDir: "/", Umask: "0022",
		})
		line, _, _ := strings.Cut(status.Convert(err).Message(), "\n")
		_, id, _ := strings.Cut(line, "[decision ")
		explained, kept := g.Explain(strings.TrimSuffix(id, "]"))
		if kept != allowed {
			t.Fatalf("logging allowed %v: got an explanation %v (%s)", allowed, kept, line)
		}
		if !allowed {
			continue
		}
		var x struct {
			Refused, Meaning string
			Nearest          struct {
				Container   string
				Differences []struct{ Field, Wanted, Got string }
			}
			PolicyDecision string `json:"policy_decision"`
		}
		if err := json.Unmarshal([]byte(explained), &x); err != nil {
			t.Fatalf("%v: %s", err, explained)
		}
		fields := map[string]bool{}
		for _, d := range x.Nearest.Differences {
			fields[strings.TrimRight(d.Field, " MODE[1]")] = true
		}
		if x.Nearest.Container != "web" || !fields["process.args"] || !fields["process.env"] || x.PolicyDecision == "" || x.Meaning == "" {
			t.Errorf("got %s", explained)
		}
		for _, secret := range []string{"hunter2", "s3cret"} {
			if strings.Contains(strings.ReplaceAll(explained, x.PolicyDecision, ""), secret) {
				t.Errorf("%q is in the explanation: %s", secret, explained)
			}
		}
	}
}
