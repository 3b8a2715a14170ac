package expr

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// The language counts characters in UTF-16 units, as .NET does.

func units(s string) []uint16 { return utf16.Encode([]rune(s)) }

func evalReplace(a []*tree.Node) (*tree.Node, error) {
	var s [3]string
	for i := range s {
		var err error
		if s[i], err = str(a[i]); err != nil {
			return nil, err
		}
	}
	if s[1] == "" {
		return nil, fmt.Errorf("replace an empty string")
	}
	if grown := len(s[0]) + strings.Count(s[0], s[1])*len(s[2]); grown > maxBytes {
		return nil, ErrBudget
	}
	return tree.Str(strings.ReplaceAll(s[0], s[1], s[2])), nil
}

func evalSubstring(a []*tree.Node) (*tree.Node, error) {
	s, err := str(a[0])
	if err != nil {
		return nil, err
	}
	u := units(s)
	from, err := whole(a[1])
	if err != nil {
		return nil, err
	}
	count := int64(len(u)) - from
	if len(a) == 3 {
		if count, err = whole(a[2]); err != nil {
			return nil, err
		}
	}
	if from < 0 || count < 0 || from > int64(len(u)) || count > int64(len(u))-from {
		return nil, fmt.Errorf("%d characters from %d of a string of %d", count, from, len(u))
	}
	return tree.Str(string(utf16.Decode(u[from : from+count]))), nil
}

// evalSplit takes one delimiter or an array of them; the leftmost found splits first, of two at one place the earlier in the
// list.
func evalSplit(a []*tree.Node) (*tree.Node, error) {
	s, err := str(a[0])
	if err != nil {
		return nil, err
	}
	delimiters := []*tree.Node{a[1]}
	if a[1].Kind == tree.Array {
		delimiters = a[1].Items
	}
	var by []string
	for _, d := range delimiters {
		t, err := str(d)
		if err != nil {
			return nil, fmt.Errorf("delimiter: %w", err)
		}
		if t != "" {
			by = append(by, t)
		}
	}
	return &tree.Node{Kind: tree.Array, Items: splitBy(s, by)}, nil
}

// splitBy looks for each delimiter once from where it was found before.
func splitBy(s string, by []string) []*tree.Node {
	next := make([]int, len(by)) // where each is found; len(s) is nowhere
	for i := range next {
		next[i] = -1
	}
	var out []*tree.Node
	for start := 0; ; {
		at, size := len(s), 0
		for i, d := range by {
			if next[i] < start {
				next[i] = len(s)
				if found := strings.Index(s[start:], d); found >= 0 {
					next[i] = start + found
				}
			}
			if next[i] < at {
				at, size = next[i], len(d)
			}
		}
		out = append(out, tree.Str(s[start:at]))
		if at == len(s) {
			return out
		}
		start = at + size
	}
}

func evalJoin(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind != tree.Array {
		return nil, fmt.Errorf("got %s, want an array", a[0].Kind)
	}
	by, err := str(a[1])
	if err != nil {
		return nil, err
	}
	list := make([]string, len(a[0].Items))
	size := 0
	for i, n := range a[0].Items {
		if list[i], err = text(n); err != nil {
			return nil, err
		}
		size += len(list[i]) + len(by)
	}
	if size > maxBytes {
		return nil, ErrBudget
	}
	return tree.Str(strings.Join(list, by)), nil
}

func evalPadLeft(a []*tree.Node) (*tree.Node, error) {
	s, err := text(a[0])
	if err != nil {
		return nil, err
	}
	width, err := whole(a[1])
	if err != nil {
		return nil, err
	}
	with := " "
	if len(a) == 3 {
		if with, err = str(a[2]); err != nil {
			return nil, err
		}
	}
	if width < 0 || width > 4096 || len(units(with)) != 1 {
		return nil, fmt.Errorf("width %d and filling %q: want at most 4096 and one character", width, cut(with))
	}
	if missing := int(width) - len(units(s)); missing > 0 {
		s = strings.Repeat(with, missing) + s
	}
	return tree.Str(s), nil
}

func evalLastIndexOf(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.Array {
		for i := len(a[0].Items) - 1; i >= 0; i-- {
			if equal(a[0].Items[i], a[1]) {
				return integer(int64(i)), nil
			}
		}
		return integer(-1), nil
	}
	return onTwo(func(s, t string) *tree.Node {
		s = strings.ToLower(s)
		i := strings.LastIndex(s, strings.ToLower(t))
		if i > 0 {
			i = len(units(s[:i]))
		}
		return integer(int64(i))
	})(a)
}

// evalIndexOf does not regard the case of strings; in an array it does.
func evalIndexOf(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.Array {
		for i, n := range a[0].Items {
			if equal(n, a[1]) {
				return integer(int64(i)), nil
			}
		}
		return integer(-1), nil
	}
	return onTwo(func(s, t string) *tree.Node {
		s = strings.ToLower(s)
		i := strings.Index(s, strings.ToLower(t))
		if i > 0 {
			i = len(units(s[:i]))
		}
		return integer(int64(i))
	})(a)
}
