package fragmentgen_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestTextGolden(t *testing.T) {
	text := fragmentgen.Text{
		Namespace: "side", SVN: "7", Containers: []json.RawMessage{containerJSON(t), containerJSON(t, `"/bin/side"`, `"/bin/<other> & \u00e4"`)},
		Fragments: []fragmentgen.Entry{{Issuer: "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.3", Feed: "registry.example/infra", MinimumSVN: "4", Includes: []string{"containers"}}},
	}
	for name, pretty := range map[string]bool{"two.rego": false, "two-pretty.rego": true} {
		got, err := text.Rego(pretty)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
		doc, err := fragmentgen.Check(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		if len(doc.Containers) != 2 || doc.Containers[1].Command[0] != "/bin/<other> & ä" || doc.FrameworkVersion != fragmentgen.DefaultFramework {
			t.Errorf("%s: got %+v", name, doc.Containers)
		}
	}
}

func TestTextRefuses(t *testing.T) {
	type refused struct{ namespace, svn, want string }
	cases := []refused{
		{"", "1", "namespace"},
		{"a-b", "1", "namespace"},
		{"1a", "1", "namespace"},
		{"a b", "1", "namespace"},
		{"a\npackage b", "1", "namespace"},
		{"data.a", "1", "namespace"},
		{strings.Repeat("a", 129), "1", "namespace"},
		{"side", "", "svn"},
		{"side", "-1", "svn"},
		{"side", "01", "svn"},
		{"side", "1.0", "svn"},
		{"side", "+1", "svn"},
		{"side", "9223372036854775808", "svn"},
		{"side", "1\"", "svn"},
	}
	for _, name := range fragment.Reserved {
		cases = append(cases, refused{name, "1", "is the agent's"})
	}
	for _, c := range cases {
		got, err := fragmentgen.Text{Namespace: c.namespace, SVN: c.svn}.Rego(false)
		if got != nil {
			t.Errorf("%q, %q: got a text", c.namespace, c.svn)
		}
		wantError(t, err, c.want)
	}
	for _, reserved := range []string{"framework", "api", "policy", "metadata"} { // policy contract, section 2.6
		if fragmentgen.CheckNamespace(reserved) == nil {
			t.Errorf("%s is allowed", reserved)
		}
	}
}

// A container that the framework would pass over, or read otherwise than it looks, is an error.
func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"missing":   {`"layers": [`, `"lairs": [`, "layers"},
		"unknown":   {`"id": "side"`, `"id": "side", "more": 1`, "more"},
		"type":      {`"allow_elevated": false`, `"allow_elevated": "no"`, "allow_elevated"},
		"duplicate": {`"id": "side"`, `"id": "side", "id": "other"`, "id"},
	} {
		text := fmt.Sprintf("package side\n\nsvn := \"1\"\nframework_version := \"0.2.3\"\n\ncontainers := [%s]\n", containerJSON(t, c.old, c.new))
		_, err := fragmentgen.Check(t.Context(), []byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in an error", name, err, c.want)
		}
	}
	_, err := fragmentgen.Check(t.Context(), make([]byte, fragment.MaxSize+1))
	wantError(t, err, "at most")
}

func TestReadContainers(t *testing.T) {
	one := string(containerJSON(t))
	policy := string(policyFor(t))
	policy = strings.Replace(policy, "containers := []", "containers := ["+one+"]", 1)
	for name, c := range map[string]struct {
		text, framework string
		n               int
	}{
		"object":   {one, "", 1},
		"list":     {"[" + one + "," + one + "]", "", 2},
		"wrapped":  {`{"containers": [` + one + `]}`, "", 1},
		"fragment": {string(sideText(t)), "0.2.3", 1},
		"policy":   {policy, "0.5.0", 1},
		"comment":  {"# made by hand\n" + policy, "0.5.0", 1},
	} {
		got, err := fragmentgen.ReadContainers(t.Context(), []byte(c.text))
		if err != nil || len(got.Objects) != c.n || got.FrameworkVersion != c.framework {
			t.Errorf("%s: got %d of %q, %v", name, len(got.Objects), got.FrameworkVersion, err)
			continue
		}
		text, err := fragmentgen.Text{Namespace: "side", SVN: "1", Containers: got.Objects, FrameworkVersion: got.FrameworkVersion}.Rego(false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fragmentgen.Check(t.Context(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": " \n", "json": "[{]", "numbers": "[1]", "string": `{"containers": "x"}`, "others": `{"containers": [], "fragments": []}`,
		"duplicate": `{"a": 1, "a": 2}`, "rego": "package side\ncontainers := [", "none": "package side\nsvn := 1\n", "trailing": one + one,
	} {
		if got, err := fragmentgen.ReadContainers(t.Context(), []byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	_, err := fragmentgen.Join(fragmentgen.Containers{FrameworkVersion: "0.2.3"}, fragmentgen.Containers{}, fragmentgen.Containers{FrameworkVersion: "0.5.0"})
	wantError(t, err, "0.2.3", "0.5.0")
}
