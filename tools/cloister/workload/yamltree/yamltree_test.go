package yamltree

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

func TestParse(t *testing.T) {
	const doc = `# first
---
a: yes
b: "yes"
c: 010
d: 1_000
e: 1.50
f: ~
g: [x, 'y', 0x10, 2020-01-02, 1:30]
h: |
  text
  more
i: &anchor {k: v}
j: *anchor
---
`
	f, err := Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Documents) != 1 {
		t.Fatalf("got %d documents, want 1", len(f.Documents))
	}
	const want = `{"a":true,"b":"yes","c":8,"d":1000,"e":1.5,"f":null,"g":["x","y",16,"2020-01-02","1:30"],"h":"text\nmore\n","i":{"k":"v"},"j":{"k":"v"}}`
	if got := string(jsontree.Encode(f.Documents[0])); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := f.Documents[0].Member("j").Line; got != 14 {
		t.Errorf("line of an alias: got %d, want 14", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ name, doc, want string }{
		{"twice", "a: 1\n\"a\": 2", `line 2: key "a" is there twice, first in line 1`},
		{"merge", "a: &a {b: 1}\nc:\n  <<: *a", "line 3: merge keys (<<) are not understood"},
		{"number-key", "1: a", "line 1: key 1 is a number: write it in quotes"},
		{"word-key", "on: a", "line 1: key on is a boolean: write it in quotes"},
		{"list-key", "[a]: b", "a key is not a string"},
		{"tag", "a: !!binary aGk=", "line 1: tag !!binary is not understood"},
		{"own-tag", "a: !frob {}", "line 1: tag !frob is not understood"},
		{"bare-tag", "a: &x ! 00", "line 1: tag ! is not understood"},
		{"infinity", "a: .inf", "not a number that JSON has"},
		{"syntax", "a: b\n c: d: e", "line 2"},
		{"not-utf8", "a: \xff", "not UTF-8"},
		{"deep", strings.Repeat("[", 65) + strings.Repeat("]", 65), "nested deeper than 64"},
		{"large", strings.Repeat(" ", MaxBytes+1), "at most 8388608 are read"},
		{"aliases", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e]", "more than 200000 values"},
		{"loop", "a: &a [*a]", "nested deeper than 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse([]byte(test.doc))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || f != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	path := []string{"m", "a", "x.y/z"}
	for _, test := range []struct{ name, in, want string }{
		{"plain", "m:\n  a:\n    x.y/z: old # c\n    b: 1\n", "m:\n  a:\n    x.y/z: \"NEW\" # c\n    b: 1\n"},
		{"double", "m: {a: {\"x.y/z\": \"o\\\"ld\"}}", "m: {a: {\"x.y/z\": \"NEW\"}}"},
		{"single", "m:\n  a:\n    x.y/z: 'o''ld'\n", "m:\n  a:\n    x.y/z: 'NEW'\n"},
		{"literal", "m:\n  a:\n    x.y/z: |\n      one\n\n      two\n    b: 1\n", "m:\n  a:\n    x.y/z: \"NEW\"\n    b: 1\n"},
		{"folded-end", "m:\n  a:\n    x.y/z: >-\n      one\n      two\n\n", "m:\n  a:\n    x.y/z: \"NEW\"\n\n"},
		{"plain-lines", "m:\n  a:\n    x.y/z: one\n      two\n  b: 1\n", "m:\n  a:\n    x.y/z: \"NEW\"\n  b: 1\n"},
		{"empty-value", "m:\n  a:\n    x.y/z:\n    b: 1\n", "m:\n  a:\n    x.y/z: \"NEW\"\n    b: 1\n"},
		{"empty-map", "m:\n  a: # none\n  b: 1\n", "m:\n  a: {\"x.y/z\": \"NEW\"} # none\n  b: 1\n"},
		{"null-word", "m:\n  a: null\n", "m:\n  a: {\"x.y/z\": \"NEW\"}\n"},
		{"empty-flow", "m:\n  a: {}\n", "m:\n  a: {\"x.y/z\": \"NEW\"}\n"},
		{"flow", "m:\n  a: {b: 1}\n", "m:\n  a: {\"x.y/z\": \"NEW\", b: 1}\n"},
		{"no-member", "m:\n  a:\n    b: 1\n", "m:\n  a:\n    x.y/z: \"NEW\"\n    b: 1\n"},
		{"no-map", "m:\r\n  b: 1\r\n", "m:\r\n  a:\r\n    x.y/z: \"NEW\"\r\n  b: 1\r\n"},
		{"nothing", "é: 1\n", "m:\n  a:\n    x.y/z: \"NEW\"\né: 1\n"},
		{"json", "{\"m\": {\"b\": 1}}\n", "{\"m\": {\"a\": {\"x.y/z\": \"NEW\"}, \"b\": 1}}\n"},
		{"second", "q: 1\n---\nm:\n  a:\n    x.y/z: old\n", "q: 1\n---\nm:\n  a:\n    x.y/z: \"NEW\"\n"},
		{"same", "m:\n  a:\n    x.y/z: NEW\n", "m:\n  a:\n    x.y/z: NEW\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Set(f.Documents[len(f.Documents)-1], path, "NEW")
			if err != nil || string(got) != test.want {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, test.want)
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"alias", "k: &k {x.y/z: old}\nm:\n  a: *k\n", ErrNotEditable.Error()},
		{"anchor", "m:\n  a:\n    x.y/z: &v old\nother: *v\n", ErrNotEditable.Error()},
		{"list", "m: [1]\n", "line 1: got an array, want a mapping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Set(f.Documents[0], []string{"m", "a", "x.y/z"}, "NEW")
			if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

var seeds = []string{
	"a: yes\nb: 010\nc: [1.5, ~, 'x']\n", "a: |\n  x\nb: >-\n  y\n  z\n", "a: &x {b: c}\nd: *x\n", "---\na: 1\n---\nb: 2\n", "m:\n  a:\n    k: one\n      two\n", "{\"a\": [1, {}]}",
}

// What is read here, Kubernetes' own reader reads the same.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if file != nil {
				t.Fatal("an error came with a file")
			}
			return
		}
		if len(file.Documents) != 1 || bytes.Contains(data, []byte("---")) || bytes.Contains(data, []byte("...")) {
			return
		}
		text, err := yaml.YAMLToJSONStrict(data)
		if err != nil {
			t.Skip("Kubernetes' reader refuses it: ", err)
		}
		want, err := jsontree.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := file.Documents[0]; !same(got, want) {
			t.Fatalf("got %s, want %s", jsontree.Encode(got), text)
		}
	})
}

// same compares values; of numbers with fractions only that they are numbers.
func same(a, b *tree.Node) bool {
	if a.Kind == tree.Number && b.Kind == tree.Number && strings.ContainsAny(a.Text+b.Text, ".eE") {
		return true
	}
	if len(a.Items) != len(b.Items) || len(a.Members) != len(b.Members) || a.Kind != b.Kind {
		return false
	}
	for i := range a.Items {
		if !same(a.Items[i], b.Items[i]) {
			return false
		}
	}
	for _, m := range a.Members {
		if o := b.Member(m.Name); o == nil || !same(m.Value, o) {
			return false
		}
	}
	return a.Text == b.Text
}

// Set changes the one value or refuses; it compares by itself, so that what is left to see here is that it holds for
// repeating too.
func FuzzSet(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), "m", "a")
	}
	f.Fuzz(func(t *testing.T, data []byte, first, second string) {
		file, err := Parse(data)
		if err != nil || len(file.Documents) == 0 {
			return
		}
		out, err := file.Set(file.Documents[0], []string{first, second}, "NEW")
		if err != nil {
			if out != nil {
				t.Fatal("an error came with a file")
			}
			return
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		once, err := again.Set(again.Documents[0], []string{first, second}, "NEW")
		if err != nil || !bytes.Equal(once, out) {
			t.Fatalf("a second time: %v\n%s", err, once)
		}
	})
}
