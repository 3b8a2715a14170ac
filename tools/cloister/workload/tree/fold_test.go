package tree

import "testing"

// Unicode folds U+017F to s and U+212A to k: names of documents are not.
func TestFoldIsASCII(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"securityContext", "SECURITYcontext", true},
		{"securityContext", "\u017fecurityContext", false},
		{"k", "\u212a", false},
		{"é", "É", false},
		{"@[`{", "`{@[", false},
		{"a", "ab", false},
	} {
		if got := EqualFold(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: got %t", test.a, test.b, got)
		}
		if got := Fold(test.a) == Fold(test.b); got != test.want {
			t.Errorf("folded %q and %q: got %t", test.a, test.b, got)
		}
	}
}

func TestQuoteHides(t *testing.T) {
	inner := &Node{Kind: String, Text: "s3", Secret: true}
	for want, n := range map[string]*Node{
		`"a"`: Str("a"), "(secret)": {Kind: Array, Items: []*Node{{Kind: Object, Members: []Member{{Name: "a", Value: inner}}}}}, "null": {},
	} {
		if got := n.Quote(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
