package policygen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/shim/pod"
)

// DefaultAPIVersion is the family that policies are written for unless asked otherwise.
const DefaultAPIVersion = "0.12.0"

// Options are what a pod document cannot say.
type Options struct {
	APIVersion string // "" is DefaultAPIVersion

	// NoStdio keeps the containers' output inside the VM.
	NoStdio bool
	// DropUnlistedEnv lets the agent drop variables that the policy does not list, where a cluster adds its own to each
	// container; without it such a request is refused.
	DropUnlistedEnv bool
	// AllowLogs lets the host read the agent's log, and AllowStacks its goroutine stacks.
	AllowLogs, AllowStacks bool
}

// Roots tells the dm-verity root hash of a layer, 64 lower-case hex digits.
type Roots func(context.Context, pod.Layer) (string, error)

// family is an API version with the framework version that belongs to it.
type family struct{ api, framework string }

var families = []family{{"0.10.0", "0.2.3"}, {DefaultAPIVersion, "0.5.0"}}

// APIVersions lists what Options.APIVersion may be.
func APIVersions() []string {
	var out []string
	for _, f := range families {
		out = append(out, f.api)
	}
	return out
}

// points are the decisions the agent asks for, in the order they are written, with the API version that introduced them.
// Only a policy that is old enough not to know a point may leave it out.
var points = []struct{ name, since string }{
	{"mount_device", "0.1.0"},
	{"rw_mount_device", "0.11.0"},
	{"mount_blockdev", "0.11.1"},
	{"unmount_device", "0.2.0"},
	{"rw_unmount_device", "0.11.0"},
	{"unmount_blockdev", "0.11.1"},
	{"mount_overlay", "0.1.0"},
	{"unmount_overlay", "0.6.0"},
	{"create_container", "0.1.0"},
	{"exec_in_container", "0.2.0"},
	{"exec_external", "0.3.0"},
	{"shutdown_container", "0.4.0"},
	{"signal_container_process", "0.5.0"},
	{"plan9_mount", "0.6.0"},
	{"plan9_unmount", "0.6.0"},
	{"get_properties", "0.7.0"},
	{"dump_stacks", "0.7.0"},
	{"runtime_logging", "0.8.0"},
	{"load_fragment", "0.9.0"},
	{"scratch_mount", "0.10.0"},
	{"scratch_unmount", "0.10.0"},
	{"load_transparency_trust_list", "0.12.0"},
	{"host_network", "0.12.0"},
}

// Generate writes the policy.
func Generate(ctx context.Context, containers []*pod.Container, roots Roots, o Options) ([]byte, error) {
	if o.APIVersion == "" {
		o.APIVersion = DefaultAPIVersion
	}
	i := slices.IndexFunc(families, func(f family) bool { return f.api == o.APIVersion })
	if i < 0 {
		return nil, fmt.Errorf("generate policy: api version is %q, want one of %s", o.APIVersion, strings.Join(APIVersions(), ", "))
	}
	if len(containers) == 0 {
		return nil, fmt.Errorf("generate policy: the pod has no containers")
	}
	var lines []string
	for _, c := range containers {
		entry, err := newContainer(ctx, c, roots, o)
		if err != nil {
			return nil, fmt.Errorf("generate policy: container %q: %w", c.Name, err)
		}
		line, err := marshal(entry)
		if err != nil {
			return nil, fmt.Errorf("generate policy: container %q: %w", c.Name, err)
		}
		lines = append(lines, "\t"+line)
	}
	return text(families[i], lines, o), nil
}

func text(f family, containers []string, o Options) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "package policy\n\napi_version := %q\nframework_version := %q\n\nfragments := []\n\n", f.api, f.framework)
	fmt.Fprintf(&b, "containers := [\n%s\n]\n\n", strings.Join(containers, ",\n"))
	flags := []struct {
		name, since string
		value       bool
	}{
		{"allow_properties_access", "0.7.0", true},
		{"allow_dump_stacks", "0.7.0", o.AllowStacks},
		{"allow_runtime_logging", "0.8.0", o.AllowLogs},
		{"allow_environment_variable_dropping", "0.1.0", o.DropUnlistedEnv},
		{"allow_unencrypted_scratch", "0.10.0", false},
		{"allow_capability_dropping", "0.10.0", false},
		{"allow_host_network", "0.12.0", false},
	}
	for _, flag := range flags {
		if !newer(flag.since, f.api) {
			fmt.Fprintf(&b, "%s := %t\n", flag.name, flag.value)
		}
	}
	b.WriteString("\n")
	for _, p := range points {
		if !newer(p.since, f.api) {
			fmt.Fprintf(&b, "%s := data.framework.%s\n", p.name, p.name)
		}
	}
	b.WriteString("\nreason := {\"errors\": data.framework.errors}\n")
	return b.Bytes()
}

// newer compares versions of this file's tables, which are three plain numbers.
func newer(a, b string) bool {
	var x, y [3]int
	for i, v := range []struct {
		text string
		into *[3]int
	}{{a, &x}, {b, &y}} {
		if _, err := fmt.Sscanf(v.text, "%d.%d.%d", &v.into[0], &v.into[1], &v.into[2]); err != nil {
			panic(fmt.Sprintf("version %d of a table is %q", i, v.text))
		}
	}
	return slices.Compare(x[:], y[:]) > 0
}

// marshal is JSON on one line, which is Rego too. Nothing is escaped for HTML: the text is read by people.
func marshal(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
