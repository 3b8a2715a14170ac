package yamltree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// The bounds of a file.
const (
	MaxBytes = 8 << 20
	MaxDepth = 64
	MaxNodes = 200_000
)

// Error is a file that cannot be read, with its place.
type Error struct {
	Line int // 1 is the first; 0 is not known
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

// File is a file of one or more documents.
type File struct {
	Documents []*tree.Node // without those that are empty
	data      []byte
	lines     []int // the first byte of each
	cursor    struct{ line, column, at int }
	nodes     map[*tree.Node]*yaml.Node
	keys      map[*tree.Node]*yaml.Node // of values of members
	depth     int
	count     int
}

// Parse reads all documents of a file.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxBytes {
		return nil, &Error{Text: fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), MaxBytes)}
	}
	if !utf8.Valid(data) {
		return nil, &Error{Text: "the file is not UTF-8"}
	}
	f := &File{data: data, nodes: map[*tree.Node]*yaml.Node{}, keys: map[*tree.Node]*yaml.Node{}}
	f.lines = []int{0}
	for i, c := range data {
		if c == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return nil, syntax(err)
		}
		if len(doc.Content) == 0 {
			continue
		}
		n, err := f.node(doc.Content[0])
		if err != nil {
			return nil, err
		}
		if n.Kind != tree.Null {
			f.Documents = append(f.Documents, n)
		}
	}
}

// syntax takes the line out of the library's own messages.
func syntax(err error) error {
	var line int
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	return &Error{Line: line, Text: text}
}

func failf(n *yaml.Node, format string, args ...any) error {
	return &Error{Line: n.Line, Text: fmt.Sprintf(format, args...)}
}

func (f *File) node(y *yaml.Node) (*tree.Node, error) {
	if f.count++; f.count > MaxNodes {
		return nil, failf(y, "more than %d values", MaxNodes)
	}
	if f.depth++; f.depth > MaxDepth {
		return nil, failf(y, "nested deeper than %d", MaxDepth)
	}
	defer func() { f.depth-- }()
	n := &tree.Node{Line: y.Line}
	f.nodes[n] = y
	var err error
	switch y.Kind {
	case yaml.AliasNode:
		n, err = f.node(y.Alias)
		if err == nil {
			n.Line = y.Line
		}
	case yaml.MappingNode:
		n.Kind = tree.Object
		err = f.mapping(n, y)
	case yaml.SequenceNode:
		n.Kind = tree.Array
		err = f.sequence(n, y)
	case yaml.ScalarNode:
		if err = f.noBareTag(y); err == nil {
			err = scalar(n, y)
		}
	default:
		err = failf(y, "a node of kind %d", y.Kind)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (f *File) sequence(n *tree.Node, y *yaml.Node) error {
	if err := tag(y, "!!seq"); err != nil {
		return err
	}
	for _, item := range y.Content {
		v, err := f.node(item)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, v)
	}
	return nil
}

func (f *File) mapping(n *tree.Node, y *yaml.Node) error {
	if err := tag(y, "!!map"); err != nil {
		return err
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, err := f.key(y.Content[i])
		if err != nil {
			return err
		}
		if line, again := seen[key]; again {
			return failf(y.Content[i], "key %q is there twice, first in line %d", cut(key), line)
		}
		seen[key] = y.Content[i].Line
		v, err := f.node(y.Content[i+1])
		if err != nil {
			return err
		}
		f.keys[v] = y.Content[i]
		n.Members = append(n.Members, tree.Member{Name: key, Line: y.Content[i].Line, Value: v})
	}
	return nil
}

func (f *File) key(y *yaml.Node) (string, error) {
	if y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	var n tree.Node
	if y.Kind != yaml.ScalarNode {
		return "", failf(y, "a key is not a string")
	}
	if y.Value == "<<" && y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
		return "", failf(y, "merge keys (<<) are not understood: write the members out")
	}
	if err := f.noBareTag(y); err != nil {
		return "", err
	}
	if err := scalar(&n, y); err != nil {
		return "", err
	}
	if n.Kind != tree.String {
		return "", failf(y, "key %s is %s: write it in quotes", cut(y.Value), n.Kind)
	}
	return n.Text, nil
}

// tag refuses any type but the usual one.
func tag(y *yaml.Node, usual string) error {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != usual {
		return failf(y, "tag %s is not understood", cut(y.Tag))
	}
	return nil
}

// noBareTag refuses the tag "!", which the library drops and Kubernetes takes for "this is a string".
func (f *File) noBareTag(y *yaml.Node) error {
	at, ok := f.offset(y)
	if !ok {
		return nil
	}
	rest := f.data[at:]
	if y.Anchor != "" {
		rest = bytes.TrimPrefix(bytes.TrimLeft(rest, "& \t"), []byte(y.Anchor))
		rest = bytes.TrimLeft(rest, " \t")
	}
	if y.Style&yaml.TaggedStyle == 0 && bytes.HasPrefix(rest, []byte("!")) {
		return failf(y, "tag ! is not understood")
	}
	return nil
}

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
