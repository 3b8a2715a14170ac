package policydoc

import (
	"slices"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
)

// Candidates are the containers as the framework sees them: completed with the defaults of the policy's time, without those
// that miss a field, and multiplied by the platform rules (policy contract, sections 2.7 and 3.4). A policy without a
// version, or with one that is ahead, has none.
func (p *Policy) Candidates() []*entry.Container {
	version, ok := ParseVersion(p.FrameworkVersion)
	newest, _ := ParseVersion(aci.FrameworkVersion)
	if !ok || newest.Less(version) {
		return nil
	}
	older := func(text string) bool {
		v, _ := ParseVersion(text)
		return version.Less(v)
	}
	var list []*entry.Container
	for _, c := range p.Containers {
		if older(aci.FrameworkVersion) && len(MissingFields(c, p.FrameworkVersion)) > 0 {
			continue
		}
		list = append(list, completed(c, older))
	}
	if len(p.PlatformRules) == 0 || older("0.5.0") {
		return list
	}
	var variants []*entry.Container
	for _, c := range list {
		for _, r := range p.PlatformRules {
			v := *c
			v.EnvRules = slices.Concat(c.EnvRules, r.EnvRules)
			v.Mounts = slices.Concat(c.Mounts, r.Mounts)
			variants = append(variants, &v)
		}
	}
	return variants
}

func completed(c *entry.Container, older func(string) bool) *entry.Container {
	full := *c
	if older("0.2.0") {
		full.NoNewPrivileges = false
	}
	if older("0.2.1") {
		anyone := entry.IDName{Strategy: "any"}
		full.User = &entry.User{UserIDName: anyone, GroupIDNames: []entry.IDName{anyone}, Umask: "0022"}
	}
	if older("0.2.2") {
		full.Capabilities = nil
	}
	if older("0.2.3") {
		full.SeccompProfileSHA256 = ""
	}
	if older("0.4.1") {
		for _, signal := range []int64{9, 15} {
			if !slices.Contains(full.Signals, signal) {
				full.Signals = append(slices.Clip(full.Signals), signal)
			}
		}
	}
	return &full
}
