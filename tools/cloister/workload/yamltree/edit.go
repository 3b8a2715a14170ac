package yamltree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// ErrNotEditable is a file whose value cannot be changed without changing another one.
var ErrNotEditable = errors.New("the value cannot be written without touching others; write it by hand, as a plain string")

// Set returns the file with a string at a path below one of its values (mappings all the way). Members that are missing are
// added; no byte changes but those of the string and of added members. The result was read again and compared.
func (f *File) Set(at *tree.Node, path []string, value string) ([]byte, error) {
	out, err := f.edit(at, path, value)
	if err != nil {
		return nil, err
	}
	got, err := Parse(out)
	if err != nil || len(got.Documents) != len(f.Documents) {
		return nil, ErrNotEditable
	}
	for i, doc := range f.Documents {
		if !tree.Equal(got.Documents[i], with(doc, at, path, value)) {
			return nil, ErrNotEditable
		}
	}
	return out, nil
}

func (f *File) edit(at *tree.Node, path []string, value string) ([]byte, error) {
	n := at
	for i, name := range path {
		if n.Kind != tree.Object {
			return nil, fmt.Errorf("line %d: got %s, want a mapping", n.Line, n.Kind)
		}
		next := n.Member(name)
		switch {
		case next == nil:
			return f.add(n, path[i:], value)
		case next.Kind == tree.Null && i < len(path)-1:
			return f.fill(next, flow(path[i+1:], value))
		case i == len(path)-1 && next.Kind == tree.Null:
			return f.fill(next, quote(value))
		case i == len(path)-1:
			return f.replace(next, value)
		}
		n = next
	}
	return nil, ErrNotEditable
}

// offset is the first byte of a node; a column is a character. Nodes are mostly asked for in their order, so that each line is
// walked through once.
func (f *File) offset(y *yaml.Node) (int, bool) {
	if y.Line < 1 || y.Line > len(f.lines) {
		return 0, false
	}
	c := &f.cursor
	if c.line != y.Line || c.column > y.Column {
		c.line, c.column, c.at = y.Line, 1, f.lines[y.Line-1]
	}
	for ; c.column < y.Column; c.column++ {
		if c.at >= len(f.data) {
			return 0, false
		}
		_, size := utf8.DecodeRune(f.data[c.at:])
		c.at += size
	}
	return c.at, true
}

// add puts a new member before the first one of a mapping.
func (f *File) add(n *tree.Node, path []string, value string) ([]byte, error) {
	y := f.nodes[n]
	start, ok := f.offset(y)
	if !ok {
		return nil, ErrNotEditable
	}
	if y.Style&yaml.FlowStyle != 0 {
		brace := bytes.IndexByte(f.data[start:], '{')
		if brace < 0 {
			return nil, ErrNotEditable
		}
		text := quote(path[0]) + ": " + quote(value)
		if len(path) > 1 {
			text = quote(path[0]) + ": " + flow(path[1:], value)
		}
		if len(n.Members) > 0 {
			text += ", "
		}
		return splice(f.data, start+brace+1, start+brace+1, text), nil
	}
	if len(y.Content) == 0 {
		return nil, ErrNotEditable
	}
	first := y.Content[0]
	if start, ok = f.offset(first); !ok {
		return nil, ErrNotEditable
	}
	newline := "\n"
	if i := bytes.IndexByte(f.data, '\n'); i > 0 && f.data[i-1] == '\r' {
		newline = "\r\n"
	}
	indent := newline + strings.Repeat(" ", first.Column-1)
	var text strings.Builder
	for i, name := range path {
		text.WriteString(plainKey(name) + ":")
		if i == len(path)-1 {
			text.WriteString(" " + quote(value))
		} else {
			text.WriteString(indent + strings.Repeat("  ", i+1))
		}
	}
	text.WriteString(indent)
	return splice(f.data, start, start, text.String()), nil
}

// fill puts a value where there is none, or the word null.
func (f *File) fill(n *tree.Node, text string) ([]byte, error) {
	y, key := f.nodes[n], f.keys[n]
	if y.Value != "" {
		start, ok := f.offset(y)
		if !ok || !bytes.HasPrefix(f.data[start:], []byte(y.Value)) {
			return nil, ErrNotEditable
		}
		return splice(f.data, start, start+len(y.Value), text), nil
	}
	start, ok := f.offset(key)
	if !ok {
		return nil, ErrNotEditable
	}
	end, ok := scalarEnd(f.data, start, key, key.Column-1)
	if !ok || end >= len(f.data) || f.data[end] != ':' {
		return nil, ErrNotEditable
	}
	return splice(f.data, end+1, end+1, " "+text), nil
}

// replace puts a string in place of a scalar.
func (f *File) replace(n *tree.Node, value string) ([]byte, error) {
	y, key := f.nodes[n], f.keys[n]
	if n.Kind == tree.String && n.Text == value {
		return bytes.Clone(f.data), nil
	}
	start, ok := f.offset(y)
	if !ok || y.Kind != yaml.ScalarNode || y.Anchor != "" || y.Style&yaml.TaggedStyle != 0 {
		return nil, ErrNotEditable
	}
	end, ok := scalarEnd(f.data, start, y, key.Column-1)
	if !ok {
		return nil, ErrNotEditable
	}
	text := quote(value)
	if y.Style&yaml.SingleQuotedStyle != 0 && !strings.ContainsAny(value, "'\n\r") {
		text = "'" + value + "'"
	}
	return splice(f.data, start, end, text), nil
}

// scalarEnd finds where a scalar ends; parent is the indentation of the mapping that it stands in. A wrong guess is found by
// reading the result.
func scalarEnd(data []byte, start int, y *yaml.Node, parent int) (int, bool) {
	if start >= len(data) {
		return 0, false
	}
	switch {
	case y.Style&yaml.DoubleQuotedStyle != 0:
		return closing(data, start, '"', '\\')
	case y.Style&yaml.SingleQuotedStyle != 0:
		return closing(data, start, '\'', 0)
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return blockEnd(data, start, parent), true
	}
	if bytes.HasPrefix(data[start:], []byte(y.Value)) {
		return start + len(y.Value), true
	}
	end := blockEnd(data, start, parent)
	return start + len(bytes.TrimRight(data[start:end], " \t\r\n")), true
}

func closing(data []byte, start int, end, escape byte) (int, bool) {
	if data[start] != end {
		return 0, false
	}
	for i := start + 1; i < len(data); i++ {
		switch {
		case escape != 0 && data[i] == escape:
			i++
		case data[i] == end && escape == 0 && i+1 < len(data) && data[i+1] == end:
			i++
		case data[i] == end:
			return i + 1, true
		}
	}
	return 0, false
}

// blockEnd is the end of the last line, from the one of start on, that is indented more than the parent.
func blockEnd(data []byte, start, parent int) int {
	end := lineEnd(data, start)
	for at := end; at < len(data); {
		next := at + 1
		stop := lineEnd(data, next)
		line := data[next:max(stop, next)]
		body := bytes.TrimLeft(line, " ")
		if len(bytes.TrimSpace(body)) > 0 {
			if len(line)-len(body) <= parent {
				break
			}
			end = stop
		}
		at = stop
	}
	if end > start && data[end-1] == '\r' {
		end--
	}
	return end
}

func lineEnd(data []byte, at int) int {
	if at >= len(data) {
		return len(data)
	}
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(data)
}

func splice(doc []byte, from, to int, text string) []byte {
	out := make([]byte, 0, len(doc)+len(text))
	out = append(out, doc[:from]...)
	out = append(out, text...)
	return append(out, doc[to:]...)
}

func flow(path []string, value string) string {
	text := quote(value)
	for i := len(path) - 1; i >= 0; i-- {
		text = "{" + quote(path[i]) + ": " + text + "}"
	}
	return text
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always encodes
	return string(b)
}

// plainKey writes the names that need no quotes without them.
func plainKey(s string) string {
	for _, c := range s {
		if c != '.' && c != '/' && c != '-' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return quote(s)
		}
	}
	if _, word := words[s]; word || strings.HasPrefix(s, "-") || strings.HasPrefix(s, ".") {
		return quote(s)
	}
	return s
}

// with is a document with the string at its path.
func with(n, at *tree.Node, path []string, value string) *tree.Node {
	if n == at {
		return set(n, path, value)
	}
	out := *n
	out.Items, out.Members = nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, with(item, at, path, value))
	}
	for _, m := range n.Members {
		m.Value = with(m.Value, at, path, value)
		out.Members = append(out.Members, m)
	}
	return &out
}

func set(n *tree.Node, path []string, value string) *tree.Node {
	if len(path) == 0 {
		return tree.Str(value)
	}
	out := &tree.Node{Kind: tree.Object}
	var old *tree.Node
	if n != nil {
		old = n.Member(path[0])
		for _, m := range n.Members {
			if m.Name != path[0] {
				out.Members = append(out.Members, m)
			}
		}
	}
	out.Members = append(out.Members, tree.Member{Name: path[0], Value: set(old, path[1:], value)})
	return out
}
