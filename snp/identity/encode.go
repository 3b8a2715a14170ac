package identity

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	encoding = must(encodingOptions().EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxArrayElements:  MaxEntries,
		MaxMapPairs:       16,
		MaxNestedLevels:   4,
	}.DecMode())
)

func encodingOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty // no list is an empty list, never null
	return o
}

func must[M any](m M, err error) M {
	if err != nil {
		panic(err) // constant options
	}
	return m
}

// document is a preimage on the wire. Byte strings are slices here, because a short one would decode into an array without a word.
type document struct {
	Label    string        `cbor:"label"`
	Policy   []byte        `cbor:"policy"`
	Entries  []entryItem   `cbor:"entries"`
	Layers   [][]byte      `cbor:"layers"`
	Args     []byte        `cbor:"args"`
	EventLog []byte        `cbor:"event_log"`
	Nonce    []byte        `cbor:"nonce"`
	Claimed  claimedMember `cbor:"claimed"`
}

type entryItem struct {
	Index    uint32        `cbor:"index"`
	Fragment *fragmentItem `cbor:"fragment,omitempty"`
}

type fragmentItem struct {
	Issuer string `cbor:"issuer"`
	Feed   string `cbor:"feed"`
	SVN    string `cbor:"svn"`
}

type claimedMember struct {
	ID    string   `cbor:"id"`
	Names []string `cbor:"names"`
	Image string   `cbor:"image"`
}

// Encode returns the deterministic CBOR of a preimage: a map of label, policy, entries, layers, args, event_log, nonce and claimed. A preimage beyond the
// bounds, or with entries out of order, is an error.
func (p *Preimage) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	d := document{
		Label: Label, Policy: p.PolicyDigest[:], Args: p.Args[:], EventLog: p.EventHead[:], Nonce: p.Nonce,
		Entries: make([]entryItem, len(p.Entries)), Layers: make([][]byte, len(p.Layers)),
		Claimed: claimedMember(p.Claimed),
	}
	for i, e := range p.Entries {
		d.Entries[i] = entryItem{Index: e.Index, Fragment: (*fragmentItem)(e.Fragment)}
	}
	for i := range p.Layers {
		d.Layers[i] = p.Layers[i][:]
	}
	b, err := encoding.Marshal(d)
	switch {
	case err != nil:
		return nil, fmt.Errorf("encode identity: %w", err)
	case len(b) > MaxEncoded:
		return nil, fmt.Errorf("encode identity: got %d bytes, want at most %d", len(b), MaxEncoded)
	}
	return b, nil
}

// Parse reads a preimage. It takes exactly what Encode makes: bytes that do not come out again from encoding what was read are refused.
func Parse(b []byte) (*Preimage, error) {
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("parse identity: got %d bytes, want at most %d", len(b), MaxEncoded)
	}
	var d document
	if err := decoding.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("parse identity: %w", err)
	}
	p, err := d.preimage()
	if err != nil {
		return nil, fmt.Errorf("parse identity: %w", err)
	}
	again, err := p.Encode()
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse identity: %w", err)
	case !bytes.Equal(again, b):
		return nil, errors.New("parse identity: the encoding is not the deterministic one, or a member is missing")
	}
	return p, nil
}

func (d *document) preimage() (*Preimage, error) {
	if d.Label != Label {
		return nil, fmt.Errorf("got label %.64q, want %q", d.Label, Label)
	}
	p := &Preimage{Nonce: d.Nonce, Claimed: Claimed(d.Claimed)}
	for _, m := range []struct {
		name string
		from []byte
		to   *[32]byte
	}{{"policy", d.Policy, &p.PolicyDigest}, {"args", d.Args, &p.Args}, {"event_log", d.EventLog, &p.EventHead}} {
		if len(m.from) != len(m.to) {
			return nil, fmt.Errorf("%s: got %d bytes, want %d", m.name, len(m.from), len(m.to))
		}
		copy(m.to[:], m.from)
	}
	for i, l := range d.Layers {
		if len(l) != 32 {
			return nil, fmt.Errorf("layers: layer %d: got %d bytes, want 32", i, len(l))
		}
		p.Layers = append(p.Layers, [32]byte(l))
	}
	for _, e := range d.Entries {
		p.Entries = append(p.Entries, Entry{Index: e.Index, Fragment: (*Fragment)(e.Fragment)})
	}
	return p, nil
}
