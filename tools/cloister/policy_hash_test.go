package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
)

func TestPolicyHashForms(t *testing.T) {
	const text = "package policy\n"
	const want = "89d09cb5c2f579afa733a1f68ae0dd5ff13e59efa75b870c64ca9fd62e9ec139"
	raw, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	printed := "HOST_DATA " + want + "\nbase64    " + base64.StdEncoding.EncodeToString(raw) + "\n"
	encoded := base64.StdEncoding.EncodeToString([]byte(text)) + "\n"
	cases := []struct {
		name, stdin string
		args        []string
	}{
		{"file", "", []string{writeFile(t, "p.rego", text)}},
		{"stdin", text, []string{"-"}},
		{"base64", encoded, []string{"-", "--base64"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, err := policyCommand(t, c.stdin, append([]string{"hash"}, c.args...)...)
			if err != nil || stdout != printed || stderr != "" {
				t.Errorf("got %q, %q, %v, want %q", stdout, stderr, err, printed)
			}
		})
	}
	for _, c := range []struct{ stdin, want string }{{encoded, "--base64"}, {"", "empty"}, {"\xef\xbb\xbf" + text, "byte order mark"}, {"kind: Pod\n", "no policy"}} {
		if _, stderr, err := policyCommand(t, c.stdin, "hash", "-"); err != nil || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: got warning %q, %v, want %q", c.stdin, stderr, err, c.want)
		}
	}
}

func TestPolicyHashInitdata(t *testing.T) {
	const text = "package policy\n"
	doc, err := initdata.Build("sha384", map[string]string{initdata.PolicyKey: text})
	if err != nil {
		t.Fatal(err)
	}
	stdout, _, err := policyCommand(t, string(doc.Raw), "hash", "--initdata", "--json", "-")
	if err != nil {
		t.Fatal(err)
	}
	var got hashResult
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	digest := doc.HostData()
	want := hashResult{
		HostData: base64.StdEncoding.EncodeToString(digest[:]), HostDataHex: hex.EncodeToString(digest[:]), Bytes: len(doc.Raw),
		Carrier: "initdata", Algorithm: "sha384", PolicySHA256: hexSHA256([]byte(text)),
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if stdout, _, _ := policyCommand(t, string(doc.Raw), "hash", "--initdata", "-"); !strings.Contains(stdout, "\npolicy    "+want.PolicySHA256+"\n") {
		t.Errorf("got %q", stdout)
	}
}

func TestPolicyHashRefuses(t *testing.T) {
	cases := []struct {
		name, stdin string
		args        []string
		want        string
		code        int
	}{
		{"no-file", "", nil, "want POLICY", exitUsage},
		{"both", "", []string{"-", "--base64", "--initdata"}, "want one of", exitUsage},
		{"missing", "", []string{t.TempDir() + "/none"}, "no such file", exitFailed},
		{"not-base64", "package policy", []string{"-", "--base64"}, "base64", exitFailed},
		{"not-initdata", "package policy", []string{"-", "--initdata"}, "initdata", exitFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := policyCommand(t, c.stdin, append([]string{"hash"}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code || stdout != "" {
				t.Errorf("got %v, exit code %d and output %q, want %q and %d", err, exitCode(err), stdout, c.want, c.code)
			}
		})
	}
}
