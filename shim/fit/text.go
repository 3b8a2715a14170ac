package fit

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Limits of the reader. A text beyond them is not understood.
const (
	maxText    = 8 << 20 // bytes
	maxDepth   = 16
	maxEntries = 1 << 17 // of one list or object
)

// text reads literals of the policy language as tools write them: those of JSON, with comments and a comma after the last element. Each method starts at pos and answers
// false for anything else; nothing can be read after that.
type text struct {
	s   string
	pos int
	// seen are the strings that were read: tools repeat rules in every container.
	seen map[string]string
}

func (t *text) next() byte {
	if t.pos < len(t.s) {
		return t.s[t.pos]
	}
	return 0
}

// space skips white space, line breaks and comments.
func (t *text) space() {
	for t.pos < len(t.s) {
		switch t.s[t.pos] {
		case ' ', '\t', '\n', '\r':
			t.pos++
		case '#':
			end := strings.IndexByte(t.s[t.pos:], '\n')
			if end < 0 {
				t.pos = len(t.s)
				return
			}
			t.pos += end
		default:
			return
		}
	}
}

// take skips white space and then c.
func (t *text) take(c byte) bool {
	t.space()
	if t.next() != c || c == 0 {
		return false
	}
	t.pos++
	return true
}

// word reads a name, or a path of names with dots.
func (t *text) word() string {
	t.space()
	start := t.pos
	for t.pos < len(t.s) && isWord(t.s[t.pos], t.pos > start) {
		t.pos++
	}
	return t.s[start:t.pos]
}

func isWord(c byte, inside bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || inside && (c == '.' || '0' <= c && c <= '9')
}

// str reads a string in double quotes, or a raw one in backquotes.
func (t *text) str() (string, bool) {
	t.space()
	switch t.next() {
	case '`':
		end := strings.IndexByte(t.s[t.pos+1:], '`')
		if end < 0 {
			return "", false
		}
		raw := t.s[t.pos+1 : t.pos+1+end]
		t.pos += end + 2
		return t.keep(raw), utf8.ValidString(raw)
	case '"':
	default:
		return "", false
	}
	for i := t.pos + 1; i < len(t.s); i++ {
		switch t.s[i] {
		case '\\':
			i++
		case '\n':
			return "", false
		case '"':
			quoted := t.s[t.pos : i+1]
			t.pos = i + 1
			return t.unquote(quoted)
		}
	}
	return "", false
}

func (t *text) unquote(quoted string) (string, bool) {
	if !utf8.ValidString(quoted) {
		return "", false
	}
	if !strings.Contains(quoted, `\`) {
		for i := range len(quoted) {
			if quoted[i] < ' ' {
				return "", false
			}
		}
		return t.keep(quoted[1 : len(quoted)-1]), true
	}
	var out string
	if json.Unmarshal([]byte(quoted), &out) != nil {
		return "", false
	}
	return t.keep(out), true
}

// keep returns a copy that does not keep the text alive, one for equal strings.
func (t *text) keep(s string) string {
	if old, ok := t.seen[s]; ok {
		return old
	}
	s = strings.Clone(s)
	t.seen[s] = s
	return s
}

func (t *text) bool() (value, ok bool) {
	switch t.word() {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// null skips a null, if there is one.
func (t *text) null() bool {
	t.space()
	if rest := t.s[t.pos:]; !strings.HasPrefix(rest, "null") || len(rest) > 4 && isWord(rest[4], true) {
		return false
	}
	t.pos += len("null")
	return true
}

// list reads a list, element by element.
func (t *text) list(element func() bool) bool {
	return t.sequence('[', ']', element)
}

// object reads an object; member reads the value of a key. A key that comes twice has two values, and is not understood.
func (t *text) object(member func(key string) bool) bool {
	keys := map[string]bool{}
	return t.sequence('{', '}', func() bool {
		key, ok := t.str()
		if !ok || keys[key] || !t.take(':') {
			return false
		}
		keys[key] = true
		return member(key)
	})
}

func (t *text) sequence(begin, end byte, element func() bool) bool {
	if !t.take(begin) {
		return false
	}
	for range maxEntries {
		if t.take(end) {
			return true
		}
		if !element() {
			return false
		}
		if !t.take(',') {
			return t.take(end)
		}
	}
	return false
}

func (t *text) strings() ([]string, bool) {
	out := []string{}
	ok := t.list(func() bool {
		s, ok := t.str()
		out = append(out, s)
		return ok
	})
	return out, ok
}

// skip goes over any literal.
func (t *text) skip(depth int) bool {
	if depth > maxDepth {
		return false
	}
	t.space()
	switch c := t.next(); {
	case c == '[':
		return t.list(func() bool { return t.skip(depth + 1) })
	case c == '{':
		return t.object(func(string) bool { return t.skip(depth + 1) })
	case c == '"' || c == '`':
		_, ok := t.str()
		return ok
	case c == '-' || '0' <= c && c <= '9':
		for c := t.next(); c != 0 && strings.IndexByte("+-.eE0123456789", c) >= 0; c = t.next() {
			t.pos++
		}
		return true
	case isWord(c, false):
		w := t.word()
		// A reference is no literal but where the framework's own answers are named.
		return w == "true" || w == "false" || w == "null" || strings.HasPrefix(w, "data.framework.")
	}
	return false
}
