package signature

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// attributes are the names of a distinguished name's attributes (RFC 4519), by object identifier.
var attributes = []struct{ oid, name string }{
	{"2.5.4.6", "C"},
	{"2.5.4.8", "ST"},
	{"2.5.4.7", "L"},
	{"2.5.4.10", "O"},
	{"2.5.4.11", "OU"},
	{"2.5.4.3", "CN"},
	{"2.5.4.9", "STREET"},
	{"2.5.4.17", "POSTALCODE"},
	{"2.5.4.5", "SERIALNUMBER"},
	{"0.9.2342.19200300.100.1.25", "DC"},
	{"0.9.2342.19200300.100.1.1", "UID"},
}

// attribute is one part of a distinguished name: "O=acme".
type attribute struct{ name, value string }

// subject is the distinguished name of a certificate, in its order, or the part of one that a requirement asks for. A nil
// subject in a requirement is any.
type subject []attribute

func nameOf(oid string) string {
	for _, a := range attributes {
		if a.oid == oid {
			return a.name
		}
	}
	return oid
}

// canonical gives an attribute type its one name.
func canonical(name string) (string, error) {
	name = strings.ToUpper(strings.TrimSpace(name))
	if name == "S" {
		return "ST", nil
	}
	for _, a := range attributes {
		if a.name == name || a.oid == name {
			return a.name, nil
		}
	}
	if _, err := parseOID(name); err != nil {
		return "", fmt.Errorf("attribute %s is not known; write it as an object identifier", quote(name))
	}
	return name, nil
}

func parseOID(text string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(text, ".") {
		n := 0
		if part == "" || len(part) > 9 {
			return nil, errors.New("not an object identifier")
		}
		for _, c := range part {
			if c < '0' || c > '9' {
				return nil, errors.New("not an object identifier")
			}
			n = n*10 + int(c-'0')
		}
		oid = append(oid, n)
	}
	if len(oid) < 2 {
		return nil, errors.New("not an object identifier")
	}
	return oid, nil
}

// parseSubject reads a trusted identity of the Notary Project's trust policy: "*", or a subject that has C, ST and O at least
// ("trust store and trust policy specification", trusted identities constraints). The prefix "x509.subject:" may stand before.
func parseSubject(text string) (subject, error) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "x509.subject:"))
	if text == "*" {
		return nil, nil
	}
	s, err := parseDN(text)
	if err != nil {
		return nil, fmt.Errorf("subject %s: %w", quote(text), err)
	}
	for _, name := range []string{"C", "ST", "O"} {
		if len(s.values(name)) == 0 {
			return nil, fmt.Errorf("subject %s: %s is missing: a trusted identity names country, state and organisation at least", quote(text), name)
		}
	}
	return s, nil
}

// parseDN reads "C=US, ST=WA, O=a\, b". Every attribute may be there once.
func parseDN(text string) (subject, error) {
	var s subject
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%s has no \"=\"", quote(text))
		}
		name, err := canonical(name)
		if err != nil {
			return nil, err
		}
		value, rest, err := unescape(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if value == "" || len(s.values(name)) > 0 {
			return nil, fmt.Errorf("%s: is empty or there twice", name)
		}
		s = append(s, attribute{name, value})
		text = rest
	}
	if len(s) == 0 {
		return nil, errors.New("is empty")
	}
	return s, nil
}

// unescape reads a value up to a comma. A backslash takes the next byte as it is.
func unescape(text string) (value, rest string, err error) {
	var b strings.Builder
	text = strings.TrimLeft(text, " ")
	keep := 0 // spaces at the end go, unless escaped
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			i++
			if i == len(text) {
				return "", "", errors.New("ends in a backslash")
			}
			b.WriteByte(text[i])
			keep = b.Len()
		case ',':
			if strings.TrimSpace(text[i+1:]) == "" {
				return "", "", errors.New("nothing follows the comma")
			}
			return b.String()[:max(keep, len(strings.TrimRight(b.String(), " ")))], text[i+1:], nil
		case '+', ';', '"', '<', '>':
			return "", "", fmt.Errorf("%q needs a backslash before it", string(c))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()[:max(keep, len(strings.TrimRight(b.String(), " ")))], "", nil
}

// subjectOf is the subject of a certificate. Values that are no text are refused: they could not be compared.
func subjectOf(name pkix.Name) (subject, error) {
	var s subject
	for _, a := range name.Names {
		value, ok := a.Value.(string)
		if !ok || value == "" {
			return nil, fmt.Errorf("attribute %s of the certificate's subject is no text", nameOf(a.Type.String()))
		}
		s = append(s, attribute{nameOf(a.Type.String()), value})
	}
	return s, nil
}

func (s subject) values(name string) []string {
	var v []string
	for _, a := range s {
		if a.name == name {
			v = append(v, a.value)
		}
	}
	return v
}

// matches tells whether a certificate's subject has every attribute of the requirement, each of them once and equal.
func (s subject) matches(certificate subject) bool {
	for _, a := range s {
		if v := certificate.values(a.name); len(v) != 1 || v[0] != a.value {
			return false
		}
	}
	return true
}

// String writes the name so that parseDN reads the same, if each attribute is there once.
func (s subject) String() string {
	if s == nil {
		return "*"
	}
	var b strings.Builder
	for i, a := range s {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.name + "=")
		for j, c := range []byte(a.value) {
			edge := c == ' ' && (j == 0 || j == len(a.value)-1)
			if edge || strings.IndexByte(`,+;"<>\`, c) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}
