package policydoc

import (
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Candidates are the containers as the framework sees them: completed with the defaults of the policy's time, without those
// that miss a field, and multiplied by the platform rules (policy contract, sections 2.7 and 3.4). A policy without a
// version, or with one that is ahead, has none.
func (p *Policy) Candidates() []*entry.Container {
	containers := entry.Complete(p.Containers, p.FrameworkVersion)
	return entry.Candidates(containers, entry.RulesOf(p.PlatformRules, p.FrameworkVersion))
}

// ExternalCandidates are the external processes as the framework sees them.
func (p *Policy) ExternalCandidates() []*entry.ExternalProcess {
	version, ok := point.ParseVersion(p.FrameworkVersion)
	newest, _ := point.ParseVersion(aci.FrameworkVersion)
	if !ok || newest.Less(version) {
		return nil
	}
	return p.ExternalProcesses
}
