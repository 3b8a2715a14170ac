package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

func TestParsePlaces(t *testing.T) {
	const doc = "\xef\xbb\xbf// first\n{\n  /* two\n lines */ \"a\": [1.50, \"x\\u00e9\\ud83d\\ude00\"],\r\n  \"b\": {\"c\": null}\n}\n"
	n, err := Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	a := n.Member("a")
	if a.Line != 4 || doc[a.Start:a.End] != `[1.50, "x\u00e9\ud83d\ude00"]` {
		t.Errorf("a: line %d, bytes %q", a.Line, doc[a.Start:a.End])
	}
	if got := a.Items[0].Text; got != "1.50" {
		t.Errorf("number: got %q, want it as written", got)
	}
	if got := a.Items[1].Text; got != "xé😀" {
		t.Errorf("string: got %q", got)
	}
	b := n.Members[1]
	if b.Line != 5 || !strings.HasPrefix(doc[b.Start:], `"b"`) || b.Value.Member("c").Kind != tree.Null {
		t.Errorf("b: line %d, start %q", b.Line, doc[b.Start:])
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ name, doc, want string }{
		{"empty", "", "line 1: got the end, want a value"},
		{"twice", "{\"a\":1,\n\"\\u0061\":2}", `line 2: member "a" is there twice, first in line 1`},
		{"trailing-comma", "[1,]", "got ']', want a value"},
		{"trailing", "{} x", "'x' after the document's end"},
		{"leading-zero", "01", "'1' after the document's end"},
		{"lone-surrogate", `"\ud800x"`, "half of a surrogate pair"},
		{"control", "\"a\nb\"", "must be written as an escape"},
		{"not-utf8", "\"\xff\"", "byte 0xff in a string is not UTF-8"},
		{"escape", `"\x"`, `escape \x is not JSON`},
		{"open-string", `"abc`, "a string without an end"},
		{"open-comment", "/* {}", "a comment without an end"},
		{"slash", "/ 1", "want a value or a comment"},
		{"deep", strings.Repeat("[", MaxDepth+1), "nested deeper than 64"},
		{"exponent", "1e", "got the end, want a digit"},
		{"large", strings.Repeat(" ", MaxBytes+1), "at most 16777216 are read"},
		{"many", "[" + strings.Repeat("1,", MaxNodes) + "1]", "more than 500000 values"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.doc))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	const doc = `{"z":[1.0,-2e+3,true,null],"a":{"b":"<\u0001\"é"}}`
	n, err := Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(Encode(n)); got != doc {
		t.Errorf("got %s, want %s", got, doc)
	}
}

// What is read here the standard library reads the same, where there are no comments and no mark.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,"x\u00e9"],"b":{"c":null,"d":true}}`, "// c\n[/* x */]", `{"a":1,"a":2}`, `"\ud83d\ude00"`, "\xef\xbb\xbf{}", "[1,]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse(data)
		if err != nil {
			if n != nil {
				t.Error("an error came with a value")
			}
			return
		}
		checkPlaces(t, data, n)
		again, err := Parse(Encode(n))
		if err != nil || !tree.Equal(n, again) {
			t.Fatalf("encoded and read again: %v", err)
		}
		if bytes.Contains(data, []byte("//")) || bytes.Contains(data, []byte("/*")) || bytes.HasPrefix(data, mark) {
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, data); err != nil {
			t.Fatalf("the standard library refuses it: %v", err)
		}
	})
}

func checkPlaces(t *testing.T, data []byte, n *tree.Node) {
	if n.Start < 0 || n.End <= n.Start || n.End > len(data) {
		t.Fatalf("bytes %d to %d of %d", n.Start, n.End, len(data))
	}
	if want := 1 + bytes.Count(data[:n.Start], []byte("\n")); n.Line != want {
		t.Fatalf("line: got %d, want %d", n.Line, want)
	}
	for _, item := range n.Items {
		checkPlaces(t, data, item)
	}
	for _, m := range n.Members {
		checkPlaces(t, data, m.Value)
	}
}
