package kube

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var errForm = errors.New("stands there in a form that cannot be written to: put the annotations on lines of their own")

// text is a YAML document with its lines.
type text struct {
	data  []byte
	lines []int // offset of each line's first byte
	eol   string
}

func newText(data []byte) *text {
	t := &text{data: data, lines: []int{0}, eol: "\n"}
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		t.eol = "\r\n"
	}
	for i := 0; i < len(data); {
		n := lineBreak(data[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		t.lines = append(t.lines, i)
	}
	return t
}

// lineBreak is the length of the line break, as YAML counts them, that the text begins with.
func lineBreak(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("\r\n")):
		return 2
	case b[0] == '\n', b[0] == '\r':
		return 1
	}
	for _, s := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.HasPrefix(b, []byte(s)) {
			return len(s)
		}
	}
	return 0
}

// offset is where a node begins: lines and columns count from one, columns are characters.
func (t *text) offset(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(t.lines) {
		return 0, errForm
	}
	at := t.lines[n.Line-1]
	for range n.Column - 1 {
		if at >= len(t.data) {
			return 0, errForm
		}
		_, size := utf8.DecodeRune(t.data[at:])
		at += size
	}
	return at, nil
}

// behind is the offset of the line after a node's, and whether the node's line ends without a break.
func (t *text) behind(n *yaml.Node) (offset int, open bool) {
	if n.Line < len(t.lines) {
		return t.lines[n.Line], false
	}
	return len(t.data), true
}

// insert writes a chain of new keys, the last of which has the value, as the first entry of a mapping that is the value of
// key.
func (t *text) insert(key, mapping *yaml.Node, keys []string, value string) (edit, error) {
	if mapping.Kind == yaml.MappingNode && mapping.Style&yaml.FlowStyle != 0 {
		at, err := t.offset(mapping)
		if err != nil || at >= len(t.data) || t.data[at] != '{' {
			return edit{}, errForm
		}
		entry := flow(keys, value)
		if len(mapping.Content) > 0 {
			entry += ", "
		}
		return edit{at + 1, at + 1, entry}, nil
	}
	if key == nil {
		return edit{}, errForm
	}
	if mapping.Kind == yaml.ScalarNode && mapping.Value != "" { // null, spelt out
		at, err := t.offset(mapping)
		if err != nil || !bytes.HasPrefix(t.data[at:], []byte(mapping.Value)) {
			return edit{}, errForm
		}
		return edit{at, at + len(mapping.Value), "{" + flow(keys, value) + "}"}, nil
	}
	indent := key.Column + 1 // two more than the key's own
	if mapping.Kind == yaml.MappingNode {
		if len(mapping.Content) == 0 || mapping.Content[0].Line <= key.Line {
			return edit{}, errForm
		}
		indent = mapping.Content[0].Column - 1
	}
	at, open := t.behind(key)
	block := t.block(keys, value, indent)
	if open {
		block = t.eol + strings.TrimSuffix(block, t.eol)
	}
	return edit{at, at, block}, nil
}

func flow(keys []string, value string) string {
	if len(keys) == 1 {
		return `"` + keys[0] + `": "` + value + `"`
	}
	return `"` + keys[0] + `": {` + flow(keys[1:], value) + "}"
}

func (t *text) block(keys []string, value string, indent int) string {
	var b strings.Builder
	for i, key := range keys {
		b.WriteString(strings.Repeat(" ", indent+2*i) + key + ":")
		if i == len(keys)-1 {
			b.WriteString(` "` + value + `"`)
		}
		b.WriteString(t.eol)
	}
	return b.String()
}

// replace writes another value in the place of a scalar, which keeps its place and loses its form.
func (t *text) replace(key, old *yaml.Node, value string) (edit, error) {
	if old.Kind != yaml.ScalarNode {
		return edit{}, errForm
	}
	at, err := t.offset(old)
	if err != nil {
		return edit{}, err
	}
	length := 0
	switch rest := t.data[at:]; {
	case old.Style&yaml.DoubleQuotedStyle != 0:
		length = quoted(rest, '"')
	case old.Style&yaml.SingleQuotedStyle != 0:
		length = quoted(rest, '\'')
	case old.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		length = t.blockScalar(key, at)
	case old.Value == "" || !bytes.HasPrefix(rest, []byte(old.Value)):
	default:
		length = len(old.Value)
	}
	if length == 0 {
		return edit{}, errForm
	}
	return edit{at, at + length, `"` + value + `"`}, nil
}

// quoted is the length of a quoted scalar, 0 when it does not end.
func quoted(b []byte, quote byte) int {
	if len(b) == 0 || b[0] != quote {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && quote == '"':
			i++
		case b[i] == quote && quote == '\'' && i+1 < len(b) && b[i+1] == quote:
			i++
		case b[i] == quote:
			return i + 1
		}
	}
	return 0
}

// blockScalar is the length of a literal or folded scalar, from its mark to the end of its last line that is not blank.
func (t *text) blockScalar(key *yaml.Node, at int) int {
	if at >= len(t.data) || (t.data[at] != '|' && t.data[at] != '>') || key == nil {
		return 0
	}
	end := at + len(bytes.TrimRight(t.line(key.Line)[at-t.lines[key.Line-1]:], " \t\r\n"))
	for n := key.Line + 1; n <= len(t.lines); n++ {
		line := t.line(n)
		content := bytes.TrimRight(line, " \t\r\n")
		if len(content) == 0 {
			continue
		}
		if len(content)-len(bytes.TrimLeft(content, " ")) < key.Column {
			break
		}
		end = t.lines[n-1] + len(content)
	}
	return end - at
}

// line is one line with its break, counted from one.
func (t *text) line(n int) []byte {
	if n < len(t.lines) {
		return t.data[t.lines[n-1]:t.lines[n]]
	}
	return t.data[t.lines[n-1]:]
}
