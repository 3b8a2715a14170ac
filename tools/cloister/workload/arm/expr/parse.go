package expr

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// maxDepth bounds how deep calls may nest in one expression.
const maxDepth = 64

// Expr is a parsed expression.
type Expr interface{ isExpr() }

type literal struct{ value *tree.Node }

type call struct {
	name string // as it was written
	args []Expr
}

type member struct {
	of   Expr
	name string
	safe bool // .? or [?: null where there is none
}

type index struct {
	of, index Expr
	safe      bool
}

func (literal) isExpr() {}
func (*call) isExpr()   {}
func (*member) isExpr() {}
func (*index) isExpr()  {}

// SyntaxError is an expression that cannot be read.
type SyntaxError struct {
	Expression string
	Offset     int // bytes from the expression's first
	Text       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("expression %q, at byte %d: %s", cut(e.Expression), e.Offset, e.Text)
}

// Parse reads a string of a template. An expression is returned as such, any other string with its escape resolved ("[[a]" is
// "[a]") and without one.
func Parse(text string) (Expr, string, error) {
	if !strings.HasPrefix(text, "[") || !strings.HasSuffix(text, "]") {
		return nil, text, nil
	}
	if strings.HasPrefix(text, "[[") {
		return nil, text[1:], nil
	}
	p := &parser{text: text, at: 1, end: len(text) - 1}
	x, err := p.expression()
	if err != nil {
		return nil, "", err
	}
	p.space()
	if p.at != p.end {
		return nil, "", p.errorf("got %s, want the end", p.got())
	}
	return x, "", nil
}

type parser struct {
	text    string
	at, end int
	depth   int
}

func (p *parser) errorf(format string, args ...any) error {
	return &SyntaxError{Expression: p.text, Offset: p.at, Text: fmt.Sprintf(format, args...)}
}

func (p *parser) peek() byte {
	if p.at >= p.end {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) got() string {
	if p.at >= p.end {
		return "the end"
	}
	c, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return fmt.Sprintf("%q", c)
}

func (p *parser) space() {
	for c := p.peek(); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = p.peek() {
		p.at++
	}
}

// take skips a byte if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.peek() != c || p.at >= p.end {
		return false
	}
	p.at++
	return true
}

func (p *parser) expression() (Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	p.space()
	var x Expr
	var err error
	switch c := p.peek(); {
	case c == '\'':
		x, err = p.str()
	case c == '-' || c == '+' || c >= '0' && c <= '9':
		x, err = p.number()
	case letter(c):
		x, err = p.call()
	default:
		return nil, p.errorf("got %s, want a function, a string in single quotes or a number", p.got())
	}
	if err != nil {
		return nil, err
	}
	return p.postfix(x)
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) word() string {
	start := p.at
	for c := p.peek(); letter(c) || c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.text[start:p.at]
}

// str reads a string in single quotes; two of them are one.
func (p *parser) str() (Expr, error) {
	p.at++
	var b strings.Builder
	for p.at < p.end {
		c := p.text[p.at]
		p.at++
		if c != '\'' {
			b.WriteByte(c)
			continue
		}
		if p.peek() != '\'' {
			return literal{tree.Str(b.String())}, nil
		}
		b.WriteByte(c)
		p.at++
	}
	return nil, p.errorf("a string without an end")
}

func (p *parser) number() (Expr, error) {
	start := p.at
	if c := p.peek(); c == '-' || c == '+' {
		p.at++
	}
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	n, err := strconv.ParseInt(p.text[start:p.at], 10, 64)
	if err != nil {
		return nil, p.errorf("%q is not a whole number of 64 bits", cut(p.text[start:p.at]))
	}
	return literal{integer(n)}, nil
}

// call reads a function of the language or, with a namespace before a dot, of the template.
func (p *parser) call() (Expr, error) {
	c := &call{name: p.word()}
	if p.peek() == '.' {
		p.at++
		name := p.word()
		if name == "" {
			return nil, p.errorf("got %s, want a function's name", p.got())
		}
		c.name += "." + name
	}
	if !p.take('(') {
		return nil, p.errorf("got %s after %q, want '('", p.got(), cut(c.name))
	}
	if p.take(')') {
		return c, nil
	}
	for {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if p.take(',') {
			continue
		}
		if p.take(')') {
			return c, nil
		}
		return nil, p.errorf("got %s, want ',' or ')'", p.got())
	}
}

// postfix reads what picks a part of a value: .name, [index], and their forms with a question mark.
func (p *parser) postfix(x Expr) (Expr, error) {
	for n := 0; ; n++ {
		if n > maxDepth {
			return nil, p.errorf("more than %d parts of parts", maxDepth)
		}
		switch {
		case p.take('.'):
			safe := p.take('?')
			p.space()
			name := p.word()
			if name == "" {
				return nil, p.errorf("got %s, want a member's name", p.got())
			}
			x = &member{of: x, name: name, safe: safe}
		case p.take('['):
			safe := p.take('?')
			i, err := p.expression()
			if err != nil {
				return nil, err
			}
			if !p.take(']') {
				return nil, p.errorf("got %s, want ']'", p.got())
			}
			x = &index{of: x, index: i, safe: safe}
		default:
			return x, nil
		}
	}
}

func integer(n int64) *tree.Node {
	return &tree.Node{Kind: tree.Number, Text: strconv.FormatInt(n, 10)}
}

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
