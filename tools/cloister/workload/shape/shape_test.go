package shape

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

var table = Object("", "a table", With([]Spec{
	Text("text", "a text"), Bool("bool", "a boolean"), Whole("whole", "a number"), Texts("texts", "texts"), Map("map", "a map"),
	List("list", "a list", Text("name", "a name")), Any("any", "anything"), Refused("refused", "it cannot be"),
}, Ignored("no effect", "ignored"))...)

func parse(t *testing.T, text string) *tree.Node {
	t.Helper()
	n, err := jsontree.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		fold             bool
	}{
		{"all", `{"text": "a", "bool": true, "whole": -3, "texts": ["a"], "map": {"k": "v"}, "list": [{"name": "n"}], "any": 1, "ignored": {"x": [1]}}`, "", false},
		{"nulls", `{"text": null, "list": null, "refused": null}`, "", false},
		{"case", `{"Text": "a"}`, "f:1: Text: not understood; what is understood here: any, bool, ignored, list, map, text, texts, whole", false},
		{"folded", `{"TEXT": "a", "List": [{"NAME": "n"}]}`, "", true},
		{"folded-twice", "{\"text\": \"a\",\n\"Text\": \"b\"}", "f:2: Text: the member is there twice", true},
		{"below", `{"list": [{"name": "n"}, {"nam": 1}]}`, "f:1: list[1].nam: not understood; what is understood here: name", false},
		{"text", `{"text": 1}`, "f:1: text: got a number (1), want a string", false},
		{"bool", `{"bool": "true"}`, "f:1: bool: got a string, want a boolean", false},
		{"fraction", `{"whole": 1.5}`, "f:1: whole: got a number (1.5), want a whole number", false},
		{"too-large", `{"whole": 9223372036854775808}`, "want a whole number", false},
		{"texts", `{"texts": ["a", 1]}`, "f:1: texts[1]: got a number (1), want a string", false},
		{"null-in-texts", `{"texts": [null]}`, "f:1: texts[0]: got null, want a string", false},
		{"null-in-list", `{"list": [null]}`, "f:1: list[0]: got null, want an object", false},
		{"map", `{"map": {"k": []}}`, "f:1: map.k: got an array, want a string", false},
		{"list", `{"list": {}}`, "f:1: list: got an object, want an array of objects", false},
		{"refused", `{"refused": 1}`, "f:1: refused: refused: it cannot be", false},
		{"not-an-object", `[]`, "got an array, want an object", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &Reader{File: "f", Fold: test.fold}
			ok := r.Root(parse(t, test.text), &table, "").Check()
			err := r.Err()
			if ok != (err == nil) || ok != (test.want == "") || !ok && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %t, %v, want %q", ok, err, test.want)
			}
		})
	}
}

func TestCheckCountsMistakes(t *testing.T) {
	var b strings.Builder
	for i := range maxErrors + 7 {
		fmt.Fprintf(&b, `"x%d": 1, `, i)
	}
	r := &Reader{File: "f"}
	r.Root(parse(t, "{"+b.String()+`"text": "a"}`), &table, "").Check()
	lines := strings.Split(r.Err().Error(), "\n")
	if len(lines) != maxErrors+1 || lines[maxErrors] != "f: 7 more like these" {
		t.Errorf("got %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestValues(t *testing.T) {
	r := &Reader{File: "f"}
	v := r.Root(parse(t, "{\"text\": \"a\", \"bool\": true, \"whole\": 7, \"texts\": [\"a\", \"b\"],\n\"map\": {\"k\": \"v\"}, \"list\": [{}, {\"name\": \"n\"}]}"), &table, "at")
	if got := v.Get("list").Items()[1].Get("name"); got.Known() != "n" || got.Path() != "at.list[1].name" || got.Origin().Line != 2 {
		t.Errorf("got %q at %v", got.Known(), got.Origin())
	}
	if *v.Get("bool").Bool() != true || *v.Get("whole").Whole() != 7 || v.Get("text").Text().Value != "a" {
		t.Error("scalars are read wrongly")
	}
	if diff := cmp.Diff([]string{"a", "b"}, v.Get("texts").KnownTexts()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"k": "v"}, v.Get("map").Map()); diff != "" {
		t.Error(diff)
	}
	if v.Get("any").Is() || v.Get("any").Text() != nil || v.Get("list").Bool() != nil || v.Get("text").Whole() != nil || v.Get("any").Map() != nil {
		t.Error("what is not there is read as something")
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestUnknownValues(t *testing.T) {
	unknown := func() *tree.Node { return &tree.Node{Kind: tree.Unknown, Line: 4} }
	for _, name := range []string{"bool", "whole", "texts", "map", "list"} {
		r := &Reader{File: "f"}
		if r.Root(&tree.Node{Kind: tree.Object, Members: []tree.Member{{Name: name, Value: unknown()}}}, &table, "").Check() || !strings.Contains(r.Err().Error(), notKnown) {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
	for exact, want := range map[bool]string{false: ".*", true: "a.*"} {
		r := &Reader{File: "f", Exact: exact}
		v := r.Root(&tree.Node{Kind: tree.Object, Members: []tree.Member{{Name: "text", Value: &tree.Node{Kind: tree.String, Pattern: "a.*"}}}}, &table, "")
		if got := v.Get("text").Text(); !v.Check() || !got.Wildcard || got.Value != want {
			t.Errorf("exact %t: got %+v, want %q", exact, got, want)
		}
		if v.Get("text").Known() != "" || r.Err() == nil {
			t.Error("a pattern was taken for a text")
		}
	}
}

// A reader that asks for what its table has not would read something that is not listed.
func TestGetPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	(&Reader{}).Root(parse(t, "{}"), &table, "").Get("frob")
}

func TestFields(t *testing.T) {
	want := []workload.Field{
		{Path: "p.text", Meaning: "a text"},
		{Path: "p.bool", Meaning: "a boolean"},
		{Path: "p.whole", Meaning: "a number"},
		{Path: "p.texts[]", Meaning: "texts"},
		{Path: "p.map.*", Meaning: "a map"},
		{Path: "p.list[]", Meaning: "a list"},
		{Path: "p.list[].name", Meaning: "a name"},
		{Path: "p.any", Meaning: "anything"},
		{Path: "p.refused", Meaning: "refused: it cannot be"},
		{Path: "p.ignored", Meaning: "no effect", NoEffect: true},
	}
	if diff := cmp.Diff(want, table.Fields("p")); diff != "" {
		t.Error(diff)
	}
}
