package identity

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Label begins every preimage's meaning: a hash over anything else is no identity.
const Label = "cloister/identity/v1"

// Bounds of a preimage. They are above what a guest can hold (overlayfs stacks 500 layers) and bound what a verifier keeps.
const (
	MinNonce   = 16 // bytes
	MaxNonce   = 64
	MaxEncoded = 1 << 20 // bytes
	MaxEntries = 1 << 14
	MaxLayers  = 1 << 10
	MaxNames   = 16
	MaxText    = 4096 // bytes of any one text
)

// Entry is one policy entry that still can be the container, after all that the host has asked for so far. Index counts in the
// containers array of the policy's own text when Fragment is nil, else of that fragment.
type Entry struct {
	Fragment *Fragment
	Index    uint32
}

// Fragment names a policy fragment: its issuer and feed, and the version it declares.
type Fragment struct {
	Issuer, Feed string
	SVN          string
}

// Claimed is what the host calls the container. No policy judged it and nothing binds it to what runs.
type Claimed struct {
	ID    string
	Names []string
	Image string
}

// Preimage is what identity evidence says of a container.
type Preimage struct {
	PolicyDigest [32]byte   // what HOST_DATA of the same report holds
	Entries      []Entry    // sorted and unique; SortEntries makes them so
	Layers       [][32]byte // dm-verity root hashes, in the order of the overlay as it was decided: top first
	Args         [32]byte   // ArgsDigest of the init process's arguments
	EventHead    [32]byte   // head of the event log when the evidence was made
	Nonce        []byte     // the asker's, 16 to 64 bytes
	Claimed      Claimed
}

// ReportData is REPORT_DATA of the evidence over an encoded preimage: its SHA-512.
func ReportData(encoded []byte) [64]byte { return sha512.Sum512(encoded) }

// ArgsDigest is the SHA-256 of the deterministic CBOR array of the arguments, each a text string. Arguments are UTF-8 by the agent API's wire format.
func ArgsDigest(argv []string) [32]byte {
	if argv == nil {
		argv = []string{}
	}
	b, err := encoding.Marshal(argv)
	if err != nil {
		panic(err) // an array of strings always encodes
	}
	return sha256.Sum256(b)
}

// SortEntries brings entries into the order of a preimage, in place, and drops repetitions: the policy's own by index, then those of fragments by
// issuer, feed, version and index.
func SortEntries(entries []Entry) []Entry {
	slices.SortFunc(entries, compareEntries)
	return slices.CompactFunc(entries, func(a, b Entry) bool { return compareEntries(a, b) == 0 })
}

func compareEntries(a, b Entry) int {
	switch {
	case a.Fragment == nil && b.Fragment != nil:
		return -1
	case a.Fragment != nil && b.Fragment == nil:
		return 1
	case a.Fragment != nil:
		if c := compareFragments(*a.Fragment, *b.Fragment); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.Index, b.Index)
}

func compareFragments(a, b Fragment) int {
	if c := strings.Compare(a.Issuer, b.Issuer); c != 0 {
		return c
	}
	if c := strings.Compare(a.Feed, b.Feed); c != 0 {
		return c
	}
	return strings.Compare(a.SVN, b.SVN)
}

// check says what keeps a value from being a preimage.
func (p *Preimage) check() error {
	switch {
	case len(p.Nonce) < MinNonce || len(p.Nonce) > MaxNonce:
		return fmt.Errorf("nonce: got %d bytes, want %d to %d", len(p.Nonce), MinNonce, MaxNonce)
	case len(p.Entries) > MaxEntries:
		return fmt.Errorf("entries: got %d, want at most %d", len(p.Entries), MaxEntries)
	case len(p.Layers) > MaxLayers:
		return fmt.Errorf("layers: got %d, want at most %d", len(p.Layers), MaxLayers)
	case len(p.Claimed.Names) > MaxNames:
		return fmt.Errorf("claimed names: got %d, want at most %d", len(p.Claimed.Names), MaxNames)
	}
	for i := range p.Entries {
		if i > 0 && compareEntries(p.Entries[i-1], p.Entries[i]) >= 0 {
			return fmt.Errorf("entries: entry %d is not behind entry %d, want them sorted and unique", i, i-1)
		}
		if f := p.Entries[i].Fragment; f != nil {
			if err := checkTexts("fragment", f.Issuer, f.Feed, f.SVN); err != nil {
				return err
			}
		}
	}
	if err := checkTexts("claimed", p.Claimed.ID, p.Claimed.Image); err != nil {
		return err
	}
	return checkTexts("claimed names", p.Claimed.Names...)
}

func checkTexts(what string, texts ...string) error {
	for _, t := range texts {
		if len(t) > MaxText {
			return fmt.Errorf("%s: got a text of %d bytes, want at most %d", what, len(t), MaxText)
		}
		if !utf8.ValidString(t) {
			return fmt.Errorf("%s: got text %.128q, want UTF-8", what, t)
		}
	}
	return nil
}
