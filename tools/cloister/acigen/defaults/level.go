package defaults

import (
	"fmt"
	"regexp"
	"slices"
)

// Level says how the text of a policy looks that a tool of a given age would write.
type Level struct {
	Name    string `json:"name"`
	Version int    `json:"version"` // of this file
	About   string `json:"about"`

	APIVersion       string   `json:"api_version"`
	FrameworkVersion string   `json:"framework_version"`
	Imports          []string `json:"imports"`
	// InfrastructureSVN is the smallest version of the platform's fragment, unless the file of defaults or an option says another.
	InfrastructureSVN string      `json:"infrastructure_svn"`
	EnvOrder          EnvOrder    `json:"env_order"`
	Signals           SignalsRule `json:"signals"`
	JSONText          JSONText    `json:"json_text"`
	Flags             []Flag      `json:"flags"`
	Delegations       []string    `json:"delegations"` // decision points left to the framework, in this order
	Reason            string      `json:"reason"`      // the rule's value, Rego
	FinalNewline      bool        `json:"final_newline"`
	Defaults          string      `json:"defaults"` // name of the file of defaults that belongs to it
}

// EnvOrder is the order of a container's env_rules.
type EnvOrder string

// The orders there have been.
const (
	Insertion EnvOrder = "insertion" // document, image, defaults
	Sorted    EnvOrder = "sorted"    // by the pattern's text
)

// SignalsRule says which signals a container's first process may get.
type SignalsRule string

// The rules there have been.
const (
	StopSignal       SignalsRule = "stop-signal"        // the image's StopSignal, else none (the framework adds SIGKILL and SIGTERM)
	KillTerm         SignalsRule = "kill-term"          // SIGKILL and SIGTERM
	KillTermStopRule SignalsRule = "kill-term-and-stop" // SIGKILL, SIGTERM and the image's StopSignal
)

// JSONText says how text outside ASCII is written.
type JSONText string

// Both spell the same strings.
const (
	ASCII JSONText = "ascii" // \u00e9
	UTF8  JSONText = "utf-8"
)

// Flag is one of the policy's switches; Debug is its value in debug mode.
type Flag struct {
	Name  string `json:"name"`
	Value bool   `json:"value"`
	Debug bool   `json:"debug"`
}

var (
	version    = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$`)
	identifier = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// check refuses a level that could not be written.
func (l *Level) check() error {
	switch {
	case !version.MatchString(l.APIVersion) || !version.MatchString(l.FrameworkVersion):
		return fmt.Errorf("versions are %q and %q, want three numbers each", l.APIVersion, l.FrameworkVersion)
	case l.EnvOrder != Insertion && l.EnvOrder != Sorted:
		return fmt.Errorf("env_order is %q, want %q or %q", l.EnvOrder, Insertion, Sorted)
	case !slices.Contains([]SignalsRule{StopSignal, KillTerm, KillTermStopRule}, l.Signals):
		return fmt.Errorf("signals is %q", l.Signals)
	case l.JSONText != ASCII && l.JSONText != UTF8:
		return fmt.Errorf("json_text is %q, want %q or %q", l.JSONText, ASCII, UTF8)
	case l.Reason == "" || len(l.Flags) == 0 || len(l.Delegations) == 0:
		return fmt.Errorf("reason, flags or delegations are missing")
	}
	names := slices.Clone(l.Delegations)
	for _, f := range l.Flags {
		names = append(names, f.Name)
	}
	for i, n := range names {
		if !identifier.MatchString(n) || slices.Contains(names[:i], n) {
			return fmt.Errorf("rule %q is not a name or is there twice", n)
		}
	}
	return nil
}
