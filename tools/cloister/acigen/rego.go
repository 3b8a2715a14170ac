package acigen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

// text writes the sections in the order in which the peers' tools have them.
func (p *Policy) text(pretty bool) []byte {
	var b bytes.Buffer
	name := "policy"
	if p.namespace != "" {
		name = p.namespace
	}
	fmt.Fprintf(&b, "package %s\n\n", name)
	for _, i := range p.Level.Imports {
		fmt.Fprintf(&b, "import %s\n", i)
	}
	if len(p.Level.Imports) > 0 {
		b.WriteString("\n")
	}
	if p.namespace != "" {
		fmt.Fprintf(&b, "svn := %q\n", p.svn)
	} else {
		fmt.Fprintf(&b, "api_version := %q\n", p.Level.APIVersion)
	}
	fmt.Fprintf(&b, "framework_version := %q\n\n", p.Level.FrameworkVersion)
	fmt.Fprintf(&b, "fragments := %s\n\n", encode(p.Fragments, true, p.Level.JSONText))
	fmt.Fprintf(&b, "containers := %s", encode(p.Containers, pretty, p.Level.JSONText))
	if p.namespace == "" {
		p.rest(&b)
	}
	if p.Level.FinalNewline {
		b.WriteString("\n")
	}
	return b.Bytes()
}

// rest is what a fragment has not.
func (p *Policy) rest(b *bytes.Buffer) {
	b.WriteString("\n\n")
	for _, f := range p.Level.Flags {
		fmt.Fprintf(b, "%s := %t\n", f.Name, p.flag(f))
	}
	b.WriteString("\n")
	for _, d := range p.Level.Delegations {
		fmt.Fprintf(b, "%s := data.framework.%s\n", d, d)
	}
	fmt.Fprintf(b, "\nreason := %s", p.Level.Reason)
}

func (p *Policy) flag(f defaults.Flag) bool {
	if p.debug {
		return f.Debug
	}
	return f.Value
}

// encode writes JSON, which is Rego too: on one line, or two spaces a level. Nothing is escaped for HTML.
func encode(v any, pretty bool, text defaults.JSONText) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // structs of strings, numbers and lists
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if text == defaults.ASCII {
		out = escape(out)
	}
	return out
}

// escape writes what is not printable ASCII as JSON escapes; outside of strings there is none.
func escape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r == '\n' || r >= ' ' && r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
