package main

import (
	"encoding/json"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	denials "github.com/cloister-cc/cloister/enforcer/explain"
	"github.com/cloister-cc/cloister/tests/cases"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// What explain compares is what the framework compares: a container that was allowed has no difference, and one that has
// none is refused for its state only, or because others fit as well.
func TestExplainAgreesWithTheEnforcer(t *testing.T) {
	for name, c := range recordedCases(t) {
		t.Run(name, func(t *testing.T) {
			var list []struct {
				Name  enforcer.Point  `json:"name"`
				Input json.RawMessage `json:"input"`
			}
			if err := json.Unmarshal(c.Commands, &list); err != nil {
				t.Fatal(err)
			}
			var requests []request
			for _, r := range list {
				in, err := enforcer.DecodeInput(r.Name, r.Input)
				if err != nil {
					t.Fatal(err)
				}
				requests = append(requests, request{Name: r.Name, Input: in})
			}
			explained(t, c.Policy, requests, false)
		})
	}
	t.Run("generated", func(t *testing.T) {
		compared := 0
		for c := range cases.All(1, 150, cases.Options{Grouped: true}) {
			var requests []request
			for _, r := range c.Commands {
				requests = append(requests, request{Name: r.Point, Input: r.Input})
			}
			compared += explained(t, c.Policy, requests, c.DefaultMounts)
			if t.Failed() {
				t.Fatalf("seed %d", c.Seed)
			}
		}
		if compared < 500 {
			t.Errorf("%d decisions were compared", compared)
		}
	})
}

// explained puts the requests to a policy and returns how many decisions were compared.
func explained(t *testing.T, policy string, requests []request, agentMounts bool) (compared int) {
	t.Helper()
	doc, err := policydoc.Read(t.Context(), []byte(policy))
	if err != nil {
		return 0
	}
	j := judging{judge: string(enforcer.JudgeAuto), agentMounts: agentMounts}
	e, err := j.load(t.Context(), []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(e, doc, agentMounts)
	for i, r := range requests {
		candidates, opts := s.candidatesOf(r.Input), s.optionsFor(r.Input)
		absent := true
		for _, p := range doc.Points {
			absent = absent && (p.Point != r.Name || p.Rule == policydoc.Absent)
		}
		state := s.state(r.Input)
		a := s.ask(t.Context(), r)
		m, ok := denials.Nearest(candidates, r.Input, opts)
		if !ok || absent || a.Error != "" {
			continue
		}
		compared++
		if a.Allowed && len(m.Differences) > 0 {
			t.Errorf("request %d (%s) is allowed, and differs in %+v", i, r.Name, m.Differences)
		}
		fitting := denials.Fitting(candidates, r.Input, opts)
		if !a.Allowed && len(fitting) == 1 && len(candidates) == 1 && state == "" && doc.APIVersion != "" && !aboutPath(r.Input) {
			t.Errorf("request %d (%s) is refused for %q, and does not differ from containers[%d]", i, r.Name, a.Reason.Errors, m.Index)
		}
	}
	return compared
}

// aboutPath says that a request may be refused for a path that nothing but the agent knows.
func aboutPath(in enforcer.Input) bool {
	_, ok := in.(enforcer.MountDeviceInput)
	return ok
}
