package cose

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// kind is one of did:x509's policies. form judges the parts of a value as they are spelt, match compares the decoded
// parts with a leaf, derive reads them from one.
type kind struct {
	form   func(raw []string) error
	match  func(fields []string, leaf *x509.Certificate) error
	derive func(leaf *x509.Certificate) ([]string, error)
}

var kinds = map[string]kind{
	"subject":       {subjectForm, subjectMatch, subjectDerive},
	"san":           {sanForm, sanMatch, sanDerive},
	"eku":           {ekuForm, ekuMatch, ekuDerive},
	"fulcio-issuer": {fulcioForm, fulcioMatch, fulcioDerive},
}

// dotted is the method's oid.
var dotted = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)

// labels are the attributes with a short name. They go by that name only.
var labels = map[string]string{
	"2.5.4.3":  "CN",
	"2.5.4.7":  "L",
	"2.5.4.8":  "ST",
	"2.5.4.10": "O",
	"2.5.4.11": "OU",
	"2.5.4.6":  "C",
	"2.5.4.9":  "STREET",
}

func isLabel(key string) bool {
	for _, l := range labels {
		if l == key {
			return true
		}
	}
	return false
}

func subjectForm(raw []string) error {
	if len(raw)%2 != 0 {
		return fmt.Errorf("got %d parts, want pairs of key and value", len(raw))
	}
	seen := map[string]bool{}
	for i := 0; i < len(raw); i += 2 {
		key := raw[i]
		if !isLabel(key) && !dotted.MatchString(key) {
			return fmt.Errorf("got key %q, want CN, L, ST, O, OU, C, STREET or an OID", clip(key))
		}
		if l, ok := labels[key]; ok {
			return fmt.Errorf("key %s is spelt %s", key, l)
		}
		if seen[key] {
			return fmt.Errorf("key %s is repeated", clip(key))
		}
		seen[key] = true
	}
	return nil
}

// attribute is one part of a subject, under its label or OID.
type attribute struct{ key, value string }

// attributes reads the leaf's subject. The method does not support repeated attributes: which of two would count?
func attributes(leaf *x509.Certificate) ([]attribute, error) {
	var out []attribute
	for _, n := range leaf.Subject.Names {
		key := n.Type.String()
		if l, ok := labels[key]; ok {
			key = l
		}
		value, ok := n.Value.(string)
		if !ok {
			return nil, fmt.Errorf("the leaf's attribute %s is not a string", key)
		}
		if slices.ContainsFunc(out, func(a attribute) bool { return a.key == key }) {
			return nil, fmt.Errorf("the leaf's subject repeats attribute %s", key)
		}
		out = append(out, attribute{key, value})
	}
	return out, nil
}

func subjectMatch(fields []string, leaf *x509.Certificate) error {
	have, err := attributes(leaf)
	if err != nil {
		return err
	}
	for i := 0; i < len(fields); i += 2 {
		key, want := fields[i], fields[i+1]
		at := slices.IndexFunc(have, func(a attribute) bool { return a.key == key })
		if at < 0 {
			return fmt.Errorf("%s: got none in the leaf's subject, want %q", key, clip(want))
		}
		if have[at].value != want {
			return fmt.Errorf("%s: got %q, want %q", key, clip(have[at].value), clip(want))
		}
	}
	return nil
}

func subjectDerive(leaf *x509.Certificate) ([]string, error) {
	have, err := attributes(leaf)
	if err != nil {
		return nil, err
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("the leaf has no subject")
	}
	var fields []string
	for _, a := range have {
		fields = append(fields, a.key, a.value)
	}
	return fields, nil
}

// Context-specific tags of GeneralName, RFC 5280, section 4.2.1.6.
var sanTags = map[string]int{"email": 1, "dns": 2, "uri": 6}

func sanForm(raw []string) error {
	if len(raw) != 2 {
		return fmt.Errorf("got %d parts, want type and value", len(raw))
	}
	if _, ok := sanTags[raw[0]]; !ok {
		return fmt.Errorf("got type %q, want email, dns or uri", clip(raw[0]))
	}
	return nil
}

func extension(leaf *x509.Certificate, oid asn1.ObjectIdentifier) ([]byte, bool) {
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oid) {
			return e.Value, true
		}
	}
	return nil, false
}

// names returns the alternative names of one type as the certificate spells them. The library's own fields would not do: it parses
// URIs and prints them anew.
func names(leaf *x509.Certificate, tag int) ([]string, error) {
	raw, ok := extension(leaf, asn1.ObjectIdentifier{2, 5, 29, 17})
	if !ok {
		return nil, nil
	}
	var all []asn1.RawValue
	if rest, err := asn1.Unmarshal(raw, &all); err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("the leaf's subject alternative name is malformed")
	}
	var out []string
	for _, v := range all {
		if v.Class == asn1.ClassContextSpecific && v.Tag == tag {
			out = append(out, string(v.Bytes))
		}
	}
	return out, nil
}

func sanMatch(fields []string, leaf *x509.Certificate) error {
	have, err := names(leaf, sanTags[fields[0]])
	if err != nil {
		return err
	}
	if !slices.Contains(have, fields[1]) {
		return fmt.Errorf("%s: got %s, want %q", fields[0], list(have), clip(fields[1]))
	}
	return nil
}

func sanDerive(leaf *x509.Certificate) ([]string, error) {
	for _, kind := range []string{"email", "dns", "uri"} {
		have, err := names(leaf, sanTags[kind])
		if err != nil {
			return nil, err
		}
		if len(have) > 0 {
			return []string{kind, have[0]}, nil
		}
	}
	return nil, fmt.Errorf("the leaf has no email, dns or uri name")
}

func ekuForm(raw []string) error {
	if len(raw) != 1 || !dotted.MatchString(raw[0]) {
		return fmt.Errorf("got %q, want one OID", clip(strings.Join(raw, ":")))
	}
	return nil
}

// usages returns all extended key usages, those the library knows by name and the others.
func usages(leaf *x509.Certificate) ([]string, error) {
	raw, ok := extension(leaf, asn1.ObjectIdentifier{2, 5, 29, 37})
	if !ok {
		return nil, nil
	}
	var all []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(raw, &all); err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("the leaf's extended key usage is malformed")
	}
	var out []string
	for _, oid := range all {
		out = append(out, oid.String())
	}
	return out, nil
}

func ekuMatch(fields []string, leaf *x509.Certificate) error {
	have, err := usages(leaf)
	if err != nil {
		return err
	}
	if !slices.Contains(have, fields[0]) {
		return fmt.Errorf("got %s, want %s", list(have), clip(fields[0]))
	}
	return nil
}

func ekuDerive(leaf *x509.Certificate) ([]string, error) {
	have, err := usages(leaf)
	if err != nil {
		return nil, err
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("the leaf has no extended key usage")
	}
	// The longest OID is the one that says most about whose certificate this is.
	return []string{slices.MaxFunc(have, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") })}, nil
}

// oidFulcioIssuer is Fulcio's extension with the OIDC issuer as bare bytes.
var oidFulcioIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}

const fulcioScheme = "https://"

func fulcioForm(raw []string) error {
	if len(raw) != 1 {
		return fmt.Errorf("got %d parts, want one (a colon must be percent-encoded)", len(raw))
	}
	return nil
}

func fulcioMatch(fields []string, leaf *x509.Certificate) error {
	have, ok := extension(leaf, oidFulcioIssuer)
	if !ok {
		return fmt.Errorf("got a leaf without the Fulcio issuer extension (%s), want %q", oidFulcioIssuer, clip(fulcioScheme+fields[0]))
	}
	if string(have) != fulcioScheme+fields[0] {
		return fmt.Errorf("got %q, want %q", clip(string(have)), clip(fulcioScheme+fields[0]))
	}
	return nil
}

func fulcioDerive(leaf *x509.Certificate) ([]string, error) {
	have, ok := extension(leaf, oidFulcioIssuer)
	rest, https := bytes.CutPrefix(have, []byte(fulcioScheme))
	if !ok || !https {
		return nil, fmt.Errorf("the leaf names no Fulcio issuer")
	}
	return []string{string(rest)}, nil
}

func list(have []string) string {
	if len(have) == 0 {
		return "none"
	}
	return clip(fmt.Sprintf("%q", have))
}
