package keyvault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// PolicyVersion is the only version of the grammar.
const PolicyVersion = "1.0.0"

// Bounds of a release policy's text.
const (
	maxPolicy     = 64 << 10
	maxConditions = 1024
	maxDepth      = 8
)

// Operator compares a claim with a value.
type Operator string

// The operators of the grammar.
const (
	Equals          Operator = "equals"
	NotEquals       Operator = "notEquals"
	Less            Operator = "less"
	LessOrEquals    Operator = "lessOrEquals"
	Greater         Operator = "greater"
	GreaterOrEquals Operator = "greaterOrEquals"
	Exists          Operator = "exists"
)

var operators = []Operator{Equals, NotEquals, Less, LessOrEquals, Greater, GreaterOrEquals, Exists}

// Policy says who gets a key: a token of one of the authorities whose claims are as that authority's condition says.
type Policy struct {
	Authorities []Authority
}

// Authority is an attestation service, by its issuer's URL, and what its tokens must say.
type Authority struct {
	URL       string
	Condition Condition
}

// Condition is a comparison of one claim, or all or any of several conditions: exactly one of Claim, AllOf and AnyOf is set.
type Condition struct {
	Claim string
	Op    Operator
	Value Value

	AllOf, AnyOf []Condition
}

// Value is what a claim is compared with: a JSON string, boolean or number, as it is written.
type Value struct{ json string }

// String is a value that is text.
func String(s string) Value { return Value{encode(s)} }

// Bool is a value that is true or false.
func Bool(b bool) Value { return Value{encode(b)} }

// Number is a value that is a whole number.
func Number(n int64) Value { return Value{encode(n)} }

// JSON is the value as a policy has it.
func (v Value) JSON() string { return v.json }

func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("keyvault: a string, boolean or number does not encode: " + err.Error())
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

// All is a condition that holds when all of the others do.
func All(c ...Condition) Condition { return Condition{AllOf: c} }

// Claim compares one claim. Dots in its name lead into claims that are objects.
func Claim(name string, op Operator, v Value) Condition {
	return Condition{Claim: name, Op: op, Value: v}
}

// Marshal writes the policy as the service takes it. It is an error to have nobody in it.
func (p *Policy) Marshal() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"version":%s,"anyOf":[`, encode(PolicyVersion))
	for i, a := range p.Authorities {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"authority":%s,`, encode(a.URL))
		c := a.Condition
		if c.Claim != "" { // an authority has a list
			c = All(c)
		}
		c.members(&b)
		b.WriteByte('}')
	}
	b.WriteString("]}")
	if _, err := ParsePolicy(b.Bytes()); err != nil {
		return nil, fmt.Errorf("write release policy: %w", err)
	}
	return b.Bytes(), nil
}

func (c *Condition) members(b *bytes.Buffer) {
	if c.Claim != "" {
		fmt.Fprintf(b, `"claim":%s,%s:%s`, encode(c.Claim), encode(string(c.Op)), c.Value.json)
		return
	}
	name, list := "allOf", c.AllOf
	if len(c.AnyOf) > 0 {
		name, list = "anyOf", c.AnyOf
	}
	fmt.Fprintf(b, "%s:[", encode(name))
	for i := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		list[i].members(b)
		b.WriteByte('}')
	}
	b.WriteByte(']')
}

// ParsePolicy reads a release policy. What the grammar does not have, or has twice, is an error that names its place.
func ParsePolicy(text []byte) (*Policy, error) {
	root, err := parseObject(text)
	if err != nil {
		return nil, fmt.Errorf("release policy: %w", err)
	}
	p := &Policy{}
	if err := p.read(root); err != nil {
		return nil, fmt.Errorf("release policy: %w", err)
	}
	return p, nil
}

func (p *Policy) read(root object) error {
	if err := root.only("", "version", "anyOf"); err != nil {
		return err
	}
	if v, _ := root.get("version"); v != PolicyVersion {
		return fmt.Errorf("version: got %s, want %q", shown(v), PolicyVersion)
	}
	list, err := root.objects("anyOf", "anyOf")
	if err != nil {
		return err
	}
	left := maxConditions
	for i, o := range list {
		at := fmt.Sprintf("anyOf[%d]", i)
		if err := o.only(at, "authority", "allOf", "anyOf"); err != nil {
			return err
		}
		url, ok := o.text("authority")
		if !ok || url == "" {
			return fmt.Errorf("%s.authority: got none, want the issuer's URL", at)
		}
		c, err := readGroup(o, at, 1, &left)
		if err != nil {
			return err
		}
		p.Authorities = append(p.Authorities, Authority{URL: url, Condition: c})
	}
	return nil
}

// readGroup reads the one list that an object has; left bounds all conditions together.
func readGroup(o object, at string, depth int, left *int) (Condition, error) {
	_, all := o.get("allOf")
	_, some := o.get("anyOf")
	name := "allOf"
	switch {
	case all == some:
		return Condition{}, fmt.Errorf("%s: want one of allOf and anyOf", at)
	case depth > maxDepth:
		return Condition{}, fmt.Errorf("%s: nested deeper than %d", at, maxDepth)
	case some:
		name = "anyOf"
	}
	at += "." + name
	list, err := o.objects(name, at)
	if err != nil {
		return Condition{}, err
	}
	var out []Condition
	for i, member := range list {
		if *left--; *left < 0 {
			return Condition{}, fmt.Errorf("%s: more than %d conditions", at, maxConditions)
		}
		c, err := readCondition(member, fmt.Sprintf("%s[%d]", at, i), depth, left)
		if err != nil {
			return Condition{}, err
		}
		out = append(out, c)
	}
	if some {
		return Condition{AnyOf: out}, nil
	}
	return Condition{AllOf: out}, nil
}

func readCondition(o object, at string, depth int, left *int) (Condition, error) {
	claim, ok := o.text("claim")
	if !ok {
		if err := o.only(at, "allOf", "anyOf"); err != nil {
			return Condition{}, err
		}
		return readGroup(o, at, depth+1, left)
	}
	c := Condition{Claim: claim}
	for _, m := range o {
		if m.name == "claim" {
			continue
		}
		if !slices.Contains(operators, Operator(m.name)) || c.Op != "" {
			return Condition{}, fmt.Errorf("%s: got member %q, want claim and one of %v", at, m.name, operators)
		}
		c.Op = Operator(m.name)
		switch m.value.(type) {
		case string, bool, json.Number:
			c.Value = Value{encode(m.value)}
		default:
			return Condition{}, fmt.Errorf("%s.%s: got %s, want a string, boolean or number", at, m.name, shown(m.value))
		}
		if _, flag := m.value.(bool); c.Op == Exists && !flag {
			return Condition{}, fmt.Errorf("%s.exists: got %s, want true or false", at, shown(m.value))
		}
	}
	if claim == "" || c.Op == "" {
		return Condition{}, fmt.Errorf("%s: want a claim's name and one of %v", at, operators)
	}
	return c, nil
}
