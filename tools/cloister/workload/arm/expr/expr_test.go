package expr

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// fixture knows a few parameters; open has no value.
type fixture struct{}

func (fixture) Parameter(name string) (*tree.Node, error) {
	switch strings.ToLower(name) {
	case "open":
		return Unknown(), nil
	case "secret":
		return &tree.Node{Kind: tree.String, Text: "s3", Secret: true}, nil
	case "o":
		return jsontree.Parse([]byte(`{"Name": "n", "list": [1, 2, 3], "inner": {"a": 1, "b": [1]}}`))
	}
	return nil, fmt.Errorf("no parameter %q", name)
}

func (f fixture) Variable(name string) (*tree.Node, error) { return f.Parameter(name) }
func (fixture) CopyIndex(name string) (int64, error) {
	if name == "x" {
		return 0, errors.New("no loop")
	}
	return 3, nil
}

func (fixture) Function(_ string, args []*tree.Node) (*tree.Node, error) {
	if len(args) != 1 {
		return nil, errors.New("want one argument")
	}
	return args[0], nil
}

func evaluate(text string) (*tree.Node, error) {
	x, plain, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if x == nil {
		return tree.Str(plain), nil
	}
	return Eval(x, fixture{}, &Budget{})
}

// show writes a value as JSON; what is not known as its pattern in slashes.
func show(n *tree.Node) string {
	switch {
	case n.Kind == tree.Unknown:
		return "?"
	case n.Pattern != "":
		return "/" + n.Pattern + "/"
	case n.Known():
		return string(jsontree.Encode(n))
	}
	var parts []string
	for _, item := range n.Items {
		parts = append(parts, show(item))
	}
	for _, m := range n.Members {
		parts = append(parts, m.Name+":"+show(m.Value))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

var results = map[string]string{
	"plain": `"plain"`, "[[a]": `"[a]"`, "[a] b": `"[a] b"`, "[[a": `"[[a"`, "": `""`,
	"['it''s']": `"it's"`, "[ concat ( 'a' , 'b' ) ]": `"ab"`, "[CONCAT('a', 1, true())]": `"a1True"`,
	"[concat(createArray(1), createArray('b'))]": `[1,"b"]`, "[concat('a.', parameters('open'), '+')]": `/a\..*\+/`,
	"[concat(parameters('open'))]": `/.*/`, "[concat('a', null())]": `"a"`,
	"[format('{0}-{1:D3}-{{{0}}}', 'a', 7)]": `"a-007-{a}"`, "[format('{0}/{1}', 'a', parameters('open'))]": `/a/.*/`,
	"[format('{0}', createArray(1))]": `"[1]"`, "[format('{0:D3}', -7)]": `"-007"`,
	"[string(createObject('a', true()))]": `"{\"a\":true}"`, "[string(true())]": `"True"`, "[string(1)]": `"1"`, "[string(parameters('open'))]": "?",
	"[if(true(), 1, div(1, 0))]": "1", "[if(equals('a', 'A'), 1, 2)]": "2", "[if(parameters('open'), 1, 2)]": "?", "[if(parameters('open'), 1, 1)]": "1",
	"[and(false(), parameters('open'))]": "false", "[and(true(), parameters('open'))]": "?", "[or(parameters('open'), true())]": "true", "[or(false(), false())]": "false",
	"[and(true(), true())]": "true", "[not(false())]": "true", "[coalesce(null(), 'a')]": `"a"`, "[coalesce(null(), null())]": "null", "[coalesce(parameters('open'), 'a')]": "?",
	"[toLower('AÉ')]": `"aé"`, "[toUpper(parameters('open'))]": "?", "[trim('  a ')]": `"a"`, "[replace('a-b-c', '-', '')]": `"abc"`,
	"[substring('hello', 1, 3)]": `"ell"`, "[substring('hello', 2)]": `"llo"`, "[split('a,b;c', createArray(',', ';'))]": `["a","b","c"]`, "[split('a::b', '::')]": `["a","b"]`,
	"[join(createArray('a', 1), '-')]": `"a-1"`, "[padLeft('7', 3, '0')]": `"007"`, "[startsWith('Hello', 'hE')]": "true", "[endsWith('Hello', 'LO')]": "true",
	"[indexOf('Hello', 'L')]": "2", "[indexOf(createArray('a', 'b'), 'b')]": "1", "[indexOf('a', 'b')]": "-1",
	"[base64('hi')]": `"aGk="`, "[base64ToString('aGk=')]": `"hi"`, "[base64ToJson(base64('{\"a\":1}'))]": `{"a":1}`, "[json('[1, null]')]": `[1,null]`, "[json('null')]": "null",
	"[uriComponent('a b/c?é')]": `"a%20b%2Fc%3F%C3%A9"`, "[uriComponentToString('a%20b')]": `"a b"`,
	"[uri('http://x.example/a/b.json', 'c')]": `"http://x.example/a/c"`, "[uri('http://x.example/a/', '/c')]": `"http://x.example/a/c"`,
	"[int('42')]": "42", "[bool('TRUE')]": "true", "[bool(0)]": "false", "[add(1, mul(2, 3))]": "7", "[sub(1, 2)]": "-1", "[div(7, 2)]": "3", "[mod(7, 3)]": "1",
	"[min(3, 1, 2)]": "1", "[max(createArray(3, 1))]": "3", "[greater(2, 1)]": "true", "[less('a', 'b')]": "true", "[lessOrEquals(1, 1)]": "true", "[greaterOrEquals(1, 2)]": "false",
	"[length('héé')]": "3", "[length(parameters('o').list)]": "3", "[length(createArray(parameters('open')))]": "1", "[length(parameters('open'))]": "?",
	"[empty('')]": "true", "[empty(createObject())]": "true", "[empty(parameters('open'))]": "?", "[empty(null())]": "true",
	"[contains('abc', 'b')]": "true", "[contains(createObject('Key', 1), 'key')]": "true", "[contains(createArray('a'), 'A')]": "false",
	"[first('abc')]": `"a"`, "[last(createArray(1, 2))]": "2", "[first(createArray())]": "null", "[last('')]": `""`,
	"[take(createArray(1, 2, 3), 2)]": "[1,2]", "[skip('abc', 1)]": `"bc"`, "[take('abc', 9)]": `"abc"`, "[skip(createArray(1), -1)]": "[1]", "[range(2, 3)]": "[2,3,4]",
	"[array('a')]": `["a"]`, "[array(createArray(1))]": "[1]", "[createArray('a', parameters('open'))]": `["a" ?]`,
	"[createObject('a', parameters('open'), 'b', 1)]":                                           "[a:? b:1]",
	"[union(createArray(1, 2), createArray(2, 3))]":                                             "[1,2,3]",
	"[union(parameters('o').inner, createObject('A', 2, 'c', 3))]":                              `{"a":2,"b":[1],"c":3}`,
	"[union(createObject('x', createObject('a', 1)), createObject('x', createObject('b', 2)))]": `{"x":{"a":1,"b":2}}`,
	"[intersection(createArray(1, 2), createArray(2, 3))]":                                      "[2]",
	"[intersection(createObject('a', 1, 'b', 2), createObject('a', 1, 'b', 3))]":                `{"a":1}`,
	"[flatten(createArray(createArray(1), createArray(2)))]":                                    "[1,2]",
	"[items(createObject('b', 1, 'a', 2))]":                                                     `[{"key":"a","value":2},{"key":"b","value":1}]`,
	"[objectKeys(createObject('b', 1, 'a', 2))]":                                                `["a","b"]`,
	"[parameters('o').NAME]":                                                                    `"n"`,
	"[parameters('o')['list'][1]]":                                                              "2",
	"[parameters('o').?none]":                                                                   "null",
	"[parameters('o').list[?9]]":                                                                "null",
	"[variables('o').inner.b[0]]":                                                               "1",
	"[resourceGroup().location]":                                                                "?",
	"[listKeys('x', '1').keys[0].value]":                                                        "?",
	"[uniqueString('a')]":                                                                       "?",
	"[utcNow('d')]":                                                                             "?",
	"[copyIndex()]":                                                                             "3",
	"[copyIndex(2)]":                                                                            "5",
	"[copyIndex('l', 1)]":                                                                       "4",
	"[my.func('a')]":                                                                            `"a"`,
	"[map(createArray(1, 2), lambda('i', add(lambdaVariables('i'), 1)))]":                       "[2,3]",
	"[filter(createArray(1, 2), lambda('i', greater(lambdaVariables('i'), 1)))]":                "[2]",
	"[map(createArray('a'), lambda('v', 'n', format('{0}{1}', lambdaVariables('v'), lambdaVariables('n'))))]": `["a0"]`,
	"[reduce(createArray(1, 2), 10, lambda('sum', 'i', add(lambdaVariables('sum'), lambdaVariables('i'))))]":  "13",
	"[toObject(createArray('a', 'b'), lambda('n', lambdaVariables('n')))]":                                    `{"a":"a","b":"b"}`,
	"[toObject(createArray('a'), lambda('n', concat('x', lambdaVariables('n'))), lambda('n', 1))]":            `{"xa":1}`,
	"[shallowMerge(createArray(createObject('a', 1), createObject('A', 2, 'b', 3)))]":                         `{"a":2,"b":3}`,
	"[tryGet(parameters('o'), 'list', 1)]":                                                                    "2", "[tryGet(parameters('o'), 'none', 'x')]": "null", "[tryGet(parameters('open'), 'x')]": "?",
	"[lastIndexOf('Hello', 'L')]": "3", "[lastIndexOf(createArray('b', 'b'), 'b')]": "1",
	"[map(parameters('open'), lambda('i', 1))]": "?",
}

func TestEval(t *testing.T) {
	for text, want := range results {
		n, err := evaluate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := show(n); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// Whoever adds a function says here what it does.
func TestEveryFunctionIsTested(t *testing.T) {
	var all strings.Builder
	for text := range results {
		all.WriteString(strings.ToLower(text))
	}
	for _, name := range Functions() {
		if !strings.Contains(all.String(), name+"(") && !strings.Contains(all.String(), name+" (") {
			t.Errorf("%s: no result is written down", name)
		}
	}
}

func TestEvalRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"[concat(]": "want a function, a string in single quotes or a number", "[concat('a'] ]": "want ',' or ')'", "[]": "got the end, want a function",
		"['a]": "a string without an end", "[a]": `got the end after "a", want '('`, "[1a]": `got 'a', want the end`, "[99999999999999999999]": "not a whole number of 64 bits",
		"[f().]": "want a member's name", "[f()[1]": "want ']'", "[" + strings.Repeat("not(", 70) + "]": "nested deeper than 64", "[f(" + strings.Repeat("'a',", 2) + "]": "want a function",
		"[frob()]": `function "frob" is not understood`, "[concat()]": "concat: got 0 arguments, want at least 1", "[not(true(), true())]": "got 2 arguments, want 1", "[substring('a')]": "want at least 2",
		"[substring('a', 1, 2, 3)]": "want at most 3", "[not('a')]": "got a string, want a boolean", "[div(1, 0)]": "division by zero", "[mod(1, 0)]": "division by zero",
		"[add(2147483648, 1)]": "numbers of 32 bits", "[int('x')]": "not a whole number", "[bool('x')]": "want a boolean", "[substring('abc', 2, 2)]": "2 characters from 2 of a string of 3",
		"[json('{')]": `read "{"`, "[base64ToString('*')]": "decode", "[base64ToString('/w==')]": "not UTF-8", "[range(0, 10001)]": "want at most 10000", "[format('{1}', 'a')]": "names none of the 1 values",
		"[format('{0', 'a')]": "has no partner", "[format('}', 'a')]": "has no partner", "[format('{0:X}', 1)]": "only D of a whole number", "[createObject('a')]": "a name without a value",
		"[createObject('a', 1, 'A', 2)]": "is there twice", "[parameters('o').none]": `no member "none"; there are "Name", "list", "inner"`, "[parameters('o').list[3]]": "element 3 of an array of 3",
		"[parameters('o').Name.x]": "of a string, want an object", "[copyIndex('x')]": "no loop", "[parameters(1)]": "want a string that is known", "[parameters(parameters('open'))]": "want a string that is known",
		"[concat(createArray(1), 'a')]": "want one or the other", "[union(createArray(1), createObject())]": "want arrays or objects", "[lambda('i', 1)]": "stands outside map or filter",
		"[lambdaVariables('i')]": "no lambda around", "[map('a', lambda('i', 1))]": "want an array and a lambda", "[uri('x', 'y')]": "want an absolute URI", "[replace('a', '', 'b')]": "an empty string",
		"[join('a', 'b')]": "want an array", "[reduce('a', 0, lambda('i', 1))]": "want an array, a value and a lambda", "[toObject(createArray(1), lambda('i', 1))]": "name 0: got a number",
		"[shallowMerge(createArray(1))]": "want objects", "[tryGet(parameters('o').list, 'a')]": "want an object", "[length(1)]": "want a string, an array or an object", "[if('a', 1, 2)]": "condition: got a string", "[padLeft('a', 5000)]": "at most 4096", "[min()]": "at least 1",
		"[concat('a', createObject())]": "want a string, a number or a boolean", "[flatten(createArray(1))]": "want arrays", "[items(1)]": "want an object",
	} {
		n, err := evaluate(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if n != nil {
			t.Errorf("%s: an error came with a value", text)
		}
	}
}

func TestEvalSecret(t *testing.T) {
	for text, want := range map[string]bool{
		"[parameters('secret')]": true, "[concat('a', parameters('secret'))]": true, "[if(true(), parameters('secret'), 'a')]": true, "[concat('a')]": false,
		"[base64(toLower(parameters('secret')))]": true, "[concat(parameters('open'), parameters('secret'))]": true,
	} {
		n, err := evaluate(text)
		if err != nil || n.Secret != want {
			t.Errorf("%s: got %+v, %v, want secret %t", text, n, err, want)
		}
	}
}

func TestBudget(t *testing.T) {
	text := "[" + strings.Repeat("join(map(range(0, 10000), lambda('i', ", 3) + "'x'" + strings.Repeat(")), 'y')", 3) + "]"
	_, err := evaluate(text)
	if !errors.Is(err, ErrBudget) {
		t.Errorf("got %v, want %v", err, ErrBudget)
	}
}

func FuzzEval(f *testing.F) {
	for _, seed := range []string{
		"[concat('a', parameters('open'), format('{0:D2}', 1))]", "[[a]", "[if(equals(parameters('o').list[0], 1), take('abc', 2), null())]",
		"[map(range(0, 3), lambda('i', string(lambdaVariables('i'))))]", "[union(createObject('a', 1), json('{\"b\":[1]}'))]", "[base64ToString(base64('é'))]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := evaluate(text)
		if err != nil {
			if n != nil {
				t.Fatal("an error came with a value")
			}
			return
		}
		if n == nil {
			t.Fatal("neither a value nor an error")
		}
		if n.Pattern != "" && n.Text != "" {
			t.Fatalf("a pattern and a text: %+v", n)
		}
		again, err := evaluate(text)
		if err != nil || !tree.Equal(n, again) {
			t.Fatalf("a second time: %v", err)
		}
	})
}
