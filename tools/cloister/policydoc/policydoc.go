// Package policydoc reads a policy for tools that show, check, compare and explain it: versions, flags, what each enforcement
// point does, and the lists as typed entries.
//
// It decides nothing. The text has to load into an enforcer first, so it calls no function that a policy may not call; its lists
// are then what the engine evaluates them to, written as constants or not. An entry of a wrong shape is read as far as it
// goes, and each thing that is wrong is a Problem with its place: the enforcer never needs to know which, its user does.
package policydoc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Policy is what one policy text says.
type Policy struct {
	SHA256 string // of the text, hex: HOST_DATA
	Bytes  int
	// Syntax is the Rego version the text was understood in: "v1" or "v0".
	Syntax string

	// APIVersion and FrameworkVersion are empty when the policy has none. Legacy is set for one given as api_svn or
	// framework_svn.
	APIVersion, FrameworkVersion             string
	LegacyAPIVersion, LegacyFrameworkVersion bool

	Flags  []Flag
	Points []PointRule
	// HasReason says that refusals are explained.
	HasReason bool
	// OwnRules are the names of rules that are neither a list, a flag, a point nor the reason.
	OwnRules []string
	// Custom are the texts of the rules that do more than name data or delegate, by name.
	Custom map[string]string
	// Misdelegated are rules that delegate to a name the framework does not have for them: name -> framework name.
	Misdelegated map[string]string

	// Judge is who decides for this policy: compiled, or opa because of NotPlain.
	Judge, NotPlain string

	entry.Data
	// lists are the lists that are known, and how to come by each as the policy has it.
	known map[string]func() any
	// Unread are lists that cannot be known without a request.
	Unread   []string
	Problems []Problem
}

// Flag is one of the policy's switches.
type Flag struct {
	Name string `json:"name"`
	// Set is what the flag says; an absent one says false.
	Set     bool `json:"set"`
	Present bool `json:"present"`
}

// Problem is something in a policy that is not of the contract's form.
type Problem struct {
	Path string
	Text string
	Kind ProblemKind
}

// ProblemKind says what a problem does.
type ProblemKind int

const (
	// WrongType: the value is not what the framework compares with, so nothing matches it.
	WrongType ProblemKind = iota
	// UnknownField: the framework does not look at it.
	UnknownField
	// MissingField: the framework looks for it.
	MissingField
	// DuplicateKey: of two values under one key, the later counts.
	DuplicateKey
)

// FlagNames are the switches of the contract.
func FlagNames() []string {
	return []string{
		"allow_properties_access", "allow_dump_stacks", "allow_runtime_logging", "allow_environment_variable_dropping",
		"allow_unencrypted_scratch", "allow_capability_dropping", "allow_host_network", "allow_log_provider_dropping",
	}
}

// Lists returns the lists as the policy has them, by name.
func (p *Policy) Lists() map[string]any {
	lists := make(map[string]any, len(p.known))
	for name, list := range p.known {
		lists[name] = list()
	}
	return lists
}

// Flag returns what a switch says.
func (p *Policy) Flag(name string) bool {
	return slices.ContainsFunc(p.Flags, func(f Flag) bool { return f.Name == name && f.Set })
}

// Read reads a policy text. An error means that no enforcer would load it either.
func Read(ctx context.Context, text []byte) (*Policy, error) {
	loaded, err := enforcer.Load(ctx, text, enforcer.Options{PolicyLimit: enforcer.MaxPolicyLimit})
	if err != nil {
		return nil, err
	}
	judge, notPlain := loaded.Judge()
	source := string(text)
	var plain *entry.Policy
	if notPlain == nil {
		// The lists of a plain policy are constants of the contract's shape: the fast reader has them, and the engine needs the
		// rules only.
		if plain, err = entry.Read(text, pointNames()); err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		source = plain.Skeleton
	}
	e, err := newEvaluation(ctx, source, plain != nil)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	digest := sha256.Sum256(text)
	p := &Policy{
		SHA256: hex.EncodeToString(digest[:]), Bytes: len(text), Syntax: e.syntax, Custom: map[string]string{}, Misdelegated: map[string]string{},
		known: map[string]func() any{},
		Judge: string(judge), NotPlain: why(notPlain),
	}
	p.APIVersion, p.LegacyAPIVersion = p.version(e, "api_version", "api_svn")
	p.FrameworkVersion, p.LegacyFrameworkVersion = p.version(e, "framework_version", "framework_svn")
	for _, name := range FlagNames() {
		p.Flags = append(p.Flags, p.flag(e, name))
	}
	p.classify(e)
	if plain != nil {
		p.plainLists(e, &plain.Data)
	} else {
		p.lists(e)
		for _, name := range slices.Concat(listNames, versionNames, FlagNames()) {
			if v := e.single(name); v != nil {
				p.duplicates(name, v)
			}
		}
	}
	return p, nil
}

func pointNames() []string {
	var names []string
	for _, info := range enforcer.Points() {
		names = append(names, string(info.Point))
	}
	return names
}

// ReadFragment reads a fragment's text as if it were a policy: its lists mean the same. A fragment that asks for parameters, or
// for anything else that only loading it provides, cannot be read.
func ReadFragment(ctx context.Context, text string) (*Policy, error) {
	_, rest, found := strings.Cut(text, "\n")
	if !found {
		return nil, errors.New("read fragment: it has one line only")
	}
	return Read(ctx, []byte("package policy\n"+rest))
}

// why says why a policy is not judged by the compiled rules.
func why(notPlain error) string {
	if text := (*entry.NotPlainError)(nil); errors.As(notPlain, &text) {
		return text.Why
	}
	if notPlain != nil {
		return notPlain.Error()
	}
	return ""
}

func (p *Policy) version(e *evaluation, name, legacy string) (text string, old bool) {
	for _, n := range []string{name, legacy} {
		v, known := e.value(n)
		if !known {
			continue
		}
		text, ok := v.(string)
		if !ok {
			p.problem(WrongType, n, "got %s, want a string", typeName(v))
		}
		return text, n == legacy
	}
	return "", false
}

func (p *Policy) flag(e *evaluation, name string) Flag {
	v, known := e.value(name)
	if !known {
		return Flag{Name: name, Present: e.defines(name)}
	}
	set, ok := v.(bool)
	if !ok {
		p.problem(WrongType, name, "got %s, want true or false; it counts as false", typeName(v))
	}
	return Flag{Name: name, Set: set, Present: true}
}

func (p *Policy) problem(kind ProblemKind, path, format string, args ...any) {
	p.Problems = append(p.Problems, Problem{Path: path, Text: fmt.Sprintf(format, args...), Kind: kind})
}

// DropsCapabilities says whether allow_capability_dropping counts: frameworks before 0.2.2 did not know it.
func (p *Policy) DropsCapabilities() bool {
	version, ok := point.ParseVersion(p.FrameworkVersion)
	return ok && !version.Less(point.Version{0, 2, 2}) && p.Flag("allow_capability_dropping")
}
