package enforcer_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

const secret = "hunter2-secret"

func TestDenialNamesRuleFieldAndContainer(t *testing.T) {
	cases := []struct {
		name   string
		change func(*enforcer.CreateContainerInput)
		want   string
	}{
		{"command", func(in *enforcer.CreateContainerInput) { in.ArgList = []string{secret} }, `create_container: invalid command: process.args, container web [decision 4]`},
		{"env", func(in *enforcer.CreateContainerInput) { in.EnvList = append(in.EnvList, "A="+secret, "B="+secret) }, `create_container: invalid env list: process.env "A,B", container web [decision 4]`},
		{"mounts", func(in *enforcer.CreateContainerInput) {
			in.Mounts = append(in.Mounts, enforcer.Mount{Destination: "/x\n", Source: secret})
		}, `create_container: invalid mount list: mounts "/x\n", container web [decision 4]`},
		{"first-of-several", func(in *enforcer.CreateContainerInput) {
			in.EnvList, in.ArgList, in.Privileged = nil, nil, true
		}, `create_container: privileged escalation not allowed: privileged, container web [decision 4]`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, policyText(t, []testContainer{web()}))
			mountImage(t, e, idA, 1)
			in := request(idA)
			c.change(&in)
			_, err := e.Decide(context.Background(), in)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%v repeats a value", err)
			}
		})
	}
}

func TestNoFieldIsWrongButNoContainerFits(t *testing.T) {
	one, two := web(), web()
	one.Command, two.WorkingDir = []string{"/bin/one"}, "/two"
	e := load(t, policyText(t, []testContainer{one, two}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.ArgList, in.WorkingDir = []string{"/bin/one"}, "/two"
	d := refuse(t, e, in)
	if !strings.Contains(d.Error(), "no single container") {
		t.Errorf("got %v", d)
	}
}

func TestDenialIsShortAndOneLine(t *testing.T) {
	definition := web()
	definition.Name = strings.Repeat("naïve\n", 100)
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	for i := range 500 {
		in.EnvList = append(in.EnvList, fmt.Sprintf("\x1b[31m\n%d\u202e=%s", i, secret))
	}
	_, err := e.Decide(context.Background(), in)
	text := err.Error()
	if len(text) > 448 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("got %d bytes: %q", len(text), text)
	}
	if !strings.HasSuffix(text, " [decision 4]") {
		t.Errorf("got %q, want the decision at its end", text)
	}
}

func TestCustomReasons(t *testing.T) {
	for name, c := range map[string]struct{ reason, want string }{
		"list":      {`reason := {"errors": ["go away", "no"]}`, "dump_stacks: go away: request"},
		"set":       {`reason := {"errors": {"go away"}}`, "dump_stacks: go away: request"},
		"text":      {`reason := "go away"`, "dump_stacks: go away: request"},
		"no-rule":   {``, "dump_stacks: not allowed by the policy: policy.allow_dump_stacks"},
		"no-errors": {`reason := {}`, "dump_stacks: not allowed by the policy: policy.allow_dump_stacks"},
		"fails":     {"reason := 1 if input\nreason := 2 if input", "dump_stacks: the policy could not give a reason: policy"},
	} {
		t.Run(name, func(t *testing.T) {
			e := load(t, "package policy\napi_version := \"0.12.0\"\ndump_stacks := {\"allowed\": false}\n"+c.reason)
			_, err := e.Decide(context.Background(), enforcer.DumpStacksInput{})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

type report struct {
	Input    map[string]any `json:"input"`
	Decision string         `json:"decision"`
	Reason   any            `json:"reason"`
	Error    string         `json:"policyError"`
	Cut      []string       `json:"truncated"`
}

func policyDecision(t *testing.T, e *enforcer.Enforcer, in enforcer.Input) (report, string) {
	t.Helper()
	_, err := e.Decide(context.Background(), in)
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		t.Fatalf("got %v, want a denial", err)
	}
	text := denial.PolicyDecision()
	if len(text) > 3*1024 {
		t.Errorf("got %d characters, want at most 3072", len(text))
	}
	body, ok := strings.CutPrefix(text, "policyDecision<")
	body, ok2 := strings.CutSuffix(body, ">policyDecision")
	if !ok || !ok2 {
		t.Fatalf("got %q", text)
	}
	data, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), secret) {
		t.Errorf("%s repeats a value", data)
	}
	if r.Decision != "deny" {
		t.Errorf("got decision %q", r.Decision)
	}
	return r, string(data)
}

func TestPolicyDecision(t *testing.T) {
	definition := web()
	definition.Capabilities = nil
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.EnvList = []string{"TOKEN=" + secret, "PLAIN"}
	in.Capabilities = defaultCaps(aci.UnprivilegedCapabilities())
	r, _ := policyDecision(t, e, in)
	if r.Input["rule"] != "create_container" || r.Input["capabilities"] != "[unprivileged]" {
		t.Errorf("got input %v", r.Input)
	}
	if got := fmt.Sprint(r.Input["envList"]); got != "[TOKEN=<<redacted>> PLAIN=<<redacted>>]" {
		t.Errorf("got envList %s", got)
	}
	reason, _ := r.Reason.(map[string]any)
	if len(r.Cut) != 0 || len(reason["errors"].([]any)) != 3 || len(reason["error_objects"].([]any)) != 1 {
		t.Errorf("got reason %v, truncated %v", reason, r.Cut)
	}
	in.Capabilities = privilegedCaps(aci.PrivilegedCapabilities())
	if r, _ := policyDecision(t, e, in); r.Input["capabilities"] != "[privileged]" {
		t.Errorf("got %v", r.Input["capabilities"])
	}
}

func TestPolicyDecisionRedactsThePolicy(t *testing.T) {
	definition := web()
	definition.EnvRules = []testEnv{{Pattern: "PASSWORD=" + secret, Strategy: "string"}, {Pattern: secret, Strategy: "re2"}}
	e := load(t, policyText(t, []testContainer{definition}))
	mountImage(t, e, idA, 1)
	_, text := policyDecision(t, e, request(idA))
	if !strings.Contains(text, "PASSWORD=") {
		t.Errorf("got %s, want the rule's name", text)
	}
}

func TestPolicyDecisionTruncation(t *testing.T) {
	big := func(n int) testContainer {
		c := web()
		for i := range n {
			c.Command = append(c.Command, fmt.Sprintf("%0100d", i))
		}
		return c
	}
	ask := func(definition testContainer, mounts, args int) report {
		e := load(t, policyText(t, []testContainer{definition}))
		mountImage(t, e, idA, 1)
		in := request(idA)
		for i := range args {
			in.ArgList = append(in.ArgList, fmt.Sprintf("%0100d", i))
		}
		for i := range mounts {
			in.Mounts = append(in.Mounts, enforcer.Mount{Destination: fmt.Sprintf("/%0100d", i)})
		}
		r, _ := policyDecision(t, e, in)
		return r
	}
	if r := ask(big(30), 0, 0); fmt.Sprint(r.Cut) != "[reason.error_objects]" || r.Input == nil || r.Reason == nil {
		t.Errorf("got truncated %v", r.Cut)
	}
	if r := ask(web(), 0, 30); fmt.Sprint(r.Cut) != "[reason.error_objects input]" || r.Input != nil || r.Reason == nil {
		t.Errorf("got truncated %v", r.Cut)
	}
	if r := ask(web(), 40, 0); fmt.Sprint(r.Cut) != "[reason.error_objects input reason]" || r.Reason != nil {
		t.Errorf("got truncated %v", r.Cut)
	}
}

func TestPolicyDecisionWithoutReason(t *testing.T) {
	in := enforcer.DumpStacksInput{}
	const start = "package policy\napi_version := \"0.12.0\"\ndump_stacks := {\"allowed\": false}\n"
	r, _ := policyDecision(t, load(t, start), in)
	if text, _ := r.Reason.(string); !strings.HasPrefix(text, "Security policy is either not valid or did not provide a reason for denial") {
		t.Errorf("got %v", r.Reason)
	}
	r, _ = policyDecision(t, load(t, start+"reason := 1 if input\nreason := 2 if input"), in)
	if text, _ := r.Reason.(string); !strings.HasPrefix(text, "Security policy is not valid") || r.Error == "" {
		t.Errorf("got %v, policyError %q", r.Reason, r.Error)
	}
	if got := (&enforcer.Denial{}).PolicyDecision(); got != "policyDecision<>policyDecision" {
		t.Errorf("got %q for a denial of no enforcer", got)
	}
}

// TestKnownRuleRepeatsNothing: what a policy of its own says of the request is not in the rule that may be kept.
func TestKnownRuleRepeatsNothing(t *testing.T) {
	own := replaceOnce(t, policyText(t, []testContainer{web()}), "reason := data.framework.reason", `reason := {"errors": [sprintf("no: %v", [input.argList])]}`)
	old := replaceOnce(t, policyText(t, []testContainer{web()}), `framework_version := "0.5.0"`, `framework_version := "9.0.0"`)
	for name, tc := range map[string]struct{ text, want string }{
		"table":  {policyText(t, []testContainer{web()}), "invalid command"},
		"own":    {own, "the policy's own words"},
		"prefix": {old, "framework_version"},
	} {
		e := load(t, tc.text, enforcer.Options{Judge: enforcer.JudgeOPA})
		if name != "prefix" {
			mountImage(t, e, idA, 1)
		}
		in := request(idA)
		in.ArgList = []string{secret}
		_, err := e.Decide(context.Background(), in)
		var d *enforcer.Denial
		if !errors.As(err, &d) {
			t.Fatalf("%s: got %v, want a denial", name, err)
		}
		if got := d.KnownRule(); got != tc.want {
			t.Errorf("%s: got rule %q of %q, want %q", name, got, d.Rule, tc.want)
		}
	}
	for _, rule := range enforcer.Rules() {
		d := enforcer.Denial{Rule: rule}
		if got := d.KnownRule(); got != strings.TrimSuffix(rule, "...") {
			t.Errorf("rule %q: got %q", rule, got)
		}
	}
}
