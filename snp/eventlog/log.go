package eventlog

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// domain begins what is hashed for a step of the chain.
const domain = "cloister/eventlog/v1"

// Limits bound what a log keeps. Zero means the default; what is outside the range is set to its nearest end.
type Limits struct {
	Entries int // 64 to MaxEntries; default 2048
	Bytes   int // of encoded entries, 64 KiB to 512 KiB; default 256 KiB
}

const (
	// MaxEntries is the most that a log keeps and an excerpt holds.
	MaxEntries = 8192

	minEntries     = 64
	defaultEntries = 2048
	minBytes       = 64 << 10
	maxBytes       = 512 << 10
	defaultBytes   = 256 << 10
)

func (l Limits) complete() Limits {
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	return Limits{Entries: min(max(l.Entries, minEntries), MaxEntries), Bytes: min(max(l.Bytes, minBytes), maxBytes)}
}

// record is one kept entry and the head after it.
type record struct {
	data   []byte
	head   [32]byte
	anchor bool // says how the agent was run
}

// Log is the log of one guest. All methods may be called concurrently.
type Log struct {
	limits Limits
	start  Entry

	mu     sync.Mutex
	ring   []record // grows by doubling up to limits.Entries
	oldest int      // index in ring
	count  int
	bytes  int
	next   uint64   // number of the next entry
	base   [32]byte // head before the oldest
	head   [32]byte
	counts map[string]uint64
}

// New begins a log with its entry 0, whose kind is KindStart whatever it says.
func New(first Entry, limits Limits) *Log {
	first.Kind = KindStart
	l := &Log{limits: limits.complete(), start: first.redacted(), counts: map[string]uint64{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(l.start, true)
	return l
}

// Append puts one entry at the end and gives it its number. It takes the same time however long the log is, and cannot fail.
func (l *Log) Append(e Entry) {
	e = e.redacted()
	l.mu.Lock()
	defer l.mu.Unlock()
	if anchored := l.add(e, false); !anchored {
		l.add(l.summary(), true)
	}
}

// Head is the hash that binds every entry until now.
func (l *Log) Head() [32]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Excerpt is what is kept, and the head as of the same moment.
func (l *Log) Excerpt() Excerpt {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := Excerpt{Base: l.base, First: l.next - uint64(l.count), Head: l.head, Entries: make([][]byte, l.count)}
	for i := range x.Entries {
		x.Entries[i] = l.ring[(l.oldest+i)%len(l.ring)].data // never changed once it is there
	}
	return x
}

// add appends a redacted entry and folds what is too much. It answers whether the last anchor is still kept.
func (l *Log) add(e Entry, anchor bool) (anchored bool) {
	e.Seq = l.next
	l.next++
	data := e.encode()
	l.head = step(l.head, data)
	l.room()
	l.ring[(l.oldest+l.count)%len(l.ring)] = record{data: data, head: l.head, anchor: anchor}
	l.count++
	l.bytes += len(data)
	l.counts[countName(&e)]++
	anchored = true
	for l.count > l.limits.Entries || l.bytes > l.limits.Bytes && l.count > 1 {
		anchored = !l.fold() && anchored
	}
	return anchored
}

// room makes room for one more record.
func (l *Log) room() {
	if l.count < len(l.ring) {
		return
	}
	grown := make([]record, min(max(2*len(l.ring), minEntries), l.limits.Entries+1))
	for i := range l.count {
		grown[i] = l.ring[(l.oldest+i)%len(l.ring)]
	}
	l.ring, l.oldest = grown, 0
}

// fold drops the oldest record; the head after it becomes the base. It answers whether that was the anchor.
func (l *Log) fold() (anchor bool) {
	r := &l.ring[l.oldest]
	anchor, l.base = r.anchor, r.head
	l.bytes -= len(r.data)
	*r = record{}
	l.oldest = (l.oldest + 1) % len(l.ring)
	l.count--
	return anchor
}

// summary takes the place of the start entry once that is folded away.
func (l *Log) summary() Entry {
	e := Entry{Kind: KindSummary, Version: l.start.Version, Digest: l.start.Digest, Defaults: l.start.Defaults}
	for _, name := range slices.Sorted(maps.Keys(l.counts)) {
		e.Counts = append(e.Counts, fmt.Sprintf("%s=%d", name, l.counts[name]))
	}
	return e.redacted()
}

// countName is under which an entry is counted: a closed set, so that the counts are bounded.
func countName(e *Entry) string {
	switch e.Verdict {
	case Allowed, Refused:
		return e.Kind + "/" + e.Verdict
	}
	return e.Kind
}

// step is the head after an entry.
func step(head [32]byte, entry []byte) [32]byte {
	sum := sha256.Sum256(entry)
	b := make([]byte, 0, len(domain)+2*sha256.Size)
	b = append(append(append(b, domain...), head[:]...), sum[:]...)
	return sha256.Sum256(b)
}
