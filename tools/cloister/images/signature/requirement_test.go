package signature

import (
	"maps"
	"strings"
	"testing"
)

func TestParseRequirement(t *testing.T) {
	for _, c := range []struct {
		text   string
		kind   kind
		values map[string]string
	}{
		{"cosign.pub", kindCosign, map[string]string{"key": "cosign.pub"}},
		{"keys/a,b=c.pub", kindCosign, map[string]string{"key": "keys/a,b=c.pub"}},
		{"cosign:key=a.pub", kindCosign, map[string]string{"key": "a.pub"}},
		{"cosign:identity=a@b.c,issuer=https://i,roots=r.json", kindCosign, map[string]string{"identity": "a@b.c", "issuer": "https://i", "roots": "r.json"}},
		{
			"cosign:identity=https://github.com/acme/app/.github/workflows/build.yml@refs/tags/v1,issuer=https://i?a=b,roots=r,tsa=t,rekor=k,ctlog=c,predicate=p", kindCosign,
			map[string]string{
				"identity": "https://github.com/acme/app/.github/workflows/build.yml@refs/tags/v1", "issuer": "https://i?a=b",
				"roots": "r", "tsa": "t", "rekor": "k", "ctlog": "c", "predicate": "p",
			},
		},
		{`cosign:identity=a\,roots=x,issuer=i, roots=r`, kindCosign, map[string]string{"identity": "a,roots=x", "issuer": "i", "roots": "r"}},
		{`notation:subject=C=US, ST=WA, O=acme\, roots=x, CN=a,roots=certs`, kindNotation, map[string]string{"subject": `C=US, ST=WA, O=acme\, roots=x, CN=a`, "roots": "certs"}},
		{"notation:subject=*,roots=certs,tsa=t,authorities=a", kindNotation, map[string]string{"subject": "*", "roots": "certs", "tsa": "t", "authorities": "a"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			r, err := ParseRequirement(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if r.kind != c.kind || !maps.Equal(r.values, c.values) || r.String() != c.text {
				t.Fatalf("got %s %v, want %s %v", r.kind, r.values, c.kind, c.values)
			}
		})
	}
}

func TestParseRequirementRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "is empty"},
		{strings.Repeat("x", maxRequirement+1), "want at most 8192"},
		{"cosign:", "want name=value"},
		{"cosign:cosign.pub", "want name=value"},
		{"cosign:x,key=a", "want name=value"},
		{"cosign:key=", "key= is empty"},
		{"cosign:key=a,key=b", "key= is given twice"},
		{"cosign:key=a,identity=b", "exclude each other"},
		{"cosign:key=a,roots=b", "exclude each other"},
		{"cosign:identity=a,isuer=b,roots=c", "isuer= is not known"},
		{"cosign:subject=a", "subject= is not known"},
		{"cosign:identity=a,roots=c", "issuer= is missing"},
		{"cosign:issuer=a,roots=c", "identity= is missing"},
		{"cosign:identity=a,issuer=b", "roots= is missing"},
		{"cosign:identity=a,identity-regexp=a,issuer=b,roots=c", "exclude each other"},
		{"cosign:identity-regexp=(,issuer=b,roots=c", "identity-regexp=: error parsing"},
		{"cosign:identity=a,issuer-regexp=),roots=c", "issuer-regexp=: error parsing"},
		{"notation:roots=a", "subject= is missing"},
		{"notation:subject=*", "roots= is missing"},
		{"notation:subject=*,roots=a,identity=b", "identity= is not known"},
		{"notation:subject=CN=a,roots=b", "C is missing"},
		{"notation:subject=C=US, ST=WA,roots=b", "O is missing"},
		{"notation:subject=C=US, ST=WA, O=a, O=b,roots=b", "is empty or there twice"},
		{"notation:subject=C=US, ST=WA, O=,roots=b", "is empty or there twice"},
		{"notation:subject=C=US, ST=WA, OO=a,roots=b", "attribute \"OO\" is not known"},
		{"notation:subject=C=US; ST=WA, O=a,roots=b", "needs a backslash"},
		{`notation:subject=C=US, ST=WA, O=a\`, "roots= is missing"},
		{`notation:roots=b,subject=C=US, ST=WA, O=a\`, "ends in a backslash"},
		{"notation:subject=US,roots=b", "has no \"=\""},
		{"notation:subject=C=US\\, ST=WA, O=a,roots=b", "ST is missing"},
	} {
		t.Run(c.text[:min(len(c.text), 60)], func(t *testing.T) {
			if r, err := ParseRequirement(c.text); err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 600 {
				t.Fatalf("got %v, %v; want an error that says %q", r, err, c.want)
			}
		})
	}
}

// TestSyntaxNamesEveryMember keeps the help true.
func TestSyntaxNamesEveryMember(t *testing.T) {
	for kind, names := range members {
		for _, name := range names {
			if !strings.Contains(Syntax, name+"=") {
				t.Errorf("%s: %s= is not in the help", kind, name)
			}
		}
	}
}

// TestWholeMatch does not let an alternative escape the anchors.
func TestWholeMatch(t *testing.T) {
	re, err := wholeMatch("a|b")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"a": true, "b": true, "ab": false, "xb": false, "a\n": false} {
		if re.MatchString(text) != want {
			t.Errorf("%q: got %t, want %t", text, !want, want)
		}
	}
	if re, err := wholeMatch("a)|(b"); err == nil {
		t.Fatalf("got %s, want an error", re)
	}
}
