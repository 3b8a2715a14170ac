package jsontree

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// str reads a string. A byte that is not UTF-8 and half of a surrogate pair are errors: what they would be replaced by is
// each reader's own choice.
func (r *reader) str() (string, error) {
	r.at++
	var b strings.Builder
	for {
		if r.at >= len(r.data) {
			return "", r.errorf("a string without an end")
		}
		c := r.data[r.at]
		switch {
		case c == '"':
			r.at++
			return b.String(), nil
		case c == '\\':
			if err := r.escape(&b); err != nil {
				return "", err
			}
		case c < 0x20:
			return "", r.errorf("%s in a string must be written as an escape", r.got())
		default:
			_, size := utf8.DecodeRune(r.data[r.at:])
			if size == 1 && c >= utf8.RuneSelf {
				return "", r.errorf("%s in a string is not UTF-8", r.got())
			}
			b.Write(r.data[r.at : r.at+size])
			r.at += size
		}
	}
}

func (r *reader) escape(b *strings.Builder) error {
	if r.at+1 >= len(r.data) {
		return r.errorf("a string without an end")
	}
	c := r.data[r.at+1]
	if plain, ok := escapes[c]; ok {
		b.WriteByte(plain)
		r.at += 2
		return nil
	}
	if c != 'u' {
		return r.errorf("escape \\%c is not JSON", c)
	}
	first, ok := r.hex4(r.at)
	if !ok {
		return r.errorf("escape \\u wants four hexadecimal digits")
	}
	r.at += 6
	if !utf16.IsSurrogate(first) {
		b.WriteRune(first)
		return nil
	}
	second, ok := r.hex4(r.at)
	both := utf16.DecodeRune(first, second)
	if !ok || both == utf8.RuneError {
		return r.errorf("escape \\u%04x is half of a surrogate pair", first)
	}
	r.at += 6
	b.WriteRune(both)
	return nil
}

func (r *reader) hex4(at int) (rune, bool) {
	if at+6 > len(r.data) || r.data[at] != '\\' || r.data[at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.data[at+2:at+6]), 16, 16)
	return rune(n), err == nil
}
