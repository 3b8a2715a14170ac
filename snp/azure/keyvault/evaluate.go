package keyvault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// Claims are what a token says: the JSON object of its payload.
type Claims struct{ root object }

// ParseClaims reads a token's payload. Claims that are there twice are an error.
func ParseClaims(payload []byte) (Claims, error) {
	o, err := parseObject(payload)
	if err != nil {
		return Claims{}, fmt.Errorf("claims: %w", err)
	}
	return Claims{o}, nil
}

// get finds a claim by its name, or by a path of names with dots between them.
func (c Claims) get(name string) (any, bool) {
	o := c.root
	for {
		if v, ok := o.get(name); ok {
			return v, true
		}
		first, rest, more := strings.Cut(name, ".")
		if !more {
			return nil, false
		}
		v, _ := o.get(first)
		inner, ok := v.(object)
		if !ok {
			return nil, false
		}
		o, name = inner, rest
	}
}

// Mismatch is a comparison that did not hold.
type Mismatch struct {
	Claim string   `json:"claim"`
	Op    Operator `json:"operator"`
	Want  string   `json:"want"`          // JSON
	Got   string   `json:"got,omitempty"` // JSON; empty when the token does not have the claim
}

// String is the mismatch in words.
func (m Mismatch) String() string {
	got := m.Got
	if got == "" {
		got = "none"
	}
	if m.Op == Equals {
		return fmt.Sprintf("%s: got %s, want %s", m.Claim, got, m.Want)
	}
	return fmt.Sprintf("%s: got %s, want %s %s", m.Claim, got, m.Op, m.Want)
}

// Verdict is what a policy says of a token.
type Verdict struct {
	Released bool
	// Authority is the one whose tokens these are; empty when the policy knows no such issuer.
	Authority string
	// Mismatches are why not, for the alternative that fails in the fewest places.
	Mismatches []Mismatch
}

// Evaluate judges a token of issuer. A slash at the end of an issuer means nothing.
func (p *Policy) Evaluate(issuer string, claims Claims) Verdict {
	var v Verdict
	for _, a := range p.Authorities {
		if strings.TrimSuffix(a.URL, "/") != strings.TrimSuffix(issuer, "/") {
			continue
		}
		missed := a.Condition.missed(claims)
		if len(missed) == 0 {
			return Verdict{Released: true, Authority: a.URL}
		}
		if v.Authority == "" || len(missed) < len(v.Mismatches) {
			v = Verdict{Authority: a.URL, Mismatches: missed}
		}
	}
	return v
}

// missed lists what keeps a condition from holding; nothing when it holds.
func (c *Condition) missed(claims Claims) []Mismatch {
	var out []Mismatch
	switch {
	case c.Claim != "":
		if m, ok := c.compare(claims); !ok {
			out = append(out, m)
		}
	case len(c.AnyOf) > 0:
		for i := range c.AnyOf {
			m := c.AnyOf[i].missed(claims)
			if len(m) == 0 {
				return nil
			}
			if i == 0 || len(m) < len(out) {
				out = m
			}
		}
	default:
		for i := range c.AllOf {
			out = append(out, c.AllOf[i].missed(claims)...)
		}
	}
	return out
}

// compare holds a claim against the value. The service compares loosely: "0" is 0 and "false" is false. A claim that is not there
// holds for notEquals and for exists false only.
func (c *Condition) compare(claims Claims) (Mismatch, bool) {
	got, there := claims.get(c.Claim)
	m := Mismatch{Claim: c.Claim, Op: c.Op, Want: c.Value.json}
	if there {
		m.Got = clip(got)
	}
	if c.Op == Exists {
		return m, there == (c.Value.json == "true")
	}
	if !there {
		return m, c.Op == NotEquals
	}
	want := scalar(c.Value.parsed())
	have, comparable := scalarOf(got)
	switch c.Op {
	case Equals:
		return m, comparable && have == want
	case NotEquals:
		return m, !comparable || have != want
	}
	order, ok := compareNumbers(have, want)
	if !comparable || !ok {
		return m, false
	}
	switch c.Op {
	case Less:
		return m, order < 0
	case LessOrEquals:
		return m, order <= 0
	case Greater:
		return m, order > 0
	case GreaterOrEquals:
		return m, order >= 0
	}
	return m, false
}

// compareNumbers compares whole numbers; ok is false for anything else.
func compareNumbers(a, b string) (order int, ok bool) {
	const maxDigits = 32
	if len(a) > maxDigits || len(b) > maxDigits {
		return 0, false
	}
	x, okX := new(big.Int).SetString(a, 10)
	y, okY := new(big.Int).SetString(b, 10)
	if !okX || !okY {
		return 0, false
	}
	return x.Cmp(y), true
}

func (v Value) parsed() any {
	d := json.NewDecoder(bytes.NewReader([]byte(v.json)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil
	}
	return out
}

func scalar(v any) string { s, _ := scalarOf(v); return s }

// scalarOf is a value's text as the service compares it.
func scalarOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return fmt.Sprint(v), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// clip is a claim's value in a mismatch.
func clip(v any) string {
	if s, ok := scalarOf(v); ok {
		if _, text := v.(string); !text {
			return s
		}
		if len(s) > 256 {
			s = s[:256] + "..."
		}
		return encode(s)
	}
	return shown(v)
}
