package jsontree

import (
	"bytes"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Replace returns the document with a value in place of one that was read from it; no byte around it changes.
func Replace(doc []byte, old, value *tree.Node) []byte {
	s := styleOf(doc)
	return splice(doc, old.Start, old.End, s.write(value, lineIndent(doc, old.Start)))
}

// AddMember returns the document with one more member, the last, in an object that was read from it. Its place and
// indentation follow the members that are there.
func AddMember(doc []byte, object *tree.Node, name string, value *tree.Node) []byte {
	s := styleOf(doc)
	member := func(indent string) []byte {
		var b bytes.Buffer
		quote(&b, name)
		return append(append(b.Bytes(), s.colon...), s.write(value, indent)...)
	}
	if len(object.Members) == 0 {
		outer := lineIndent(doc, object.Start)
		text := append([]byte(s.newline+outer+s.step(1)), member(outer+s.step(1))...)
		if !bytes.Contains(doc[object.Start:object.End], []byte("\n")) {
			text = append(text, s.newline+outer...)
		}
		return splice(doc, object.Start+1, object.Start+1, text)
	}
	first, last := &object.Members[0], &object.Members[len(object.Members)-1]
	text := []byte(",")
	indent, alone := ownLine(doc, last.Start)
	switch {
	case alone:
		text = append(text, s.newline+indent...)
	case s.newline != "" || first.Start > object.Start+1:
		text = append(text, ' ')
		indent = lineIndent(doc, last.Start)
	}
	return splice(doc, last.Value.End, last.Value.End, append(text, member(indent)...))
}

func splice(doc []byte, from, to int, text []byte) []byte {
	out := make([]byte, 0, len(doc)+len(text))
	out = append(out, doc[:from]...)
	out = append(out, text...)
	return append(out, doc[to:]...)
}

// style is how a document is laid out: all empty in one that has a single line.
type style struct {
	newline string
	indent  string // one step
	colon   string
}

func styleOf(doc []byte) style {
	i := bytes.IndexByte(doc, '\n')
	if i < 0 || len(bytes.TrimSpace(doc[i:])) == 0 {
		s := style{colon: ":"}
		if bytes.Contains(doc, []byte(`": `)) {
			s.colon = ": "
		}
		return s
	}
	s := style{newline: "\n", indent: "  ", colon: ": "}
	if i > 0 && doc[i-1] == '\r' {
		s.newline = "\r\n"
	}
	// The first line that is indented at all shows one step.
	for line := range bytes.Lines(doc) {
		body := bytes.TrimLeft(line, " \t")
		if n := len(line) - len(body); n > 0 && n <= 8 && len(bytes.TrimSpace(body)) > 0 && body[0] == '"' {
			s.indent = string(line[:n])
			break
		}
	}
	return s
}

func (s style) step(n int) string {
	if s.newline == "" {
		return ""
	}
	return string(bytes.Repeat([]byte(s.indent), n))
}

// write lays a value out at an indentation.
func (s style) write(n *tree.Node, indent string) []byte {
	if n.Kind != tree.Object || len(n.Members) == 0 || s.newline == "" {
		return s.compact(n)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range n.Members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(s.newline + indent + s.indent)
		quote(&b, n.Members[i].Name)
		b.WriteString(s.colon)
		b.Write(s.write(n.Members[i].Value, indent+s.indent))
	}
	b.WriteString(s.newline + indent + "}")
	return b.Bytes()
}

func (s style) compact(n *tree.Node) []byte {
	if n.Kind != tree.Object || s.colon == ":" {
		return Encode(n)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range n.Members {
		if i > 0 {
			b.WriteString(", ")
		}
		quote(&b, n.Members[i].Name)
		b.WriteString(s.colon)
		b.Write(s.compact(n.Members[i].Value))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// lineIndent is the white space that the line of a byte begins with.
func lineIndent(doc []byte, at int) string {
	start := bytes.LastIndexByte(doc[:at], '\n') + 1
	line := doc[start:at]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// ownLine says whether nothing but white space stands before a byte in its line, and what white space.
func ownLine(doc []byte, at int) (string, bool) {
	start := bytes.LastIndexByte(doc[:at], '\n') + 1
	if start == 0 {
		return "", false
	}
	return string(doc[start:at]), len(bytes.TrimLeft(doc[start:at], " \t")) == 0
}
