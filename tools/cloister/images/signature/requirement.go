package signature

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Syntax is how requirements are written, for the help of a flag.
const Syntax = `A requirement is one of
  FILE                                 a PEM public key (ECDSA P-256, P-384, P-521, RSA from 2048 bits, Ed25519) that cosign signs with
  cosign:key=FILE                      the same
  cosign:identity=ID,issuer=URL,roots=FILE[,rekor=FILE][,tsa=FILE][,ctlog=FILE]
                                       a certificate by Fulcio: its subject alternative name and its OIDC issuer. roots is a
                                       trusted_root.json, or a PEM file of Fulcio's certificates, which needs rekor (PEM public
                                       keys) or tsa (PEM certificates) too: certificates that live for minutes are judged at a
                                       time that one of them proves. identity-regexp= and issuer-regexp= match the whole text.
  notation:subject=DN,roots=PATH[,tsa=PATH][,authorities=PATH]
                                       a Notary Project signature whose certificate's subject has these attributes (at least C,
                                       ST and O; "*" is any) and leads to a CA in roots (a PEM file or a directory of them).
                                       tsa holds the time stampers' CAs; authorities those of the scheme
                                       notary.x509.signingAuthority.
cosign requirements take predicate=URI for an attestation instead of a signature, e.g. https://slsa.dev/provenance/v1.
An image must satisfy one of them. A comma before one of these names ends a value; "\," is a comma in it.`

// kind is the tool whose signatures a requirement takes.
type kind string

const (
	kindCosign   kind = "cosign"
	kindNotation kind = "notation"
)

// signPredicate is the type of the statement that "cosign sign" makes. An attestation is a statement of another type: it may say
// anything of the image, also that it is bad.
const signPredicate = "https://sigstore.dev/cosign/sign/v1"

// maxRequirement bounds the text of a requirement, in bytes.
const maxRequirement = 8 << 10

// Requirement is a signature that an image must have. It is made by ParseRequirement; the files it names are read by NewVerifier.
type Requirement struct {
	text   string
	kind   kind
	values map[string]string
}

// members are the names that a requirement may use.
var members = map[kind][]string{
	kindCosign: {
		"key", "identity", "identity-regexp", "issuer", "issuer-regexp", "roots", "rekor", "tsa", "ctlog", "predicate",
	},
	kindNotation: {"subject", "roots", "tsa", "authorities"},
}

// ParseRequirement reads a requirement as Syntax describes it. It opens no file.
func ParseRequirement(text string) (Requirement, error) {
	r, err := parseRequirement(text)
	if err != nil {
		return Requirement{}, fmt.Errorf("signature requirement %s: %w", quote(text), err)
	}
	return r, nil
}

// String is the requirement as it was written.
func (r Requirement) String() string { return r.text }

func parseRequirement(text string) (Requirement, error) {
	r := Requirement{text: text, kind: kindCosign}
	if len(text) > maxRequirement {
		return r, fmt.Errorf("got %d bytes, want at most %d", len(text), maxRequirement)
	}
	rest, ok := strings.CutPrefix(text, "cosign:")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "notation:"); ok {
			r.kind = kindNotation
		}
	}
	if !ok {
		if text == "" {
			return r, errors.New("is empty; want a key file, cosign:… or notation:…")
		}
		r.values = map[string]string{"key": text}
		return r, nil
	}
	var err error
	if r.values, err = splitMembers(rest, members[r.kind]); err != nil {
		return r, err
	}
	if r.kind == kindNotation {
		return r, r.checkNotation()
	}
	return r, r.checkCosign()
}

func (r Requirement) has(name string) bool { return r.values[name] != "" }

// exclusive refuses members beside one that they have no meaning with.
func (r Requirement) exclusive(with string, allowed ...string) error {
	for _, name := range members[r.kind] {
		if name != with && r.has(name) && !slices.Contains(allowed, name) {
			return fmt.Errorf("%s= and %s= exclude each other", with, name)
		}
	}
	return nil
}

func (r Requirement) checkCosign() error {
	if r.has("key") {
		return r.exclusive("key", "predicate")
	}
	for _, name := range []string{"identity", "issuer"} {
		switch pattern := name + "-regexp"; {
		case r.has(name) && r.has(pattern):
			return fmt.Errorf("%s= and %s= exclude each other", name, pattern)
		case !r.has(name) && !r.has(pattern):
			return fmt.Errorf("%s= is missing (or key=FILE for a key)", name)
		case r.has(pattern):
			if _, err := wholeMatch(r.values[pattern]); err != nil {
				return fmt.Errorf("%s=: %w", pattern, err)
			}
		}
	}
	if !r.has("roots") {
		return errors.New("roots= is missing: a trusted_root.json or a PEM file with Fulcio's certificates (nothing is trusted by itself)")
	}
	return nil
}

func (r Requirement) checkNotation() error {
	for _, name := range []string{"subject", "roots"} {
		if !r.has(name) {
			return fmt.Errorf("%s= is missing", name)
		}
	}
	_, err := parseSubject(r.values["subject"])
	return err
}

// memberStart finds where a member begins. All their names are lower-case, as no attribute of a distinguished name is.
var memberStart = regexp.MustCompile(`(?:^|,)\s*([a-z][a-z-]*)=`)

// splitMembers reads name=value,name=value. A value ends where a comma and a name follow.
func splitMembers(text string, known []string) (map[string]string, error) {
	found := memberStart.FindAllStringSubmatchIndex(text, -1)
	if len(found) == 0 || found[0][0] != 0 {
		return nil, fmt.Errorf("want name=value,… with the names %s", strings.Join(known, ", "))
	}
	values := make(map[string]string)
	for i := 0; i < len(found); i++ {
		name, end := text[found[i][2]:found[i][3]], len(text)
		start := found[i][1]
		for i+1 < len(found) && text[found[i+1][0]-1] == '\\' {
			i++ // the comma is part of the value
		}
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%s= is not known; want one of %s", name, strings.Join(known, ", "))
		case values[name] != "":
			return nil, fmt.Errorf("%s= is given twice", name)
		}
		value := strings.TrimSpace(text[start:end])
		if name != "subject" { // where backslashes have a meaning of their own
			value = strings.ReplaceAll(value, `\,`, `,`)
		}
		if value == "" {
			return nil, fmt.Errorf("%s= is empty", name)
		}
		values[name] = value
	}
	return values, nil
}

// wholeMatch compiles an expression that must match the whole text: one that matches a part would take
// "https://github.com/acme" for "https://evil.example/?https://github.com/acme".
func wholeMatch(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// quote makes a stranger's text safe to print: quoted, at most 128 bytes.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
