package jsontree

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// The bounds of a document.
const (
	MaxBytes = 16 << 20
	MaxDepth = 64
	MaxNodes = 500_000
)

var mark = []byte("\xef\xbb\xbf")

// Error is a document that cannot be read, with its place.
type Error struct {
	Line   int // 1 is the first
	Offset int // bytes
	Text   string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

type reader struct {
	data  []byte
	at    int
	line  int
	depth int
	nodes int
}

// Parse returns the one value of a document.
func Parse(data []byte) (*tree.Node, error) {
	r := &reader{data: data, line: 1}
	if len(data) > MaxBytes {
		return nil, r.errorf("the document has %d bytes, at most %d are read", len(data), MaxBytes)
	}
	if bytes.HasPrefix(data, mark) {
		r.at = len(mark)
	}
	if err := r.space(); err != nil {
		return nil, err
	}
	node, err := r.value()
	if err != nil {
		return nil, err
	}
	if err := r.space(); err != nil {
		return nil, err
	}
	if r.at < len(data) {
		return nil, r.errorf("%s after the document's end", r.got())
	}
	return node, nil
}

func (r *reader) errorf(format string, args ...any) error {
	return &Error{Line: r.line, Offset: r.at, Text: fmt.Sprintf(format, args...)}
}

// got names what stands at the present place.
func (r *reader) got() string {
	if r.at >= len(r.data) {
		return "the end"
	}
	c, size := utf8.DecodeRune(r.data[r.at:])
	if c == utf8.RuneError && size == 1 {
		return fmt.Sprintf("byte 0x%02x", r.data[r.at])
	}
	return fmt.Sprintf("%q", c)
}

func (r *reader) peek() byte {
	if r.at >= len(r.data) {
		return 0
	}
	return r.data[r.at]
}

// space skips white space and comments.
func (r *reader) space() error {
	for r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == '\n':
			r.line++
			r.at++
		case c == ' ' || c == '\t' || c == '\r':
			r.at++
		case c == '/':
			if err := r.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (r *reader) comment() error {
	rest := r.data[r.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		n := bytes.IndexByte(rest, '\n')
		if n < 0 {
			n = len(rest)
		}
		r.at += n
		return nil
	case bytes.HasPrefix(rest, []byte("/*")):
		n := bytes.Index(rest[2:], []byte("*/"))
		if n < 0 {
			return r.errorf("a comment without an end")
		}
		r.line += bytes.Count(rest[:n+4], []byte("\n"))
		r.at += n + 4
		return nil
	}
	return r.errorf("got '/', want a value or a comment")
}

func (r *reader) value() (*tree.Node, error) {
	if r.nodes++; r.nodes > MaxNodes {
		return nil, r.errorf("more than %d values", MaxNodes)
	}
	node := &tree.Node{Line: r.line, Start: r.at}
	var err error
	switch c := r.peek(); {
	case c == '{' || c == '[':
		err = r.nested(node, c)
	case c == '"':
		node.Kind = tree.String
		node.Text, err = r.str()
	case c == '-' || c >= '0' && c <= '9':
		node.Kind = tree.Number
		node.Text, err = r.number()
	default:
		err = r.word(node)
	}
	node.End = r.at
	if err != nil {
		return nil, err
	}
	return node, nil
}

func (r *reader) nested(node *tree.Node, open byte) error {
	if r.depth++; r.depth > MaxDepth {
		return r.errorf("nested deeper than %d", MaxDepth)
	}
	defer func() { r.depth-- }()
	r.at++
	if open == '{' {
		node.Kind = tree.Object
		return r.object(node)
	}
	node.Kind = tree.Array
	return r.array(node)
}

func (r *reader) word(node *tree.Node) error {
	for text, kind := range map[string]tree.Kind{"null": tree.Null, "true": tree.Bool, "false": tree.Bool} {
		if bytes.HasPrefix(r.data[r.at:], []byte(text)) {
			node.Kind = kind
			if kind == tree.Bool {
				node.Text = text
			}
			r.at += len(text)
			return nil
		}
	}
	return r.errorf("got %s, want a value", r.got())
}

// next skips to the byte after a value: the separator (true) or the end (false).
func (r *reader) next(end byte) (bool, error) {
	if err := r.space(); err != nil {
		return false, err
	}
	switch r.peek() {
	case ',':
		r.at++
		return true, r.space()
	case end:
		r.at++
		return false, nil
	}
	return false, r.errorf("got %s, want ',' or %q", r.got(), end)
}

func (r *reader) array(node *tree.Node) error {
	if err := r.space(); err != nil {
		return err
	}
	if r.peek() == ']' {
		r.at++
		return nil
	}
	for {
		item, err := r.value()
		if err != nil {
			return err
		}
		node.Items = append(node.Items, item)
		if more, err := r.next(']'); !more || err != nil {
			return err
		}
	}
}

func (r *reader) object(node *tree.Node) error {
	if err := r.space(); err != nil {
		return err
	}
	if r.peek() == '}' {
		r.at++
		return nil
	}
	seen := map[string]int{}
	for {
		member, err := r.member(seen)
		if err != nil {
			return err
		}
		node.Members = append(node.Members, member)
		if more, err := r.next('}'); !more || err != nil {
			return err
		}
	}
}

func (r *reader) member(seen map[string]int) (tree.Member, error) {
	m := tree.Member{Line: r.line, Start: r.at}
	if r.peek() != '"' {
		return m, r.errorf("got %s, want a member's name", r.got())
	}
	var err error
	if m.Name, err = r.str(); err != nil {
		return m, err
	}
	if line, again := seen[m.Name]; again {
		return m, r.errorf("member %q is there twice, first in line %d", cut(m.Name), line)
	}
	seen[m.Name] = m.Line
	if err = r.space(); err != nil {
		return m, err
	}
	if r.peek() != ':' {
		return m, r.errorf("got %s, want ':' after member %q", r.got(), cut(m.Name))
	}
	r.at++
	if err = r.space(); err != nil {
		return m, err
	}
	m.Value, err = r.value()
	return m, err
}

// number reads a number by RFC 8259's grammar and keeps it as written.
func (r *reader) number() (string, error) {
	start := r.at
	if r.peek() == '-' {
		r.at++
	}
	if r.peek() == '0' {
		r.at++
	} else if r.digits() == 0 {
		return "", r.errorf("got %s, want a digit", r.got())
	}
	if r.peek() == '.' {
		r.at++
		if r.digits() == 0 {
			return "", r.errorf("got %s, want a digit", r.got())
		}
	}
	if r.peek() == 'e' || r.peek() == 'E' {
		r.at++
		if r.peek() == '+' || r.peek() == '-' {
			r.at++
		}
		if r.digits() == 0 {
			return "", r.errorf("got %s, want a digit", r.got())
		}
	}
	return string(r.data[start:r.at]), nil
}

func (r *reader) digits() int {
	start := r.at
	for c := r.peek(); c >= '0' && c <= '9'; c = r.peek() {
		r.at++
	}
	return r.at - start
}

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
