package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
)

// Difference is one thing in which a request is not what a container of the policy allows. Values of environment variables
// are never in it.
type Difference struct {
	// Field is the part of the request, in the spelling of Denial.Field.
	Field string `json:"field"`
	// Wanted is what the policy allows, Got what the request has.
	Wanted string `json:"wanted"`
	Got    string `json:"got"`
}

// Match is the container a request comes nearest to.
type Match struct {
	// Container is its name, or its id, in the policy; empty when it has neither.
	Container string `json:"container,omitempty"`
	// Index is its position in the policy's list.
	Index int `json:"index"`
	// Differences are the fewest that keep the request from it. None means that the container alone would fit: what refused the
	// request is the state, or that other containers fit as well.
	Differences []Difference `json:"differences"`
	// Candidate is the container itself; nil for a layer, which belongs to none.
	Candidate *entry.Container `json:"-"`

	weight int
}

// Options of Nearest. The zero value compares as the framework does without dropping, default mounts and state.
type Options struct {
	// Redact leaves out arguments besides values of variables: what is told goes to the host.
	Redact bool
	// DropEnvironment and DropCapabilities are the policy's flags.
	DropEnvironment, DropCapabilities bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []enforcer.Mount
	// Privileged says how the container of an exec was created.
	Privileged bool
	// Devices are the mounted layers by target, and Shares the containers of plan9 mounts by target.
	Devices, Shares map[string]string
}

// What a difference weighs. The command and the layers say which container was meant, so they weigh more than all that a
// wrong setting can add up to in practice.
const (
	weightLayer   = 400
	weightCommand = 400 // another program
	weightArgs    = 200 // the same program with other arguments
	weightUser    = 20
	weightDir     = 20
	weightMount   = 10
	weightOther   = 10
	weightEnv     = 5
)

// Nearest finds the candidate that a refused request comes nearest to. ok is false when the request's point does not compare
// containers, or there is no candidate. Ties go to the first, so the same question always has the same answer.
func Nearest(candidates []*entry.Container, in enforcer.Input, opts Options) (m Match, ok bool) {
	c := &comparison{opts: opts, patterns: map[string]*regexp.Regexp{}}
	if in, is := in.(enforcer.MountDeviceInput); is {
		return c.device(candidates, in)
	}
	for _, candidate := range candidates {
		if candidate == nil {
			continue
		}
		limit := -1
		if ok {
			limit = m.weight
		}
		c.begin(limit)
		if !c.compare(candidate, in) {
			return Match{}, false
		}
		if ok && (c.weight > m.weight || c.weight == m.weight && len(c.found) >= len(m.Differences)) {
			continue
		}
		m, ok = Match{Container: nameOf(candidate), Index: candidate.Index, Differences: c.found, Candidate: candidate, weight: c.weight}, true
	}
	return m, ok
}

// Fitting returns the candidates that a request does not differ from. More than one can be the reason of a refusal: what they
// disagree in cannot be decided.
func Fitting(candidates []*entry.Container, in enforcer.Input, opts Options) []*entry.Container {
	c := &comparison{opts: opts, patterns: map[string]*regexp.Regexp{}}
	var fitting []*entry.Container
	for _, candidate := range candidates {
		if candidate == nil {
			continue
		}
		if c.begin(0); c.compare(candidate, in) && c.weight == 0 {
			fitting = append(fitting, candidate)
		}
	}
	return fitting
}

func nameOf(c *entry.Container) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// comparison holds one request against one candidate after the other.
type comparison struct {
	opts     Options
	patterns map[string]*regexp.Regexp
	limit    int // the weight above which nothing more has to be known; -1 for none
	weight   int
	found    []Difference
}

func (c *comparison) begin(limit int) {
	c.limit, c.weight, c.found = limit, 0, []Difference{}
}

func (c *comparison) differ(weight int, field, wanted, got string) {
	c.weight += weight
	c.found = append(c.found, Difference{Field: field, Wanted: wanted, Got: got})
}

// over says that the candidate cannot be the nearest any more.
func (c *comparison) over() bool { return c.limit >= 0 && c.weight > c.limit }

// compare looks at what says most, and costs least, first. It is false for points that compare no containers.
func (c *comparison) compare(want *entry.Container, in enforcer.Input) bool {
	switch in := in.(type) {
	case enforcer.MountOverlayInput:
		c.overlay(want.Layers, in.LayerPaths)
	case enforcer.CreateContainerInput:
		c.create(want, in)
	case enforcer.ExecInContainerInput:
		c.exec(want, in)
	case enforcer.ExecExternalInput:
		c.command(want, in.ArgList)
		c.equal(weightDir, "process.cwd", want.WorkingDir, in.WorkingDir)
		if !c.over() {
			c.env(want.EnvRules, in.EnvList)
		}
	case enforcer.SignalContainerProcessInput:
		c.signal(want, in)
	default:
		return false
	}
	return true
}

// External makes candidates of external processes.
func External(processes []*entry.ExternalProcess) []*entry.Container {
	var list []*entry.Container
	for i, p := range processes {
		if p != nil {
			list = append(list, &entry.Container{Index: i, Command: p.Command, EnvRules: p.EnvRules, WorkingDir: p.WorkingDir})
		}
	}
	return list
}

func (c *comparison) create(want *entry.Container, in enforcer.CreateContainerInput) {
	c.command(want, in.ArgList)
	if c.over() {
		return
	}
	c.equal(weightDir, "process.cwd", want.WorkingDir, in.WorkingDir)
	c.user(want.User, in.User, in.Groups, in.Umask)
	c.noNewPrivileges(want, in.NoNewPrivileges)
	if in.Privileged && !want.AllowElevated {
		c.differ(weightOther, "privileged", "false", "true")
	}
	if want.SeccompProfileSHA256 != in.SeccompProfileSHA256 {
		c.differ(weightOther, "linux.seccomp", orNone(want.SeccompProfileSHA256), orNone(in.SeccompProfileSHA256))
	}
	if n := len(in.Devices); n > 0 {
		c.differ(weightOther, "linux.devices", "none", strconv.Itoa(n))
	}
	if c.over() {
		return
	}
	c.mounts(want, in)
	c.capabilities(want, in.Privileged, in.Capabilities)
	if !c.over() {
		c.env(want.EnvRules, in.EnvList)
	}
}

func (c *comparison) exec(want *entry.Container, in enforcer.ExecInContainerInput) {
	c.execCommand(want, in.ArgList)
	if c.over() {
		return
	}
	c.equal(weightDir, "process.cwd", want.WorkingDir, in.WorkingDir)
	c.user(want.User, in.User, in.Groups, in.Umask)
	c.noNewPrivileges(want, in.NoNewPrivileges)
	c.capabilities(want, c.opts.Privileged, in.Capabilities)
	if !c.over() {
		c.env(want.EnvRules, in.EnvList)
	}
}

func (c *comparison) signal(want *entry.Container, in enforcer.SignalContainerProcessInput) {
	signals := want.Signals
	if !in.IsInitProcess {
		before := len(c.found)
		if c.execCommand(want, in.ArgList); len(c.found) > before {
			return
		}
		signals = nil
		for _, p := range want.ExecProcesses {
			if p != nil && slices.Equal(p.Command, in.ArgList) {
				signals = append(signals, p.Signals...)
			}
		}
	}
	for _, s := range signals {
		if s == int64(in.Signal) {
			return
		}
	}
	wanted := "none"
	if len(signals) > 0 {
		wanted = "one of " + joined(signals)
	}
	c.differ(weightOther, "signal", wanted, strconv.Itoa(in.Signal))
}

// device says of a layer that nobody wants that nobody wants it: no container is nearer than another to a digest.
func (c *comparison) device(candidates []*entry.Container, in enforcer.MountDeviceInput) (Match, bool) {
	m := Match{Index: -1, Differences: []Difference{}}
	for _, candidate := range candidates {
		if candidate == nil {
			continue
		}
		for _, layer := range candidate.Layers {
			if layer == in.DeviceHash {
				return m, true
			}
		}
	}
	m.Differences = append(m.Differences, Difference{
		Field: "deviceHash", Wanted: "a layer of a container of the policy", Got: quote(in.DeviceHash),
	})
	return m, true
}

func (c *comparison) equal(weight int, field, want, got string) {
	if want != got {
		c.texts(weight, field, want, got)
		c.absent(got)
	}
}

// absent tells a field that the request does not have from one that is an empty text.
func (c *comparison) absent(got string) {
	if got == "" {
		c.found[len(c.found)-1].Got = absent
	}
}

func (c *comparison) noNewPrivileges(want *entry.Container, got bool) {
	if want.NoNewPrivileges && !got {
		c.differ(weightOther, "process.noNewPrivileges", "true", "false")
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return quote(s)
}

func joined(list []int64) string {
	text := ""
	for i, n := range list {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(n)
	}
	return text
}
