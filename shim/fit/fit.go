package fit

import (
	"slices"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/shim/spec"
)

// Note says what was changed.
type Note = spec.Note

// Policy is what a policy lists. One that this package does not understand knows nothing and fits nothing. Its methods may be called from several goroutines.
type Policy struct {
	known      bool
	dropping   bool // the agent drops variables that no rule allows
	containers []*containerRule
	why        string // for the note that it is not fitted to; "" where there is none

	mu       sync.Mutex
	patterns map[string]*pattern
	compiled int // the cost of patterns
}

// Known says whether the policy was understood.
func (p *Policy) Known() bool { return p.known }

// Layers says whether some container of the policy has exactly these layers, from the base up, by root hash. Containers of fragments are not known here.
func (p *Policy) Layers(roots []string) bool { return len(p.of(roots)) > 0 }

func (p *Policy) of(roots []string) []*containerRule {
	var out []*containerRule
	for _, c := range p.containers {
		if len(roots) > 0 && slices.Equal(c.layers, roots) {
			out = append(out, c)
		}
	}
	return out
}

// Fit changes a container's specification to what the policy has for a container of these layers. Where several containers have them, the one counts that needs the
// least: the agent narrows its own choice by what arrives.
func (p *Policy) Fit(s *specs.Spec, roots []string) []Note {
	if p.why != "" {
		return []Note{{Field: "Policy", What: "not fitted to", Why: p.why}}
	}
	best := p.best(s, roots)
	if best == nil {
		return nil
	}
	var notes []Note
	var kept []specs.Mount
	for i, m := range s.Mounts {
		change := best.mounts[i]
		if change.drop != "" {
			notes = append(notes, Note{Field: "Mounts[" + m.Destination + "]", What: "left out", Why: change.drop})
			continue
		}
		if change.source != "" {
			m.Source, m.Type = change.source, "bind"
		}
		if change.options != nil {
			m.Options = change.options
		}
		kept = append(kept, m)
	}
	s.Mounts = kept
	var more []Note
	s.Process.Env, more = leaveOut(s.Process.Env, best.env)
	return append(notes, more...)
}

// FitExec leaves out of the process of an exec what Fit leaves out of the container's first: containerd makes the one from the other. s is the container's specification,
// before or after Fit.
func (p *Policy) FitExec(process *specs.Process, s *specs.Spec, roots []string) []Note {
	best := p.best(s, roots)
	if best == nil || process == nil {
		return nil
	}
	_, env := p.envPlan(best.container, process.Env)
	var notes []Note
	process.Env, notes = leaveOut(process.Env, env)
	return notes
}

// Seccomp says whether a container of these layers names the digest of the specification's seccomp profile.
func (p *Policy) Seccomp(s *specs.Spec, roots []string) bool {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return false
	}
	digest, err := container.SeccompSHA256(s.Linux.Seccomp)
	return err == nil && slices.ContainsFunc(p.of(roots), func(c *containerRule) bool { return c.seccomp == digest })
}

// leaveOut takes the variables out that are in the set.
func leaveOut(env []string, out map[string]bool) (kept []string, notes []Note) {
	for _, e := range env {
		if !out[e] {
			kept = append(kept, e)
			continue
		}
		name, _, _ := strings.Cut(e, "=")
		notes = append(notes, Note{
			Field: "Process.Env[" + name + "]", What: "left out",
			Why: "the runtime adds it, no rule of the policy matches it, and the policy does not let the agent drop it",
		})
	}
	return kept, notes
}
