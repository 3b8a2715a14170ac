package keyvault

import (
	"slices"
	"strings"
	"testing"
)

const aciPolicy = `{"version":"1.0.0","anyOf":[{"authority":"https://maa.example","allOf":[` +
	`{"claim":"x-ms-attestation-type","equals":"sevsnpvm"},{"claim":"x-ms-sevsnpvm-hostdata","equals":"00ff"},` +
	`{"claim":"x-ms-sevsnpvm-is-debuggable","equals":"false"},{"claim":"x-ms-sevsnpvm-guestsvn","greaterOrEquals":100}]}]}`

const goodClaims = `{"x-ms-attestation-type":"sevsnpvm","x-ms-sevsnpvm-hostdata":"00ff","x-ms-sevsnpvm-is-debuggable":false,"x-ms-sevsnpvm-guestsvn":100}`

func mustPolicy(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustClaims(t *testing.T, text string) Claims {
	t.Helper()
	c, err := ParseClaims([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPolicyIsWrittenAsItWasRead(t *testing.T) {
	for _, text := range []string{
		aciPolicy,
		`{"version":"1.0.0","anyOf":[{"authority":"https://a","anyOf":[{"allOf":[{"claim":"a.b","exists":true},{"claim":"c","notEquals":-1}]},{"claim":"d","less":7}]}]}`,
	} {
		got, err := mustPolicy(t, text).Marshal()
		if err != nil || string(got) != text {
			t.Errorf("got %s, %v, want %s", got, err, text)
		}
	}
	one := &Policy{Authorities: []Authority{{"https://a", Claim("x", Equals, Bool(true))}}}
	if got, err := one.Marshal(); err != nil || string(got) != `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[{"claim":"x","equals":true}]}]}` {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := (&Policy{}).Marshal(); err == nil {
		t.Errorf("a policy that names nobody was written as %s", got)
	}
}

func TestPolicyRefused(t *testing.T) {
	group := func(conditions string) string {
		return `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[` + conditions + `]}]}`
	}
	deep := strings.Repeat(`{"allOf":[`, maxDepth) + `{"claim":"a","equals":1}` + strings.Repeat(`]}`, maxDepth)
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {``, "EOF"},
		"no object":        {`[]`, "want an object"},
		"behind":           {aciPolicy + `{}`, "behind"},
		"version":          {`{"version":"2.0.0","anyOf":[]}`, `version: got "2.0.0"`},
		"no version":       {`{"anyOf":[]}`, "version: got none"},
		"nobody":           {`{"version":"1.0.0","anyOf":[]}`, "not empty"},
		"all at the top":   {`{"version":"1.0.0","allOf":[]}`, `"allOf"`},
		"no authority":     {`{"version":"1.0.0","anyOf":[{"allOf":[{"claim":"a","equals":1}]}]}`, "authority"},
		"no list":          {`{"version":"1.0.0","anyOf":[{"authority":"https://a"}]}`, "one of allOf and anyOf"},
		"two lists":        {`{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[],"anyOf":[]}]}`, "one of allOf and anyOf"},
		"empty list":       {group(``), "not empty"},
		"twice":            {group(`{"claim":"a","equals":1,"equals":2}`), "twice"},
		"two operators":    {group(`{"claim":"a","equals":1,"less":2}`), "less"},
		"other case":       {group(`{"claim":"a","Equals":1}`), `"Equals"`},
		"unknown operator": {group(`{"claim":"a","matches":".*"}`), `"matches"`},
		"no operator":      {group(`{"claim":"a"}`), "claim's name"},
		"no name":          {group(`{"claim":"","equals":1}`), "claim's name"},
		"null":             {group(`{"claim":"a","equals":null}`), "got none"},
		"object":           {group(`{"claim":"a","equals":{}}`), "an object"},
		"exists text":      {group(`{"claim":"a","exists":"true"}`), "true or false"},
		"claim and list":   {group(`{"claim":"a","allOf":[]}`), `"allOf"`},
		"deep":             {group(deep), "deeper"},
		"many":             {group(strings.TrimSuffix(strings.Repeat(`{"claim":"a","equals":1},`, maxConditions+1), ",")), "more than"},
		"long":             {group(strings.Repeat(" ", maxPolicy)), "at most"},
	} {
		if _, err := ParsePolicy([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestEvaluate(t *testing.T) {
	for name, c := range map[string]struct {
		policy, issuer, claims string
		want                   []string // claims that do not fit; nil: released
	}{
		"as asked":      {aciPolicy, "https://maa.example", goodClaims, nil},
		"slash":         {aciPolicy, "https://maa.example/", goodClaims, nil},
		"one character": {aciPolicy, "https://maa.example", strings.Replace(goodClaims, "00ff", "00fe", 1), []string{"x-ms-sevsnpvm-hostdata"}},
		"debug":         {aciPolicy, "https://maa.example", strings.Replace(goodClaims, "false", "true", 1), []string{"x-ms-sevsnpvm-is-debuggable"}},
		"old":           {aciPolicy, "https://maa.example", strings.Replace(goodClaims, ":100", ":99", 1), []string{"x-ms-sevsnpvm-guestsvn"}},
		"number in text": {
			aciPolicy, "https://maa.example", strings.Replace(goodClaims, ":100", `:"104"`, 1), nil,
		},
		"nothing said":    {aciPolicy, "https://maa.example", `{}`, []string{"x-ms-attestation-type", "x-ms-sevsnpvm-hostdata", "x-ms-sevsnpvm-is-debuggable", "x-ms-sevsnpvm-guestsvn"}},
		"object for text": {aciPolicy, "https://maa.example", strings.Replace(goodClaims, `"00ff"`, `{"00ff":1}`, 1), []string{"x-ms-sevsnpvm-hostdata"}},
	} {
		v := mustPolicy(t, c.policy).Evaluate(c.issuer, mustClaims(t, c.claims))
		var got []string
		for _, m := range v.Mismatches {
			got = append(got, m.Claim)
		}
		if v.Released != (c.want == nil) || v.Authority == "" || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %v", name, v, c.want)
		}
	}
	if v := mustPolicy(t, aciPolicy).Evaluate("https://other.example", mustClaims(t, goodClaims)); v.Released || v.Authority != "" {
		t.Errorf("a token of another issuer: got %+v", v)
	}
}

func TestOperators(t *testing.T) {
	claims := mustClaims(t, `{"n":5,"s":"five","big":18446744073709551615,"huge":1e999999999,"o":{"in":{"x":true}},"dotted.name":"y","list":[1]}`)
	for condition, want := range map[string]bool{
		`{"claim":"n","equals":5}`: true, `{"claim":"n","equals":"5"}`: true, `{"claim":"n","equals":6}`: false,
		`{"claim":"n","notEquals":6}`: true, `{"claim":"n","notEquals":5}`: false, `{"claim":"none","notEquals":5}`: true,
		`{"claim":"n","less":6}`: true, `{"claim":"n","less":5}`: false, `{"claim":"n","lessOrEquals":5}`: true,
		`{"claim":"n","greater":4}`: true, `{"claim":"n","greater":5}`: false, `{"claim":"n","greaterOrEquals":5}`: true,
		`{"claim":"none","less":6}`: false, `{"claim":"s","less":6}`: false, `{"claim":"huge","greater":1}`: false,
		`{"claim":"big","greater":18446744073709551614}`: true,
		`{"claim":"n","exists":true}`:                    true, `{"claim":"n","exists":false}`: false, `{"claim":"none","exists":false}`: true,
		`{"claim":"o.in.x","equals":true}`: true, `{"claim":"o.in","exists":true}`: true, `{"claim":"o.in.y","exists":true}`: false,
		`{"claim":"dotted.name","equals":"y"}`: true, `{"claim":"N","exists":true}`: false, `{"claim":"list","equals":1}`: false,
		`{"anyOf":[{"claim":"n","equals":6},{"claim":"s","equals":"five"}]}`:                                     true,
		`{"anyOf":[{"claim":"n","equals":6},{"allOf":[{"claim":"n","equals":5},{"claim":"s","equals":"six"}]}]}`: false,
	} {
		p := mustPolicy(t, `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[`+condition+`]}]}`)
		if v := p.Evaluate("https://a", claims); v.Released != want || want == (len(v.Mismatches) > 0) {
			t.Errorf("%s: got %+v, want %v", condition, v, want)
		}
	}
}

// TestMismatchInWords is what a user reads when a key is refused.
func TestMismatchInWords(t *testing.T) {
	claims := mustClaims(t, `{"x-ms-sevsnpvm-hostdata":"00fe","x-ms-sevsnpvm-guestsvn":1,"x-ms-attestation-type":"sevsnpvm"}`)
	v := mustPolicy(t, aciPolicy).Evaluate("https://maa.example", claims)
	var got []string
	for _, m := range v.Mismatches {
		got = append(got, m.String())
	}
	want := []string{
		`x-ms-sevsnpvm-hostdata: got "00fe", want "00ff"`, `x-ms-sevsnpvm-is-debuggable: got none, want "false"`, `x-ms-sevsnpvm-guestsvn: got 1, want greaterOrEquals 100`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(aciPolicy, goodClaims)
	f.Add(`{"version":"1.0.0","anyOf":[{"authority":"https://a","anyOf":[{"allOf":[{"claim":"a.b","exists":true}]},{"claim":"d","less":7}]}]}`, `{"a":{"b":null},"d":1e9}`)
	f.Fuzz(func(t *testing.T, text, payload string) {
		p, err := ParsePolicy([]byte(text))
		if err != nil {
			return
		}
		written, err := p.Marshal()
		if err != nil {
			t.Fatalf("a policy that was read is not written: %v", err)
		}
		again, err := ParsePolicy(written)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := ParseClaims([]byte(payload))
		if err != nil {
			return
		}
		for _, a := range p.Authorities {
			v, w := p.Evaluate(a.URL, claims), again.Evaluate(a.URL, claims)
			if v.Released != w.Released || v.Released != (len(v.Mismatches) == 0) {
				t.Errorf("got %+v, and %+v of the policy as it is written", v, w)
			}
		}
	})
}
