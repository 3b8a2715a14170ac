package entry

import (
	"bytes"
	"hash/maphash"
	"unicode/utf8"
)

// Limits of the fast reader; a text beyond them is left to the engine's parser.
const (
	maxText    = 1 << 30 // positions are 32 bits wide
	maxDepth   = 16
	maxDigits  = 18
	maxEntries = 1 << 17
)

// reader is the fast reader: a strict subset of JSON literals, of which the engine's parser makes the same values. Every
// method starts at pos and answers false for what is not in the subset; nothing can be read after that. Nothing is decoded by
// package encoding/json, which takes ALLOW_ELEVATED for allow_elevated.
type reader struct {
	text []byte
	pos  int
	seed maphash.Seed

	strings      table[string]
	lists        table[[]string]
	signals      table[[]int64]
	envRules     table[*EnvRule]
	mounts       table[*Mount]
	processes    table[*ExecProcess]
	users        table[*User]
	capabilities table[*Capabilities]
}

func newReader(text []byte) *reader { return &reader{text: text, seed: maphash.MakeSeed()} }

// next is the byte at pos, or 0, which no value contains.
func (r *reader) next() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

// space skips what is white space in JSON and in Rego.
func (r *reader) space() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.pos++
	return true
}

func (r *reader) word(w string) bool {
	if !bytes.HasPrefix(r.text[r.pos:], []byte(w)) {
		return false
	}
	r.pos += len(w)
	return true
}

func (r *reader) bool() (value, ok bool) {
	if r.word("true") {
		return true, true
	}
	return false, r.word("false")
}

// int reads what tools write: no fraction, no exponent, no leading zero, and no more digits than an int64 always holds.
func (r *reader) int() (int64, bool) {
	negative := r.take('-')
	start := r.pos
	var n int64
	for c := r.next(); '0' <= c && c <= '9'; c = r.next() {
		if r.pos-start == maxDigits {
			return 0, false
		}
		n = n*10 + int64(c-'0')
		r.pos++
	}
	digits := r.pos - start
	if digits == 0 || digits > 1 && r.text[start] == '0' || negative && n == 0 {
		return 0, false
	}
	switch r.next() {
	case ',', ']', '}', ' ', '\t', '\n', '\r': // not the beginning of a longer number
	default:
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// quoted skips a string, without looking at more than where it ends, and returns what is between the quotes.
func (r *reader) quoted() ([]byte, bool) {
	if !r.take('"') {
		return nil, false
	}
	start := r.pos
	end := stringEnd(r.text, start)
	if end < 0 {
		return nil, false
	}
	r.pos = end + 1
	return r.text[start:end], true
}

// stringEnd is the position of the quote that ends the string whose content begins at start, or -1.
func stringEnd(text []byte, start int) int {
	at := bytes.IndexByte(text[start:], '"')
	if at < 0 {
		return -1
	}
	if at == 0 || text[start+at-1] != '\\' {
		return start + at
	}
	for i := start; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return -1
}

// string reads a string. Equal strings share one copy, which does not keep the text alive.
func (r *reader) string() (string, bool) {
	start := r.pos + 1
	raw, ok := r.quoted()
	if !ok {
		return "", false
	}
	if len(raw) == 0 {
		return "", true
	}
	h := hash(r.seed, raw)
	if value, ok := r.strings.find(r.text, raw, h); ok {
		return value, true
	}
	value, ok := unquote(raw)
	if !ok {
		return "", false
	}
	r.strings.add(h, start, start+len(raw), value)
	return value, true
}

// unquote decodes the content of a string and copies it. It answers false for what the engine refuses (control
// characters, byte-order marks, text that is not UTF-8) and for surrogates, which it replaces.
func unquote(raw []byte) (string, bool) {
	plain := true
	for _, c := range raw {
		if c < ' ' {
			return "", false
		}
		plain = plain && c < utf8.RuneSelf && c != '\\'
	}
	if plain {
		return string(raw), true
	}
	if !utf8.Valid(raw) || bytes.Contains(raw, byteOrderMark) {
		return "", false
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if i == len(raw) {
			return "", false
		}
		if raw[i] == 'u' {
			c, ok := hex4(raw[i+1:])
			if !ok || 0xd800 <= c && c <= 0xdfff {
				return "", false
			}
			out = utf8.AppendRune(out, c)
			i += 4
			continue
		}
		c := escapes[raw[i]]
		if c == 0 {
			return "", false
		}
		out = append(out, c)
	}
	return string(out), true
}

var byteOrderMark = []byte("\ufeff")

var escapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func hex4(digits []byte) (value rune, ok bool) {
	if len(digits) < 4 {
		return 0, false
	}
	for _, c := range digits[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		value = value<<4 | rune(c)
	}
	return value, true
}

// spanEnd is where the object or array at pos ends, if it is one. What is inside is not looked at but for quotes and brackets:
// the span either equals one that was read before, or is read now and has to end there.
func (r *reader) spanEnd() (int, bool) {
	if c := r.next(); c != '{' && c != '[' {
		return 0, false
	}
	depth := 0
	for i := r.pos; i < len(r.text); i++ {
		switch r.text[i] {
		case '"':
			if i = stringEnd(r.text, i+1); i < 0 {
				return 0, false
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return 0, false
			}
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
	}
	return 0, false
}

// interned reads an object or array, or finds that the same bytes were read before.
func interned[T any](r *reader, t *table[T], parse func(*reader) (T, bool)) (T, bool) {
	var none T
	end, ok := r.spanEnd()
	if !ok {
		return none, false
	}
	start := r.pos
	span := r.text[start:end]
	h := hash(r.seed, span)
	if value, ok := t.find(r.text, span, h); ok {
		r.pos = end
		return value, true
	}
	value, ok := parse(r)
	if !ok || r.pos != end {
		return none, false
	}
	t.add(h, start, end, value)
	return value, true
}

// array reads an array. A trailing comma is Rego, but not JSON.
func array[T any](r *reader, element func(*reader) (T, bool)) ([]T, bool) {
	if !r.take('[') {
		return nil, false
	}
	if r.space(); r.take(']') {
		return []T{}, true
	}
	read := make([]T, 0, 16)
	for {
		value, ok := element(r)
		if !ok || len(read) == maxEntries {
			return nil, false
		}
		read = append(read, value)
		r.space()
		switch r.next() {
		case ',':
			r.pos++
			r.space()
		case ']':
			r.pos++
			exact := make([]T, len(read)) // read has spare capacity, and lists live as long as the policy
			copy(exact, read)
			return exact, true
		default:
			return nil, false
		}
	}
}

// object reads an object: member reads the value of a key, and answers false for a key that it does not know or had before.
func (r *reader) object(member func(key []byte) bool) bool {
	if !r.take('{') {
		return false
	}
	if r.space(); r.take('}') {
		return true
	}
	for {
		key, ok := r.quoted()
		if !ok {
			return false
		}
		r.space()
		if !r.take(':') {
			return false
		}
		r.space()
		if !member(key) {
			return false
		}
		r.space()
		switch r.next() {
		case ',':
			r.pos++
			r.space()
		case '}':
			r.pos++
			return true
		default:
			return false
		}
	}
}

// once marks a field as read and answers false if it was before.
func once[F ~uint32](seen *F, field F) bool {
	if *seen&field != 0 {
		return false
	}
	*seen |= field
	return true
}
