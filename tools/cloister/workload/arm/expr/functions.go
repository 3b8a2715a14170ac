package expr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// functions are those whose result follows from their arguments alone.
var functions = map[string]function{
	"null":  {0, 0, deep, func([]*tree.Node) (*tree.Node, error) { return &tree.Node{}, nil }},
	"true":  {0, 0, deep, func([]*tree.Node) (*tree.Node, error) { return tree.Boolean(true), nil }},
	"false": {0, 0, deep, func([]*tree.Node) (*tree.Node, error) { return tree.Boolean(false), nil }},

	"equals":          {2, 2, deep, func(a []*tree.Node) (*tree.Node, error) { return tree.Boolean(equal(a[0], a[1])), nil }},
	"not":             {1, 1, deep, evalNot},
	"greater":         {2, 2, deep, compare(func(c int) bool { return c > 0 })},
	"greaterorequals": {2, 2, deep, compare(func(c int) bool { return c >= 0 })},
	"less":            {2, 2, deep, compare(func(c int) bool { return c < 0 })},
	"lessorequals":    {2, 2, deep, compare(func(c int) bool { return c <= 0 })},

	"concat":    {1, -1, own, evalConcat},
	"format":    {1, -1, own, evalFormat},
	"string":    {1, 1, own, evalString},
	"tolower":   {1, 1, deep, onString(strings.ToLower)},
	"toupper":   {1, 1, deep, onString(strings.ToUpper)},
	"trim":      {1, 1, deep, onString(strings.TrimSpace)},
	"replace":   {3, 3, deep, evalReplace},
	"substring": {2, 3, deep, evalSubstring},
	"split":     {2, 2, deep, evalSplit},
	"join":      {2, 2, deep, evalJoin},
	"padleft":   {2, 3, deep, evalPadLeft},
	"startswith": {2, 2, deep, onTwo(func(s, t string) *tree.Node {
		return tree.Boolean(strings.HasPrefix(strings.ToLower(s), strings.ToLower(t)))
	})},
	"endswith": {2, 2, deep, onTwo(func(s, t string) *tree.Node {
		return tree.Boolean(strings.HasSuffix(strings.ToLower(s), strings.ToLower(t)))
	})},
	"indexof":     {2, 2, deep, evalIndexOf},
	"lastindexof": {2, 2, deep, evalLastIndexOf},
	"base64":      {1, 1, deep, onString(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},

	"base64tostring":       {1, 1, deep, func(a []*tree.Node) (*tree.Node, error) { return fromBase64(a[0]) }},
	"base64tojson":         {1, 1, deep, evalBase64ToJSON},
	"json":                 {1, 1, deep, func(a []*tree.Node) (*tree.Node, error) { return fromJSON(a[0]) }},
	"uricomponent":         {1, 1, deep, onString(uriComponent)},
	"uricomponenttostring": {1, 1, deep, evalURIComponentToString},
	"uri":                  {2, 2, deep, evalURI},

	"int":  {1, 1, deep, evalInt},
	"bool": {1, 1, deep, evalBool},
	"add":  {2, 2, deep, arithmetic(func(a, b int64) (int64, error) { return a + b, nil })},
	"sub":  {2, 2, deep, arithmetic(func(a, b int64) (int64, error) { return a - b, nil })},
	"mul":  {2, 2, deep, arithmetic(func(a, b int64) (int64, error) { return a * b, nil })},
	"div":  {2, 2, deep, arithmetic(divide)},
	"mod":  {2, 2, deep, arithmetic(modulo)},
	"min":  {1, -1, deep, extreme(func(a, b int64) bool { return a < b })},
	"max":  {1, -1, deep, extreme(func(a, b int64) bool { return a > b })},

	"length":       {1, 1, shallow, evalLength},
	"empty":        {1, 1, own, evalEmpty},
	"contains":     {2, 2, deep, evalContains},
	"first":        {1, 1, shallow, evalFirst},
	"last":         {1, 1, shallow, evalLast},
	"take":         {2, 2, shallow, evalTake},
	"skip":         {2, 2, shallow, evalSkip},
	"range":        {2, 2, deep, evalRange},
	"array":        {1, 1, own, evalArray},
	"createarray":  {0, -1, own, func(a []*tree.Node) (*tree.Node, error) { return &tree.Node{Kind: tree.Array, Items: a}, nil }},
	"createobject": {0, -1, own, evalCreateObject},
	"union":        {1, -1, shallow, evalUnion},
	"intersection": {1, -1, deep, evalIntersection},
	"flatten":      {1, 1, shallow, evalFlatten},
	"items":        {1, 1, shallow, evalItems},
	"objectkeys":   {1, 1, shallow, evalObjectKeys},
	"shallowmerge": {1, 1, shallow, evalShallowMerge},
	"tryget":       {2, -1, own, evalTryGet},
}

// text writes a scalar as the resource manager puts it into a string.
func text(n *tree.Node) (string, error) {
	switch n.Kind {
	case tree.String, tree.Number:
		return n.Text, nil
	case tree.Bool:
		return map[string]string{"true": "True", "false": "False"}[n.Text], nil
	case tree.Null:
		return "", nil
	}
	return "", fmt.Errorf("got %s, want a string, a number or a boolean", n.Kind)
}

func str(n *tree.Node) (string, error) {
	if n.Kind != tree.String {
		return "", fmt.Errorf("got %s, want a string", n.Kind)
	}
	return n.Text, nil
}

func onString(f func(string) string) func([]*tree.Node) (*tree.Node, error) {
	return func(a []*tree.Node) (*tree.Node, error) {
		s, err := str(a[0])
		return tree.Str(f(s)), err
	}
}

func onTwo(f func(s, t string) *tree.Node) func([]*tree.Node) (*tree.Node, error) {
	return func(a []*tree.Node) (*tree.Node, error) {
		s, err := str(a[0])
		if err != nil {
			return nil, err
		}
		t, err := str(a[1])
		return f(s, t), err
	}
}

func evalConcat(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.Array {
		out := &tree.Node{Kind: tree.Array}
		for _, n := range a {
			if n.Kind == tree.Unknown {
				return Unknown(), nil
			}
			if n.Kind != tree.Array {
				return nil, fmt.Errorf("got an array and %s, want one or the other", n.Kind)
			}
			out.Items = append(out.Items, n.Items...)
		}
		return out, nil
	}
	var parts []part
	for _, n := range a {
		if n.Kind == tree.Array && a[0].Kind == tree.Unknown {
			return Unknown(), nil
		}
		parts = append(parts, part{value: n})
	}
	return joinParts(parts)
}

// part is a piece of a string: words of a format, or a value.
type part struct {
	words string
	value *tree.Node
}

// joinParts is the string of its parts, or the pattern where one is not known.
func joinParts(parts []part) (*tree.Node, error) {
	known := true
	for _, p := range parts {
		known = known && (p.value == nil || p.value.Kind != tree.Unknown && p.value.Pattern == "")
	}
	var b strings.Builder
	for _, p := range parts {
		n := p.value
		if n == nil {
			n = tree.Str(p.words)
		}
		s, err := text(n)
		if !known {
			s, err = pattern(n)
		}
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	if known {
		return tree.Str(b.String()), nil
	}
	return &tree.Node{Kind: tree.String, Pattern: b.String()}, nil
}

// evalFormat understands {n}, {n:D4} and doubled braces.
func evalFormat(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.Unknown || a[0].Pattern != "" {
		return Unknown(), nil
	}
	s, err := str(a[0])
	if err != nil {
		return nil, err
	}
	var parts []part
	size := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			parts = append(parts, part{words: s})
			break
		}
		parts = append(parts, part{words: s[:i]})
		s = s[i:]
		if strings.HasPrefix(s, "{{") || strings.HasPrefix(s, "}}") {
			parts = append(parts, part{words: s[:1]})
			s = s[2:]
			continue
		}
		end := strings.IndexByte(s, '}')
		if s[0] == '}' || end < 0 {
			return nil, errors.New("a brace of the format has no partner")
		}
		n, err := formatArgument(s[1:end], a[1:])
		if err != nil {
			return nil, err
		}
		if size += len(n.Text) + len(n.Pattern); size > maxBytes {
			return nil, ErrBudget
		}
		parts = append(parts, part{value: n})
		s = s[end+1:]
	}
	return joinParts(parts)
}

func formatArgument(spec string, args []*tree.Node) (*tree.Node, error) {
	number, form, _ := strings.Cut(spec, ":")
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(args) {
		return nil, fmt.Errorf("{%s} names none of the %d values", cut(spec), len(args))
	}
	n := args[i]
	if n.Kind == tree.Object || n.Kind == tree.Array {
		if !n.Known() {
			return Unknown(), nil
		}
		n = tree.Str(string(jsontree.Encode(n)))
	}
	if form == "" || n.Kind == tree.Unknown {
		return n, nil
	}
	width, err := strconv.Atoi(strings.TrimPrefix(strings.ToUpper(form), "D"))
	v, notWhole := whole(n)
	if err != nil || width < 0 || width > 99 || !tree.EqualFold(form[:1], "D") || notWhole != nil {
		return nil, fmt.Errorf("{%s}: of the forms only D of a whole number is understood", cut(spec))
	}
	if v < 0 {
		width++
	}
	return tree.Str(fmt.Sprintf("%0*d", width, v)), nil
}

func evalString(a []*tree.Node) (*tree.Node, error) {
	switch n := a[0]; {
	case n.Kind == tree.Unknown:
		return Unknown(), nil
	case n.Pattern != "":
		return n, nil
	case n.Kind == tree.Array || n.Kind == tree.Object:
		if !n.Known() {
			return Unknown(), nil
		}
		return tree.Str(string(jsontree.Encode(n))), nil
	default:
		s, err := text(n)
		return tree.Str(s), err
	}
}

func fromJSON(n *tree.Node) (*tree.Node, error) {
	s, err := str(n)
	if err != nil {
		return nil, err
	}
	v, err := jsontree.Parse([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", n.Quote(), err)
	}
	return v, nil
}

func fromBase64(n *tree.Node) (*tree.Node, error) {
	s, err := str(n)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", n.Quote(), err)
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("what is encoded is not UTF-8")
	}
	return tree.Str(string(raw)), nil
}

func evalBase64ToJSON(a []*tree.Node) (*tree.Node, error) {
	n, err := fromBase64(a[0])
	if err != nil {
		return nil, err
	}
	return fromJSON(tainted(n, a...))
}

// uriComponent escapes all but the unreserved characters of RFC 3986.
func uriComponent(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

func evalURIComponentToString(a []*tree.Node) (*tree.Node, error) {
	s, err := str(a[0])
	if err != nil {
		return nil, err
	}
	out, err := url.PathUnescape(s)
	if err == nil && !utf8.ValidString(out) {
		err = errors.New("what is encoded is not UTF-8")
	}
	return tree.Str(out), err
}

// evalURI keeps the base up to its last slash: uri('http://a/b', 'c') is http://a/c, uri('http://a/b/', '/c') is http://a/b/c.
func evalURI(a []*tree.Node) (*tree.Node, error) {
	base, err := str(a[0])
	if err != nil {
		return nil, err
	}
	relative, err := str(a[1])
	if err != nil {
		return nil, err
	}
	scheme, rest, ok := strings.Cut(base, "://")
	slash := strings.LastIndexByte(rest, '/')
	if !ok || slash < 0 {
		return nil, fmt.Errorf("base %s: want an absolute URI with a path", a[0].Quote())
	}
	return tree.Str(scheme + "://" + rest[:slash+1] + strings.TrimPrefix(relative, "/")), nil
}
