package eventlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of what an entry may hold, in bytes; lists in members. What is longer is cut when it is appended, and refused when it is read.
const (
	maxText    = 256
	maxIssuer  = 512
	maxDetail  = 1 << 10
	maxCmdline = 2 << 10 // what a kernel takes on x86
	maxList    = 64
	maxItem    = 128
	// MaxEntry bounds one encoded entry.
	MaxEntry = 16 << 10
)

// cutMark ends a text that was too long.
const cutMark = "…"

// Entry is one event. Which fields a kind has is in the table of kinds; the rest is dropped when the entry is appended.
type Entry struct {
	Seq  uint64 `cbor:"seq"` // given by the log
	Kind string `cbor:"kind"`

	Point     string `cbor:"point,omitempty"`     // enforcement point
	Request   string `cbor:"request,omitempty"`   // the request's message name
	Container string `cbor:"container,omitempty"` // the container's key, 64 hex digits
	Target    string `cbor:"target,omitempty"`    // a name the agent made
	Verdict   string `cbor:"verdict,omitempty"`   // allowed or refused
	Rule      string `cbor:"rule,omitempty"`      // of a fixed set: never a policy's or a host's own words
	Field     string `cbor:"field,omitempty"`     // the part of the request that the rule looked at
	Decision  string `cbor:"decision,omitempty"`  // id, as in the refusal the host saw
	Digest    []byte `cbor:"digest,omitempty"`    // 32 bytes, or none
	Issuer    string `cbor:"issuer,omitempty"`
	Feed      string `cbor:"feed,omitempty"`
	SVN       string `cbor:"svn,omitempty"`
	Code      int64  `cbor:"code,omitempty"`  // exit status or signal; left out when 0
	Count     uint64 `cbor:"count,omitempty"` // how often until now; left out when once
	Version   string `cbor:"version,omitempty"`
	Cmdline   string `cbor:"cmdline,omitempty"`
	// Defaults are name=value; Counts are kind=number or kind/verdict=number, sorted.
	Defaults []string `cbor:"defaults,omitempty"`
	Counts   []string `cbor:"counts,omitempty"`
	Detail   string   `cbor:"detail,omitempty"`
}

// text is one field of text with its bound.
type text struct {
	name  Field
	value *string
	most  int
}

func (e *Entry) texts() []text {
	return []text{
		{FieldPoint, &e.Point, maxText},
		{FieldRequest, &e.Request, maxText},
		{FieldContainer, &e.Container, maxText},
		{FieldTarget, &e.Target, maxText},
		{FieldVerdict, &e.Verdict, maxText},
		{FieldRule, &e.Rule, maxText},
		{FieldField, &e.Field, maxText},
		{FieldDecision, &e.Decision, maxText},
		{FieldIssuer, &e.Issuer, maxIssuer},
		{FieldFeed, &e.Feed, maxText},
		{FieldSVN, &e.SVN, maxText},
		{FieldVersion, &e.Version, maxText},
		{FieldCmdline, &e.Cmdline, maxCmdline},
		{FieldDetail, &e.Detail, maxDetail},
	}
}

// list is one field of several texts.
type list struct {
	name  Field
	value *[]string
}

func (e *Entry) lists() []list {
	return []list{{FieldDefaults, &e.Defaults}, {FieldCounts, &e.Counts}}
}

// redacted is the entry as it may be kept: what its kind has, each within its bound.
func (e Entry) redacted() Entry {
	allowed, ok := byKind[e.Kind]
	if !ok {
		return Entry{Seq: e.Seq, Kind: KindUnknown}
	}
	for _, t := range e.texts() {
		if !allowed[t.name] {
			*t.value = ""
		}
		*t.value = cut(*t.value, t.most)
	}
	for _, l := range e.lists() {
		if !allowed[l.name] {
			*l.value = nil
		}
		*l.value = cutList(*l.value)
	}
	if !allowed[FieldDigest] || len(e.Digest) != sha256.Size {
		e.Digest = nil
	}
	if !allowed[FieldCode] {
		e.Code = 0
	}
	if !allowed[FieldCount] || e.Count == 1 {
		e.Count = 0
	}
	return e
}

// cut makes a text valid and no longer than most bytes.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-len(cutMark)], "") + cutMark
	}
	if s = strings.ToValidUTF8(s, "?"); len(s) > most {
		return s[:most]
	}
	return s
}

func cutList(list []string) []string {
	if len(list) > maxList {
		list = append(append([]string(nil), list[:maxList-1]...), cutMark)
	}
	var out []string
	for _, s := range list {
		out = append(out, cut(s, maxItem))
	}
	return out
}

var deterministic = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// strict refuses before it allocates: lengths and nesting are checked over the whole item first.
var strict = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, UTF8: cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 4, MaxArrayElements: MaxEntries, MaxMapPairs: 32,
		TagsMd: cbor.TagsForbidden, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// encode is the entry's deterministic CBOR. A struct of texts and numbers cannot fail to encode.
func (e Entry) encode() []byte {
	b, err := deterministic.Marshal(e)
	if err != nil {
		panic("eventlog: encode entry: " + err.Error())
	}
	return b
}

// ParseEntry decodes an entry of an excerpt. It refuses whatever an agent would not have appended: another spelling of the same
// content, a kind that is not in the table, a field that the kind does not have, a text beyond its bound.
func ParseEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("parse entry: got %d bytes, want at most %d", len(b), MaxEntry)
	}
	var e Entry
	if err := strict.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("parse entry: %w", err)
	}
	if _, ok := byKind[e.Kind]; !ok {
		return nil, fmt.Errorf("parse entry %d: kind %.64q is not known", e.Seq, e.Kind)
	}
	if !bytes.Equal(e.redacted().encode(), b) {
		return nil, fmt.Errorf("parse entry %d: got another encoding than the one way to write a %s entry", e.Seq, e.Kind)
	}
	return &e, nil
}
