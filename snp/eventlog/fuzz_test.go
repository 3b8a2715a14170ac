package eventlog_test

import (
	"bytes"
	"testing"

	"github.com/cloister-cc/cloister/snp/eventlog"
)

// FuzzParse: an excerpt is the host's bytes. What parses is written the same way again; what verifies has no other reading and a log's form.
func FuzzParse(f *testing.F) {
	l := eventlog.New(first, eventlog.Limits{Entries: 64})
	f.Add(l.Excerpt().Encode())
	random(l, 9, 3)
	f.Add(l.Excerpt().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := eventlog.Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Encode(), b) {
			t.Fatal("another encoding of the same excerpt parses")
		}
		entries, err := x.Replay()
		if err != nil {
			return
		}
		if len(entries) != len(x.Entries) || entries[0].Seq != x.First || x.First == 0 && entries[0].Kind != eventlog.KindStart {
			t.Fatalf("got %d entries from %d on, first %+v", len(entries), x.First, entries[0])
		}
	})
}

// FuzzParseEntry: an entry that parses is one that a log writes.
func FuzzParseEntry(f *testing.F) {
	l := eventlog.New(first, eventlog.Limits{})
	random(l, 10, 30)
	for _, e := range l.Excerpt().Entries {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := eventlog.ParseEntry(b)
		if err != nil {
			return
		}
		if e.Kind == eventlog.KindStart {
			x := eventlog.New(*e, eventlog.Limits{}).Excerpt()
			if e.Seq == 0 && !bytes.Equal(x.Entries[0], b) {
				t.Fatalf("got %x, want %x", x.Entries[0], b)
			}
			return
		}
		if e.Seq == 0 || e.Seq > 60 {
			return
		}
		l := eventlog.New(eventlog.Entry{}, eventlog.Limits{})
		for range e.Seq - 1 {
			l.Append(eventlog.Entry{Kind: eventlog.KindUnknown})
		}
		l.Append(*e)
		x := l.Excerpt()
		if got := x.Entries[len(x.Entries)-1]; !bytes.Equal(got, b) {
			t.Fatalf("got %x, want %x", got, b)
		}
	})
}
