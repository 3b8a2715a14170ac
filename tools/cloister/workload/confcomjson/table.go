package confcomjson

import (
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

const noEffect = "no effect"

var (
	execs = shape.List("execProcesses", "commands that may be started inside",
		shape.Texts("command", "the words"),
		shape.Any("signals", "signals they may get, numbers"))

	fragment = []shape.Spec{
		shape.Text("feed", "where the fragment comes from"),
		shape.Text("issuer", "who signs it"),
		shape.Text("iss", "issuer, in the older form"),
		shape.Any("minimum_svn", "its least security version, a string or a number"),
		shape.Any("minimumSvn", "minimum_svn, in the older form"),
		shape.Texts("includes", "what of it counts"),
		shape.Text("path", "a file with the fragment"),
	}

	security = shape.Object("securityContext", "what the processes may",
		shape.Bool("privileged", "allow_elevated and its mounts and capabilities"),
		shape.Bool("allowPrivilegeEscalation", "its negation is no_new_privileges"),
		shape.Object("capabilities", "over the default set", shape.Texts("add", "names to add"), shape.Texts("drop", "names to drop")),
		shape.Whole("runAsUser", "user id"),
		shape.Whole("runAsGroup", "group id"),
		shape.Text("seccompProfile", "base64 of the profile's JSON"))

	probe = shape.With([]shape.Spec{shape.Object("exec", "a command that may be started inside", shape.Texts("command", "its words"))},
		shape.Ignored(noEffect, "failureThreshold", "httpGet", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds"))

	properties = shape.Object("properties", "what runs in it; a container with it has the present form", shape.With([]shape.Spec{
		shape.Text("image", "image reference"),
		shape.Texts("command", "replaces the image's entry point and arguments"),
		shape.List("environmentVariables", "environment rules",
			shape.Text("name", "name"),
			shape.Text("value", "value, or with regex its pattern"),
			shape.Text("secureValue", "value that is never shown"),
			shape.Bool("regex", "value is an RE2 pattern"),
			shape.Bool("required", "the variable must be there")),
		shape.List("volumeMounts", "mounts", shape.With([]shape.Spec{
			shape.Text("mountPath", "destination"),
			shape.Text("mountType", "azureFile, secret, emptyDir, gitRepo or configMap: where the mount comes from"),
			shape.Bool("readOnly", "ro instead of rw"),
			shape.Texts("options", "all options of the mount, instead of the usual"),
		}, shape.Ignored(noEffect, "name"))...),
		execs,
		shape.Object("livenessProbe", "of a probe only its command counts", probe...),
		shape.Object("readinessProbe", "of a probe only its command counts", probe...),
		security,
		shape.Text("workingDir", "working directory"),
		shape.Bool("allowStdioAccess", "input and output leave the VM"),
	}, shape.Ignored(noEffect, "ports", "resources"))...)

	container = []shape.Spec{
		shape.Text("name", "name of the container"),
		shape.Text("id", "its id in the policy; the image otherwise"),
		properties,
		shape.Text("containerImage", "image reference; a container with it has the older form, and so the members below"),
		shape.Texts("command", "replaces the image's entry point and arguments"),
		shape.List("environmentVariables", "environment rules",
			shape.Text("name", "name"),
			shape.Text("value", "value, or with re2 its pattern"),
			shape.Text("strategy", "string (default) or re2"),
			shape.Bool("required", "the variable must be there")),
		shape.List("mounts", "mounts",
			shape.Text("mountType", "azureFile, secret, emptyDir, gitRepo or configMap: where the mount comes from"),
			shape.Text("mountPath", "destination"),
			shape.Bool("readonly", "ro instead of rw"),
			shape.Texts("options", "all options of the mount, instead of the usual")),
		execs,
		security,
		shape.Bool("allow_elevated", "privileged"),
		shape.Text("workingDir", "working directory"),
		shape.Bool("allowStdioAccess", "input and output leave the VM"),
	}

	config = shape.Object("", "a configuration", shape.With([]shape.Spec{
		shape.Text("scenario", "aci (default) or vn2: whose defaults are added"),
		shape.Map("labels", "the group's labels (workload identity)"),
		shape.List("fragments", "signed additions to the policy", fragment...),
		shape.List("standaloneFragments", "signed additions to the policy that no image carries", fragment...),
		shape.List("containers", "the containers", shape.With(container, shape.Ignored("agents wait by themselves; no effect", "wait_mount_points"))...),
	}, shape.Ignored(noEffect, "version"))...)
)

// Fields returns what Read understands.
func Fields() []workload.Field { return config.Fields("") }
