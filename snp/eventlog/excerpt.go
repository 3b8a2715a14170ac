package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// MaxExcerpt bounds an encoded excerpt, in bytes.
const MaxExcerpt = 1 << 20

// Excerpt is the end of a log: everything from entry number First on.
type Excerpt struct {
	Base    [32]byte // head before the first entry here; all zero when First is 0
	First   uint64
	Entries [][]byte // encoded, in order; at least one
	Head    [32]byte // head after the last
}

// wire is an excerpt in CBOR.
type wire struct {
	Label   string   `cbor:"label"`
	Base    []byte   `cbor:"base"`
	First   uint64   `cbor:"first"`
	Entries [][]byte `cbor:"entries"`
	Head    []byte   `cbor:"head"`
}

// Encode is the excerpt as deterministic CBOR: a map of label, base, first, entries and head.
func (x Excerpt) Encode() []byte {
	entries := x.Entries
	if entries == nil {
		entries = [][]byte{}
	}
	b, err := deterministic.Marshal(wire{Label: domain, Base: x.Base[:], First: x.First, Entries: entries, Head: x.Head[:]})
	if err != nil {
		panic("eventlog: encode excerpt: " + err.Error())
	}
	return b
}

// Parse decodes an excerpt, which is the host's bytes. It checks form only: Verify replays the chain.
func Parse(b []byte) (*Excerpt, error) {
	if len(b) > MaxExcerpt {
		return nil, fmt.Errorf("parse event log: got %d bytes, want at most %d", len(b), MaxExcerpt)
	}
	var w wire
	if err := strict.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("parse event log: %w", err)
	}
	x := &Excerpt{First: w.First, Entries: w.Entries}
	if w.Label != domain || len(w.Base) != len(x.Base) || len(w.Head) != len(x.Head) {
		return nil, fmt.Errorf("parse event log: got label %.32q, base of %d and head of %d bytes, want %q and twice 32",
			w.Label, len(w.Base), len(w.Head), domain)
	}
	copy(x.Base[:], w.Base)
	copy(x.Head[:], w.Head)
	for i, e := range x.Entries {
		if len(e) == 0 || len(e) > MaxEntry {
			return nil, fmt.Errorf("parse event log: entry %d of the list: got %d bytes, want 1 to %d", i, len(e), MaxEntry)
		}
	}
	if !bytes.Equal(x.Encode(), b) {
		return nil, errors.New("parse event log: got another encoding than the deterministic one")
	}
	return x, nil
}

// Verify replays the chain from Base to Head and checks that the entries are numbered from First on, that they say how the agent was run, and that
// each is one an agent would have made. The caller compares Head with the head in the evidence.
//
// An excerpt whose front somebody cut off verifies only if an agent could have folded that away: First is above 0, and a summary is there.
func (x *Excerpt) Verify() error {
	_, err := x.Replay()
	return err
}

// Replay is Verify, and returns the entries.
func (x *Excerpt) Replay() ([]Entry, error) {
	if len(x.Entries) == 0 || len(x.Entries) > MaxEntries {
		return nil, fmt.Errorf("verify event log: got %d entries, want 1 to %d", len(x.Entries), MaxEntries)
	}
	if (x.First == 0) != (x.Base == [32]byte{}) {
		return nil, fmt.Errorf("verify event log: got base %x before entry %d, want all zero before entry 0 and only there", x.Base, x.First)
	}
	if x.First > math.MaxUint64-MaxEntries {
		return nil, fmt.Errorf("verify event log: got first entry %d, more than there can be", x.First)
	}
	out := make([]Entry, 0, len(x.Entries))
	head, anchored := x.Base, false
	for i, data := range x.Entries {
		e, err := ParseEntry(data)
		if err != nil {
			return nil, fmt.Errorf("verify event log: %w", err)
		}
		if want := x.First + uint64(i); e.Seq != want {
			return nil, fmt.Errorf("verify event log: got entry %d, want %d", e.Seq, want)
		}
		if (e.Kind == KindStart) != (e.Seq == 0) {
			return nil, fmt.Errorf("verify event log: got a %s entry at %d, want start at 0 and only there", e.Kind, e.Seq)
		}
		anchored = anchored || e.Kind == KindStart || e.Kind == KindSummary
		head = step(head, data)
		out = append(out, *e)
	}
	if !anchored {
		return nil, fmt.Errorf("verify event log: got entries from %d on without a summary of those before", x.First)
	}
	if head != x.Head {
		return nil, fmt.Errorf("verify event log: got head %x after the last entry, want %x", head, x.Head)
	}
	return out, nil
}
