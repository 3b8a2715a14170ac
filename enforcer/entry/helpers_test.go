package entry

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// points are the enforcement points of the policy contract, section 2.2.
var points = strings.Fields(`mount_device mount_overlay create_container unmount_device exec_in_container exec_external
	shutdown_container signal_container_process plan9_mount plan9_unmount unmount_overlay get_properties dump_stacks
	runtime_logging load_fragment scratch_mount scratch_unmount registry_changes rw_mount_device rw_unmount_device mount_cims
	log_provider mount_blockdev unmount_blockdev load_transparency_trust_list host_network`)

// recorded returns the policies that the tests of the repository keep, by file name.
func recorded(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{}
	vectors, err := filepath.Glob("../../tests/vectors/aci/*.json")
	if err != nil || len(vectors) == 0 {
		t.Fatalf("vectors: %d, %v", len(vectors), err)
	}
	for _, name := range vectors {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Policy string }
		if err := json.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = file.Policy
	}
	policies, err := filepath.Glob("../testdata/policies/*.rego")
	if err != nil || len(policies) == 0 {
		t.Fatalf("policies: %d, %v", len(policies), err)
	}
	for _, name := range policies {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = string(raw)
	}
	return texts
}

func mustRead(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Read([]byte(text), points)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// why returns why a text is not plain, or "".
func why(t testing.TB, text string) string {
	t.Helper()
	_, err := Read([]byte(text), points)
	if err == nil {
		return ""
	}
	var not *NotPlainError
	if !errors.As(err, &not) {
		t.Fatalf("error got %T %v, want *NotPlainError", err, err)
	}
	return not.Why
}

// rules is what the engine's own parser makes of the rules of a text.
func rules(t testing.TB, text string) map[string]ast.Value {
	t.Helper()
	module, err := ast.ParseModuleWithOpts("p.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		module, err = ast.ParseModuleWithOpts("p.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV0})
	}
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]ast.Value{}
	for _, rule := range module.Rules {
		values[rule.Head.Ref().String()] = rule.Head.Value.Value
	}
	return values
}

// same compares what was read with the engine's value.
func same[T any](t testing.TB, what string, list []T, value func(T) ast.Value, want ast.Value) {
	t.Helper()
	if want == nil {
		want = ast.NewArray()
	}
	if got := arrayOf(list, value); got.Compare(want) != 0 {
		t.Errorf("%s got\n%v\nwant\n%v", what, got, want)
	}
}

func sameData(t testing.TB, d Data, want map[string]ast.Value) {
	t.Helper()
	same(t, "containers", d.Containers, (*Container).Value, want["containers"])
	same(t, "external_processes", d.ExternalProcesses, (*ExternalProcess).Value, want["external_processes"])
	same(t, "fragments", d.Fragments, (*Fragment).Value, want["fragments"])
	same(t, "platform_rules", d.PlatformRules, (*PlatformRule).Value, want["platform_rules"])
	same(t, "transparency_trust_lists", d.TrustLists, (*TrustList).Value, want["transparency_trust_lists"])
}
