package aci_test

import (
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

func TestModulesAreOnePackage(t *testing.T) {
	for _, m := range aci.Modules() {
		parsed, err := ast.ParseModule(m.Name, m.Text)
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed.Package.Path.String(); got != "data.framework" {
			t.Errorf("%s: got package %s", m.Name, got)
		}
	}
}

// TestDecisionsHaveADefault: a rule without a default is undefined where its body fails, and undefined means "ask the
// default of the policy's time", which may be to allow.
func TestDecisionsHaveADefault(t *testing.T) {
	var rules []*ast.Rule
	for _, m := range aci.Modules() {
		parsed, err := ast.ParseModule(m.Name, m.Text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, parsed.Rules...)
	}
	total, decisions := map[string]bool{}, 0
	for _, r := range rules {
		if r.Default || r.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))) {
			total[r.Head.Name.String()] = true
		}
	}
	for _, r := range rules {
		if r.Head.Value == nil {
			continue
		}
		value, ok := r.Head.Value.Value.(ast.Object)
		if !ok || value.Get(ast.StringTerm("allowed")) == nil {
			continue
		}
		decisions++
		if !total[r.Head.Name.String()] {
			t.Errorf("%s:%d: rule %s has no default", r.Location.File, r.Location.Row, r.Head.Name)
		}
	}
	if decisions < 20 {
		t.Errorf("found %d decisions, want every point of the framework", decisions)
	}
}

func TestCapabilityLists(t *testing.T) {
	few, all := aci.UnprivilegedCapabilities(), aci.PrivilegedCapabilities()
	if len(few) != 14 || len(all) != 41 {
		t.Errorf("got %d and %d capabilities, want 14 and 41", len(few), len(all))
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Error("a capability is listed twice")
	}
	for _, name := range few {
		if !slices.Contains(all, name) {
			t.Errorf("%s is not among all capabilities", name)
		}
	}
}

func TestPrivilegedMountsAreTheWritableTwins(t *testing.T) {
	if got := len(aci.DefaultMounts()); got != 9 {
		t.Errorf("got %d default mounts, want 9", got)
	}
	for _, m := range aci.PrivilegedMounts() {
		if !slices.Contains(m.Options, "rw") {
			t.Errorf("%s is not writable", m.Destination)
		}
		found := slices.ContainsFunc(aci.DefaultMounts(), func(d aci.Mount) bool {
			return d.Destination == m.Destination && d.Type == m.Type && slices.Contains(d.Options, "ro")
		})
		if !found {
			t.Errorf("%s has no read-only twin", m.Destination)
		}
	}
}
