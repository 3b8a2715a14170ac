package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// floor is what someone would write who only had to compare: typed definitions, patterns compiled before, plain loops. It
// makes the checks of create_container and answers yes or no; it has no reasons, no versions, no narrowing, no undo.
type floor struct {
	byLayers map[string][]*floorContainer
	matches  map[string][]*floorContainer
	started  map[string]bool
	defaults []enforcer.Mount
}

type floorContainer struct {
	Command    []string       `json:"command"`
	EnvRules   []floorEnvRule `json:"env_rules"`
	Layers     []string       `json:"layers"`
	Mounts     []floorMount   `json:"mounts"`
	Elevated   bool           `json:"allow_elevated"`
	WorkingDir string         `json:"working_dir"`
	Stdio      bool           `json:"allow_stdio_access"`
	NNP        bool           `json:"no_new_privileges"`
	User       struct {
		Who    floorIDName   `json:"user_idname"`
		Groups []floorIDName `json:"group_idnames"`
		Umask  string        `json:"umask"`
	} `json:"user"`
	Capabilities *enforcer.Capabilities `json:"capabilities"`
	Seccomp      string                 `json:"seccomp_profile_sha256"`

	literals map[string]bool
	caps     [5]map[string]bool
}

type floorEnvRule struct {
	Pattern  string `json:"pattern"`
	Strategy string `json:"strategy"`
	Required bool   `json:"required"`
	re       *regexp.Regexp
}

type floorMount struct {
	enforcer.Mount
	re *regexp.Regexp // below the sandbox's directory
}

type floorIDName struct {
	Pattern  string `json:"pattern"`
	Strategy string `json:"strategy"`
	re       *regexp.Regexp
}

func newFloor(policy string) (*floor, error) {
	_, rest, _ := strings.Cut(policy, "\ncontainers := ")
	line, _, found := strings.Cut(rest, "\n")
	if !found {
		return nil, fmt.Errorf("the policy has no line of containers")
	}
	var list []*floorContainer
	if err := json.Unmarshal([]byte(line), &list); err != nil {
		return nil, err
	}
	f := &floor{byLayers: map[string][]*floorContainer{}, matches: map[string][]*floorContainer{}, started: map[string]bool{}, defaults: aci.DefaultMounts()}
	for _, c := range list {
		c.compile()
		chain := strings.Join(c.Layers, ",")
		f.byLayers[chain] = append(f.byLayers[chain], c)
	}
	return f, nil
}

func (c *floorContainer) compile() {
	c.literals = map[string]bool{}
	for i := range c.EnvRules {
		r := &c.EnvRules[i]
		if r.Strategy == "re2" {
			r.re = anchored(r.Pattern)
		} else {
			c.literals[r.Pattern] = true
		}
	}
	for i := range c.Mounts {
		if path, ok := strings.CutPrefix(c.Mounts[i].Source, "sandbox://"); ok {
			c.Mounts[i].re = anchored(path)
		}
	}
	c.User.Who.compile()
	for i := range c.User.Groups {
		c.User.Groups[i].compile()
	}
	if c.Capabilities != nil {
		for i, list := range sets(*c.Capabilities) {
			c.caps[i] = map[string]bool{}
			for _, name := range list {
				c.caps[i][name] = true
			}
		}
	}
}

func anchored(pattern string) *regexp.Regexp { return regexp.MustCompile("^(?:" + pattern + ")$") }

func (p *floorIDName) compile() {
	if p.Strategy == "re2" {
		p.re = anchored(p.Pattern)
	}
}

func sets(c enforcer.Capabilities) [5][]string {
	return [5][]string{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient}
}

// overlay notes which containers the layers are of.
func (f *floor) overlay(id string, layers []string) {
	f.matches[id] = f.byLayers[strings.Join(layers, ",")]
}

// create decides. It allows when at least one candidate has all that is asked, and all that do agree on stdio. Whoever asks
// notes in started what was allowed.
func (f *floor) create(in *enforcer.CreateContainerInput) bool {
	if f.started[in.ContainerID] || len(in.Devices) > 0 {
		return false
	}
	found, stdio := false, false
	for _, c := range f.matches[in.ContainerID] {
		if !f.fits(c, in) {
			continue
		}
		if found && c.Stdio != stdio {
			return false
		}
		found, stdio = true, c.Stdio
	}
	return found
}

func (f *floor) fits(c *floorContainer, in *enforcer.CreateContainerInput) bool {
	return slices.Equal(c.Command, in.ArgList) && c.WorkingDir == in.WorkingDir && (!c.NNP || in.NoNewPrivileges) &&
		(!in.Privileged || c.Elevated) && c.Seccomp == in.SeccompProfileSHA256 && c.userFits(in) && f.mountsFit(c, in) &&
		c.envFits(in.EnvList) && c.capsFit(in.Capabilities)
}

func (c *floorContainer) userFits(in *enforcer.CreateContainerInput) bool {
	if c.User.Umask != in.Umask || !c.User.Who.fits(in.User) {
		return false
	}
	for _, group := range in.Groups {
		if !slices.ContainsFunc(c.User.Groups, func(p floorIDName) bool { return p.fits(group) }) {
			return false
		}
	}
	return true
}

func (p *floorIDName) fits(u enforcer.User) bool {
	switch p.Strategy {
	case "any":
		return true
	case "id":
		return p.Pattern == u.ID
	case "name":
		return p.Pattern == u.Name
	}
	return p.re != nil && p.re.MatchString(u.Name)
}

func (f *floor) mountsFit(c *floorContainer, in *enforcer.CreateContainerInput) bool {
	for i := range in.Mounts {
		m := &in.Mounts[i]
		if !c.mountFits(m, in.SandboxDir) && !f.isDefault(m) {
			return false
		}
	}
	return true
}

func (c *floorContainer) mountFits(m *enforcer.Mount, dir string) bool {
	for i := range c.Mounts {
		p := &c.Mounts[i]
		if sameMount(&p.Mount, m) && (p.re == nil && p.Source == m.Source || p.re != nil && p.sourceFits(dir, m.Source)) {
			return true
		}
	}
	return false
}

func (f *floor) isDefault(m *enforcer.Mount) bool {
	for i := range f.defaults {
		if p := &f.defaults[i]; sameMount(p, m) && p.Source == m.Source {
			return true
		}
	}
	return false
}

func (p *floorMount) sourceFits(dir, source string) bool {
	rest, ok := strings.CutPrefix(source, dir)
	return ok && p.re.MatchString(rest)
}

func sameMount(p, m *enforcer.Mount) bool {
	if p.Destination != m.Destination || p.Type != m.Type || len(p.Options) != len(m.Options) {
		return false
	}
	for _, option := range m.Options {
		if !slices.Contains(p.Options, option) {
			return false
		}
	}
	return true
}

func (c *floorContainer) envFits(env []string) bool {
	for _, e := range env {
		if c.literals[e] {
			continue
		}
		if !c.patternFits(e) {
			return false
		}
	}
	for i := range c.EnvRules {
		r := &c.EnvRules[i]
		if r.Required && !slices.ContainsFunc(env, func(e string) bool { return r.re == nil && r.Pattern == e || r.re != nil && r.re.MatchString(e) }) {
			return false
		}
	}
	return true
}

func (c *floorContainer) patternFits(e string) bool {
	for i := range c.EnvRules {
		if re := c.EnvRules[i].re; re != nil && re.MatchString(e) {
			return true
		}
	}
	return false
}

func (c *floorContainer) capsFit(in enforcer.Capabilities) bool {
	for i, list := range sets(in) {
		if len(list) != len(c.caps[i]) {
			return false
		}
		for _, name := range list {
			if !c.caps[i][name] {
				return false
			}
		}
	}
	return true
}
