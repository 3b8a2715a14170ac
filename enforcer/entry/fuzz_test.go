package entry

import (
	"reflect"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// FuzzReaderAgreesWithOPA: what the fast reader accepts, the engine's parser takes for the same constant, whole and by
// itself.
func FuzzReaderAgreesWithOPA(f *testing.F) {
	f.Add([]byte(everyField))
	f.Add([]byte(everyExternal))
	f.Fuzz(func(t *testing.T, literal []byte) { readerAgrees(t, literal) })
}

// readerAgrees says whether a literal is read fast, and fails where the engine takes it for anything else.
func readerAgrees(t *testing.T, literal []byte) bool {
	t.Helper()
	r := newReader(literal)
	containers, isContainers := r.containerList()
	if isContainers {
		agree(t, literal[:r.pos], containers, (*Container).Value, Containers)
	}
	r = newReader(literal)
	external, isExternal := r.externalList()
	if isExternal {
		agree(t, literal[:r.pos], external, (*ExternalProcess).Value, ExternalProcesses)
	}
	return isContainers || isExternal
}

func agree[T any](t *testing.T, literal []byte, list []T, value func(T) ast.Value, convert func(ast.Value) ([]T, error)) {
	t.Helper()
	for _, version := range []ast.RegoVersion{ast.RegoV0, ast.RegoV1} {
		text := "package policy\n\nlist := " + string(literal) + "\nnext := 1\n"
		module, err := ast.ParseModuleWithOpts("p.rego", text, ast.ParserOptions{RegoVersion: version})
		if err != nil {
			t.Fatalf("read fast, refused by the engine: %v", err)
		}
		if len(module.Rules) != 2 || module.Rules[1].Head.Name != "next" {
			t.Fatalf("the engine does not end the literal there: %v", module)
		}
		want := module.Rules[0].Head.Value.Value
		same(t, "list", list, value, want)
		slow, err := convert(want)
		if err != nil || !reflect.DeepEqual(list, slow) {
			t.Errorf("the second reader differs: %v", err)
		}
	}
}

// FuzzRead: Read does not panic, and what it says of a plain policy is what the engine's parser makes of the whole text.
func FuzzRead(f *testing.F) {
	f.Add([]byte(base))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Read(text, points)
		if err != nil {
			if p != nil {
				t.Error("a policy beside an error")
			}
			return
		}
		checkWhole(t, p, string(text))
	})
}

// checkWhole compares a policy with the syntax tree of its whole text.
func checkWhole(t *testing.T, p *Policy, text string) {
	t.Helper()
	want := rules(t, text)
	sameData(t, p.Data, want)
	for _, point := range points {
		v := want[point]
		if p.Delegated[point] != (v != nil) || v != nil && v.String() != "data.framework."+point {
			t.Errorf("%s: got %v, want %v", point, p.Delegated[point], v)
		}
		delete(want, point)
	}
	for _, name := range strings.Fields(`allow_properties_access allow_dump_stacks allow_runtime_logging
		allow_environment_variable_dropping allow_capability_dropping allow_unencrypted_scratch allow_host_network
		allow_log_provider_dropping`) {
		v := want[name]
		if *p.Flags.flag(name) != (v != nil && v.Compare(ast.Boolean(true)) == 0) {
			t.Errorf("%s: got %v, want %v", name, *p.Flags.flag(name), v)
		}
		delete(want, name)
	}
	for _, version := range []struct{ got, name, old string }{
		{p.APIVersion, "api_version", "api_svn"}, {p.FrameworkVersion, "framework_version", "framework_svn"},
	} {
		v := want[version.name]
		if v == nil {
			v = want[version.old]
		}
		if version.got == "" && v != nil || version.got != "" && (v == nil || v.Compare(ast.String(version.got)) != 0) {
			t.Errorf("%s: got %q, want %v", version.name, version.got, v)
		}
	}
	for name := range want {
		switch name {
		case "containers", "external_processes", "fragments", "platform_rules", "transparency_trust_lists", "reason",
			"api_version", "api_svn", "framework_version", "framework_svn", "allowed_log_providers":
		default:
			t.Errorf("a plain policy has a rule %s", name)
		}
	}
}
