// Package vectors makes the files of tests/vectors/identity: preimages with their encoding and REPORT_DATA, and encodings that a
// reader must refuse, one fault each. "go test ./snp/identity -update" writes them.
package vectors

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloister-cc/cloister/snp/identity"
)

// What a reader does with a vector.
const (
	ExpectOK    = "ok"
	ExpectParse = "parse" // refused while it is read
)

// Vector is one file. Byte strings are in lower-case hex.
type Vector struct {
	Name       string  `json:"name"`
	Note       string  `json:"note"`
	Expect     string  `json:"expect"`
	Fields     *Fields `json:"fields,omitempty"` // when it is "ok"
	CBOR       string  `json:"cbor"`
	ReportData string  `json:"report_data,omitempty"` // when it is "ok"
}

// Fields are a preimage's, in the terms of JSON.
type Fields struct {
	Policy   string   `json:"policy"`
	Entries  []Entry  `json:"entries"`
	Layers   []string `json:"layers"`
	Argv     []string `json:"argv"` // what args is the digest of
	Args     string   `json:"args"`
	EventLog string   `json:"event_log"`
	Nonce    string   `json:"nonce"`
	Claimed  Claimed  `json:"claimed"`
}

// Entry is a policy entry.
type Entry struct {
	Index    uint32    `json:"index"`
	Fragment *Fragment `json:"fragment,omitempty"`
}

// Fragment names a fragment.
type Fragment struct {
	Issuer string `json:"issuer"`
	Feed   string `json:"feed"`
	SVN    string `json:"svn"`
}

// Claimed is the host's word.
type Claimed struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Image string   `json:"image"`
}

// All makes every vector. The error names the one that could not be made.
func All() ([]Vector, error) {
	var all []Vector
	for _, g := range good() {
		v, err := g.vector()
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	bad, err := faulty(all[0].CBOR)
	return append(all, bad...), err
}

type source struct {
	name, note string
	argv       []string
	preimage   identity.Preimage
}

func fill(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

// good are preimages of each form that one can have.
func good() []source {
	layers := func(n int) (out [][32]byte) {
		for i := range n {
			out = append(out, fill(byte(i+1)))
		}
		return out
	}
	fragment := func(feed, svn string) *identity.Fragment {
		return &identity.Fragment{Issuer: "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2", Feed: feed, SVN: svn}
	}
	return []source{
		{"one-entry", "one container, one layer", []string{"/bin/w"}, identity.Preimage{
			PolicyDigest: fill(0xAA), Entries: []identity.Entry{{Index: 0}}, Layers: layers(1), EventHead: fill(0xBB),
			Nonce: bytes.Repeat([]byte{0x11}, 16), Claimed: identity.Claimed{ID: "c1", Names: []string{"web"}, Image: "localhost/w"},
		}},
		{"twins", "two entries of the policy can still be this container", []string{"/usr/bin/app", "--listen", ":8080", ""}, identity.Preimage{
			PolicyDigest: fill(1), Entries: []identity.Entry{{Index: 3}, {Index: 17}}, Layers: layers(3), EventHead: fill(2),
			Nonce: bytes.Repeat([]byte{0x22}, 32), Claimed: identity.Claimed{ID: strings.Repeat("ab", 32), Names: []string{"app", "app-6b8f"}, Image: "registry.example/app:v1"},
		}},
		{"fragment", "an entry of a fragment beside one of the policy's own", []string{"/bin/sidecar"}, identity.Preimage{
			PolicyDigest: fill(3), Layers: layers(2), EventHead: fill(4), Nonce: bytes.Repeat([]byte{0x33}, 64),
			Entries: []identity.Entry{{Index: 9}, {Index: 0, Fragment: fragment("contoso.azurecr.io/infra", "1")}},
			Claimed: identity.Claimed{ID: "sidecar", Names: []string{}, Image: ""},
		}},
		{"fragments-sorted", "fragments are in order of issuer, feed and version, and versions are texts: \"10\" is before \"9\"", []string{"/bin/sidecar"}, identity.Preimage{
			PolicyDigest: fill(5), Layers: layers(1), EventHead: fill(6), Nonce: bytes.Repeat([]byte{0x44}, 20),
			Entries: []identity.Entry{
				{Index: 2, Fragment: fragment("a", "10")},
				{Index: 1, Fragment: fragment("a", "9")},
				{Index: 4, Fragment: fragment("a", "9")},
				{Index: 0, Fragment: fragment("b", "1")},
			},
		}},
		{"no-entries", "a policy that allows without naming containers; nothing claimed", []string{"/sh"}, identity.Preimage{
			PolicyDigest: fill(7), EventHead: fill(8), Nonce: bytes.Repeat([]byte{0x55}, 16),
		}},
		{"wide-numbers", "indexes at each width that CBOR has for them, and texts that are not ASCII", []string{"/bin/ü", "字"}, identity.Preimage{
			PolicyDigest: fill(9), EventHead: fill(10), Nonce: bytes.Repeat([]byte{0x66}, 23), Layers: layers(24),
			Entries: []identity.Entry{{Index: 23}, {Index: 24}, {Index: 255}, {Index: 256}, {Index: 65535}, {Index: 65536}, {Index: 1<<32 - 1}},
			Claimed: identity.Claimed{ID: "ü", Names: []string{"字"}, Image: strings.Repeat("i", 256)},
		}},
	}
}

func (s source) vector() (Vector, error) {
	p := s.preimage
	p.Args = identity.ArgsDigest(s.argv)
	b, err := p.Encode()
	if err != nil {
		return Vector{}, fmt.Errorf("vector %q: %w", s.name, err)
	}
	data := identity.ReportData(b)
	f := &Fields{
		Policy: hex.EncodeToString(p.PolicyDigest[:]), Entries: []Entry{}, Layers: []string{}, Argv: s.argv, Args: hex.EncodeToString(p.Args[:]),
		EventLog: hex.EncodeToString(p.EventHead[:]), Nonce: hex.EncodeToString(p.Nonce),
		Claimed: Claimed{ID: p.Claimed.ID, Names: append([]string{}, p.Claimed.Names...), Image: p.Claimed.Image},
	}
	for _, e := range p.Entries {
		f.Entries = append(f.Entries, Entry{Index: e.Index, Fragment: (*Fragment)(e.Fragment)})
	}
	for _, l := range p.Layers {
		f.Layers = append(f.Layers, hex.EncodeToString(l[:]))
	}
	return Vector{Name: s.name, Note: s.note, Expect: ExpectOK, Fields: f, CBOR: hex.EncodeToString(b), ReportData: hex.EncodeToString(data[:])}, nil
}

// faulty changes one thing of a good encoding at a time.
func faulty(base string) ([]Vector, error) {
	good, err := hex.DecodeString(base)
	if err != nil {
		return nil, err
	}
	var out []Vector
	add := func(name, note string, b []byte) {
		out = append(out, Vector{Name: name, Note: note, Expect: ExpectParse, CBOR: hex.EncodeToString(b)})
	}
	add("trailing-byte", "one byte after the document", append(slices.Clone(good), 0))
	add("cut-short", "the last byte is missing", good[:len(good)-1])
	add("empty", "no bytes", nil)
	add("long-head", "the map's length in two bytes where one is enough", append([]byte{0xB8, good[0] & 0x1F}, good[1:]...))
	add("indefinite-map", "a map without a length", append(append([]byte{0xBF}, good[1:]...), 0xFF))
	edits := []struct {
		name, note string
		edit       func(m map[string]any)
	}{
		{"other-label", "another label", func(m map[string]any) { m["label"] = "cloister/identity/v2" }},
		{"unknown-member", "a member more", func(m map[string]any) { m["more"] = 1 }},
		{"nonce-short", "a nonce of 15 bytes", func(m map[string]any) { m["nonce"] = make([]byte, 15) }},
		{"nonce-long", "a nonce of 65 bytes", func(m map[string]any) { m["nonce"] = make([]byte, 65) }},
		{"nonce-text", "a nonce as text", func(m map[string]any) { m["nonce"] = strings.Repeat("n", 16) }},
		{"policy-short", "a policy digest of 31 bytes", func(m map[string]any) { m["policy"] = make([]byte, 31) }},
		{"policy-long", "a policy digest of 33 bytes", func(m map[string]any) { m["policy"] = make([]byte, 33) }},
		{"args-list", "the arguments themselves in place of their digest", func(m map[string]any) { m["args"] = []string{"/bin/w"} }},
		{"event-log-missing-bytes", "an empty event-log head", func(m map[string]any) { m["event_log"] = []byte{} }},
		{"layer-short", "a root hash of 31 bytes", func(m map[string]any) { m["layers"] = [][]byte{make([]byte, 31)} }},
		{"layers-null", "null for no layers", func(m map[string]any) { m["layers"] = nil }},
		{"entries-unsorted", "entries out of order", func(m map[string]any) { m["entries"] = []any{index(2), index(1)} }},
		{"entries-twice", "one entry twice", func(m map[string]any) { m["entries"] = []any{index(1), index(1)} }},
		{"entry-negative", "a negative index", func(m map[string]any) { m["entries"] = []any{map[string]any{"index": -1}} }},
		{"entry-wide", "an index of 33 bits", func(m map[string]any) { m["entries"] = []any{map[string]any{"index": uint64(1) << 32}} }},
		{"entry-fragment-null", "null in place of no fragment", func(m map[string]any) { m["entries"] = []any{map[string]any{"index": 0, "fragment": nil}} }},
		{"entry-index-float", "an index as a floating-point number", func(m map[string]any) { m["entries"] = []any{map[string]any{"index": 1.0}} }},
		{"svn-number", "a fragment's version as a number", func(m map[string]any) {
			m["entries"] = []any{map[string]any{"index": 0, "fragment": map[string]any{"issuer": "i", "feed": "f", "svn": 1}}}
		}},
		{"claimed-id-bytes", "a claimed id as bytes", func(m map[string]any) { m["claimed"].(map[any]any)["id"] = []byte("c1") }},
		{"claimed-more", "a member more in what is claimed", func(m map[string]any) { m["claimed"].(map[any]any)["pod"] = "p" }},
		{"claimed-image-long", "a text above the bound", func(m map[string]any) { m["claimed"].(map[any]any)["image"] = strings.Repeat("i", identity.MaxText+1) }},
		{"member-case", "a member in another case", func(m map[string]any) { m["Nonce"] = m["nonce"]; delete(m, "nonce") }},
	}
	for _, name := range []string{"label", "policy", "entries", "layers", "args", "event_log", "nonce", "claimed"} {
		edits = append(edits, struct {
			name, note string
			edit       func(m map[string]any)
		}{"missing-" + strings.ReplaceAll(name, "_", "-"), "a member is missing", func(m map[string]any) { delete(m, name) }})
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		var m map[string]any
		if err := cbor.Unmarshal(good, &m); err != nil {
			return nil, err
		}
		e.edit(m)
		b, err := mode.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("vector %q: %w", e.name, err)
		}
		add(e.name, e.note, b)
	}
	return append(out, reordered(good), repeated(good), tagged(good), badText(good)), nil
}

func index(n uint32) map[string]any { return map[string]any{"index": n} }

// member is a text key and what follows it up to the next of the one-entry document, found by the keys' own bytes.
func member(doc []byte, key, next string) []byte {
	from := bytes.Index(doc, textItem(key))
	to := len(doc)
	if next != "" {
		to = bytes.Index(doc, textItem(next))
	}
	return doc[from:to]
}

func textItem(s string) []byte { return append([]byte{0x60 | byte(len(s))}, s...) }

func parseVector(name, note string, b []byte) Vector {
	return Vector{Name: name, Note: note, Expect: ExpectParse, CBOR: hex.EncodeToString(b)}
}

func reordered(doc []byte) Vector {
	args, label := member(doc, "args", "label"), member(doc, "label", "nonce")
	b := slices.Concat(doc[:1], label, args, doc[1+len(args)+len(label):])
	return parseVector("members-unsorted", "label before args", b)
}

func repeated(doc []byte) Vector {
	b := slices.Concat([]byte{doc[0] + 1}, doc[1:], member(doc, "event_log", ""))
	return parseVector("member-twice", "a member twice", b)
}

func tagged(doc []byte) Vector {
	return parseVector("tagged", "a tag around the document", append([]byte{0xC1}, doc...))
}

func badText(doc []byte) Vector {
	b := slices.Clone(doc)
	b[bytes.Index(b, []byte("web"))] = 0xFF
	return parseVector("not-utf8", "a text that is not UTF-8", b)
}
