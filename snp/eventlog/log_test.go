package eventlog_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/snp/eventlog"
)

var first = eventlog.Entry{Version: "1.2.3", Cmdline: "console=ttyS0", Digest: bytes.Repeat([]byte{7}, 32), Defaults: []string{"judge=auto", "strict_api=0"}}

// random appends n entries of all kinds with text of all lengths.
func random(l *eventlog.Log, seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := eventlog.Kinds()[1:] // neither start nor summary, which are the log's own
	for range n {
		l.Append(eventlog.Entry{
			Kind: kinds[1+r.IntN(len(kinds)-1)].Name, Container: strings.Repeat("a", r.IntN(300)), Rule: "rule", Code: int64(r.IntN(3)) - 1,
			Verdict: []string{"", eventlog.Allowed, eventlog.Refused}[r.IntN(3)], Detail: strings.Repeat("é", r.IntN(900)),
			Digest: make([]byte, []int{0, 31, 32}[r.IntN(3)]),
		})
	}
}

func TestLogVerifiesWhateverIsFolded(t *testing.T) {
	for _, n := range []int{0, 1, 62, 63, 64, 65, 1000, 5000} {
		heads := map[[32]byte]bool{}
		for _, limits := range []eventlog.Limits{{}, {Entries: 64}, {Entries: 100}, {Bytes: 64 << 10}, {Entries: eventlog.MaxEntries, Bytes: 1 << 30}} {
			l := eventlog.New(first, limits)
			random(l, uint64(n), n)
			x := l.Excerpt()
			got, err := eventlog.Parse(x.Encode())
			if err != nil {
				t.Fatal(err)
			}
			entries, err := got.Replay()
			if err != nil {
				t.Fatalf("%d entries, %+v: %v", n, limits, err)
			}
			if got.Head != l.Head() {
				t.Errorf("got head %x, want the log's %x", got.Head, l.Head())
			}
			anchors := 0
			for _, e := range entries {
				if e.Kind == eventlog.KindStart || e.Kind == eventlog.KindSummary && e.Version == first.Version {
					anchors++
				}
			}
			if anchors == 0 {
				t.Errorf("%d entries, %+v: nothing kept says how the agent was run", n, limits)
			}
			if x.First == 0 {
				heads[x.Head] = true
			}
		}
		if len(heads) > 1 {
			t.Errorf("%d entries: got %d heads of logs that kept everything, want one", n, len(heads))
		}
	}
}

// TestEverySplitVerifies: wherever a log is cut in two, the second part verifies from the head of the first to the same head.
func TestEverySplitVerifies(t *testing.T) {
	l := eventlog.New(first, eventlog.Limits{})
	random(l, 3, 40)
	l.Append(eventlog.Entry{Kind: eventlog.KindSummary, Version: first.Version})
	whole := l.Excerpt()
	for i := 1; i < len(whole.Entries); i++ {
		before := eventlog.New(first, eventlog.Limits{})
		random(before, 3, i-1)
		part := eventlog.Excerpt{Base: before.Head(), First: uint64(i), Entries: whole.Entries[i:], Head: whole.Head}
		if err := part.Verify(); err != nil {
			t.Errorf("from %d on: %v", i, err)
		}
		part.Base[0]++
		if part.Verify() == nil {
			t.Errorf("from %d on: another base verifies", i)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	l := eventlog.New(first, eventlog.Limits{})
	random(l, 5, 20) // no summary among them
	other := eventlog.New(eventlog.Entry{Version: "other"}, eventlog.Limits{})
	random(other, 6, 20)
	foreign := other.Excerpt().Entries
	for name, change := range map[string]func(x *eventlog.Excerpt){
		"last-dropped":  func(x *eventlog.Excerpt) { x.Entries = x.Entries[:20] },
		"first-dropped": func(x *eventlog.Excerpt) { x.Entries = x.Entries[1:] },
		"first-dropped-and-counted": func(x *eventlog.Excerpt) {
			x.Entries, x.First = x.Entries[1:], 1
		},
		"cut-in-front": func(x *eventlog.Excerpt) {
			before := eventlog.New(first, eventlog.Limits{})
			random(before, 5, 9)
			x.Base, x.First, x.Entries = before.Head(), 10, x.Entries[10:]
		},
		"middle-dropped":  func(x *eventlog.Excerpt) { x.Entries = append(x.Entries[:4:4], x.Entries[5:]...) },
		"exchanged":       func(x *eventlog.Excerpt) { x.Entries[3], x.Entries[4] = x.Entries[4], x.Entries[3] },
		"doubled":         func(x *eventlog.Excerpt) { x.Entries = append(x.Entries, x.Entries[20]) },
		"replaced":        func(x *eventlog.Excerpt) { x.Entries[9] = foreign[9] },
		"start-replaced":  func(x *eventlog.Excerpt) { x.Entries[0] = foreign[0] },
		"renumbered":      func(x *eventlog.Excerpt) { x.First = 1 },
		"base":            func(x *eventlog.Excerpt) { x.Base[31] = 1 },
		"head":            func(x *eventlog.Excerpt) { x.Head[0] ^= 1 },
		"empty":           func(x *eventlog.Excerpt) { x.Entries, x.Head = nil, [32]byte{} },
		"empty-and-equal": func(x *eventlog.Excerpt) { x.Entries, x.Base, x.First = nil, x.Head, 21 },
	} {
		x := l.Excerpt()
		if err := x.Verify(); err != nil {
			t.Fatal(err)
		}
		change(&x)
		if x.Verify() == nil {
			t.Errorf("%s: verifies", name)
		}
	}
}

// TestEveryFlippedBitIsRefused: of an encoded excerpt no bit can be another.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	l := eventlog.New(first, eventlog.Limits{})
	random(l, 7, 5)
	good := l.Excerpt().Encode()
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			x, err := eventlog.Parse(b)
			if err != nil {
				continue
			}
			if err := x.Verify(); err == nil {
				t.Fatalf("byte %d, bit %d: verifies", i, bit)
			}
		}
	}
	for i := range good {
		if _, err := eventlog.Parse(good[:i]); err == nil {
			t.Fatalf("cut at %d: parses", i)
		}
	}
	if _, err := eventlog.Parse(append(bytes.Clone(good), 0)); err == nil {
		t.Fatal("a byte behind it: parses")
	}
}

func TestLogIsBounded(t *testing.T) {
	const limit = 64 << 10
	l := eventlog.New(first, eventlog.Limits{Bytes: limit})
	for i := range 3000 {
		l.Append(eventlog.Entry{Kind: eventlog.KindDecision, Detail: strings.Repeat("x", 2000), Rule: fmt.Sprint(i)})
		if i%500 != 0 {
			continue
		}
		x := l.Excerpt()
		total := 0
		for _, e := range x.Entries {
			total += len(e)
		}
		if total > limit || len(x.Entries) == 0 {
			t.Fatalf("got %d bytes in %d entries, want at most %d", total, len(x.Entries), limit)
		}
	}
	x := l.Excerpt()
	entries, err := x.Replay()
	if err != nil {
		t.Fatal(err)
	}
	if x.First == 0 {
		t.Fatal("nothing was folded away")
	}
	var counts string
	for _, e := range entries {
		if len(e.Detail) > 1<<10 {
			t.Fatalf("got a text of %d bytes", len(e.Detail))
		}
		if e.Kind == eventlog.KindSummary {
			counts = strings.Join(e.Counts, " ")
			if e.Version != first.Version || !bytes.Equal(e.Digest, first.Digest) || len(e.Defaults) != len(first.Defaults) {
				t.Errorf("got %+v, want how the agent was run", e)
			}
		}
	}
	if !strings.Contains(counts, "decision=") || !strings.Contains(counts, "start=1") {
		t.Errorf("got counts %q, want those of what was folded away", counts)
	}
}

func TestExcerptIsOneMoment(t *testing.T) {
	l := eventlog.New(first, eventlog.Limits{Entries: 64})
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for range 500 {
				if w%2 == 0 {
					l.Append(eventlog.Entry{Kind: eventlog.KindDecision, Verdict: eventlog.Refused})
					continue
				}
				x := l.Excerpt()
				if err := x.Verify(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	x := l.Excerpt()
	if err := x.Verify(); err != nil {
		t.Fatal(err)
	}
}

// TestExcerptIsNotChangedByWhatFollows: what was taken out stays as it was.
func TestExcerptIsNotChangedByWhatFollows(t *testing.T) {
	l := eventlog.New(first, eventlog.Limits{Entries: 64})
	random(l, 1, 60)
	x := l.Excerpt()
	want := x.Encode()
	random(l, 2, 500)
	if !bytes.Equal(x.Encode(), want) {
		t.Fatal("an excerpt changed")
	}
}
