package enforcer

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// reportLimit is the longest message the peers' tools accept (policy contract, section 2.5).
const reportLimit = 3 * 1024

const (
	reportOpen  = "policyDecision<"
	reportClose = ">policyDecision"
	redacted    = "<<redacted>>"
)

// decisionReport is what is needed to write ACI's long form of a refusal, if anyone asks for it.
type decisionReport struct {
	row     *point.Row
	in      Input
	refusal *point.Refusal
}

type reportJSON struct {
	Input       any      `json:"input,omitempty"`
	Decision    string   `json:"decision"`
	Reason      any      `json:"reason,omitempty"`
	PolicyError string   `json:"policyError,omitempty"`
	Truncated   []string `json:"truncated,omitempty"`
}

// PolicyDecision is the refusal as ACI's tools read it: policyDecision<BASE64>policyDecision around JSON. Values of
// environment variables are redacted. It repeats the request, so it goes to the host only where the policy allows logging.
func (d *Denial) PolicyDecision() string {
	r := d.report
	if r == nil {
		return reportOpen + reportClose
	}
	out := reportJSON{Decision: "deny", PolicyError: r.refusal.PolicyError}
	if input, ok := rego.Document(r.in).(map[string]any); ok {
		input["rule"] = string(d.Point)
		out.Input = redact(input)
	}
	out.Reason = r.refusal.Text
	var reason map[string]any
	if r.refusal.Document != nil {
		doc := r.refusal.Document()
		reason, _ = doc.(map[string]any)
		out.Reason = redact(doc)
	}
	if text, ok := out.encode(); ok {
		return text
	}
	// The order of dropping is the contract's; what is left is always small enough.
	if _, ok := reason["error_objects"]; ok {
		delete(out.Reason.(map[string]any), "error_objects")
		out.Truncated = append(out.Truncated, "reason.error_objects")
		if text, ok := out.encode(); ok {
			return text
		}
	}
	out.Input, out.Truncated = nil, append(out.Truncated, "input")
	if text, ok := out.encode(); ok {
		return text
	}
	out.Reason, out.Truncated = nil, append(out.Truncated, "reason")
	if text, ok := out.encode(); ok {
		return text
	}
	out.PolicyError = ""
	text, _ := out.encode()
	return text
}

func (r *reportJSON) encode() (string, bool) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", false
	}
	text := reportOpen + base64.StdEncoding.EncodeToString(data) + reportClose
	return text, len(text) <= reportLimit
}

// redact replaces what must not be repeated and shortens what everybody knows, at any depth: the input has it at the top,
// error_objects inside container definitions.
func redact(doc any) any {
	switch v := doc.(type) {
	case map[string]any:
		for key, inner := range v {
			switch key {
			case "envList", "env_list":
				v[key] = redactEnv(inner)
			case "env_rules":
				v[key] = redactRules(inner)
			case "capabilities":
				v[key] = shortCapabilities(inner)
			default:
				v[key] = redact(inner)
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = redact(v[i])
		}
	}
	return doc
}

func redactEnv(doc any) any {
	list, ok := doc.([]any)
	if !ok {
		return redacted
	}
	for i, entry := range list {
		text, _ := entry.(string)
		name, _, _ := strings.Cut(text, "=")
		list[i] = name + "=" + redacted
	}
	return list
}

// redactRules hides the value a rule asks for: a policy may name a secret literally.
func redactRules(doc any) any {
	list, _ := doc.([]any)
	for _, entry := range list {
		rule, _ := entry.(map[string]any)
		if pattern, ok := rule["pattern"].(string); ok {
			name, _, found := strings.Cut(pattern, "=")
			if found {
				rule["pattern"] = name + "=" + redacted
			} else {
				rule["pattern"] = redacted
			}
		}
		if _, ok := rule["value"]; ok {
			rule["value"] = redacted
		}
	}
	return doc
}

func shortCapabilities(doc any) any {
	sets, ok := doc.(map[string]any)
	if !ok {
		return doc
	}
	for name, c := range map[string]struct{ caps, inheritable []string }{
		"[privileged]":   {aci.PrivilegedCapabilities(), aci.PrivilegedCapabilities()},
		"[unprivileged]": {aci.UnprivilegedCapabilities(), nil},
	} {
		if sameStrings(sets["bounding"], c.caps) && sameStrings(sets["effective"], c.caps) && sameStrings(sets["permitted"], c.caps) &&
			sameStrings(sets["inheritable"], c.inheritable) && sameStrings(sets["ambient"], nil) {
			return name
		}
	}
	return doc
}

func sameStrings(doc any, want []string) bool {
	list, ok := doc.([]any)
	if !ok {
		return false
	}
	got := make(map[string]bool, len(list))
	for _, entry := range list {
		text, ok := entry.(string)
		if !ok {
			return false
		}
		got[text] = true
	}
	for _, name := range want {
		if !got[name] {
			return false
		}
	}
	return len(got) == len(want)
}
