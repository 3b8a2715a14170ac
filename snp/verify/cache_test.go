package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

func cacheKey(n int) (key [sha256.Size]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(n))
	return key
}

// TestCacheIsBounded: the oldest goes first, and what is put twice takes one place.
func TestCacheIsBounded(t *testing.T) {
	c := newCache[int](4)
	for i := range 100 {
		for range 2 {
			c.put(cacheKey(i), i)
		}
		if len(c.byKey) > 4 || len(c.ring) > 4 {
			t.Fatalf("after %d: got %d and %d entries, want at most 4", i, len(c.byKey), len(c.ring))
		}
		for j := range i + 1 {
			got, ok := c.get(cacheKey(j))
			if want := j > i-4; ok != want || ok && got != j {
				t.Fatalf("after %d: entry %d: got %d %t, want it there: %t", i, j, got, ok, want)
			}
		}
	}
}

// TestCacheKeyIsOverTheSet: neither order nor repetition makes another key, so that one chain takes one place however it is sent.
func TestCacheKeyIsOverTheSet(t *testing.T) {
	leaf, ask, ark, one := []byte("leaf"), []byte("ask"), []byte("ark"), []byte("one")
	want := (&given{leaf: leaf, ask: ask, ark: ark, more: [][]byte{one}}).hash(kindVCEK)
	for name, g := range map[string]given{
		"swapped":       {leaf: leaf, ask: ark, ark: ask, more: [][]byte{one}},
		"repeated":      {leaf: leaf, ask: ask, ark: ark, more: [][]byte{one, one, ask, ark, one}},
		"leaf repeated": {leaf: leaf, ask: ask, ark: ark, more: [][]byte{leaf, one, leaf}},
		"beside":        {leaf: leaf, more: [][]byte{one, ark, ask}},
		"nothing added": {leaf: leaf, ask: ask, ark: ark, more: [][]byte{nil, one}},
	} {
		if g.hash(kindVCEK) != want {
			t.Errorf("%s: got another key, want that of the same certificates", name)
		}
	}
}

// TestCacheKeyIsOverAllCertificates: nothing that decides a chain is left out, and no two sets of certificates look alike.
func TestCacheKeyIsOverAllCertificates(t *testing.T) {
	base := func() given {
		return given{leaf: []byte("leaf"), ask: []byte("ask"), ark: []byte("ark"), more: [][]byte{[]byte("one"), []byte("two")}}
	}
	seen := map[[sha256.Size]byte]string{}
	for name, edit := range map[string]func(*given){
		"nothing":      func(*given) {},
		"leaf":         func(g *given) { g.leaf = []byte("leaF") },
		"no leaf":      func(g *given) { g.leaf = nil },
		"ask":          func(g *given) { g.ask = []byte("asK") },
		"no ask":       func(g *given) { g.ask = nil },
		"ark":          func(g *given) { g.ark = []byte("arK") },
		"border moved": func(g *given) { g.leaf, g.ask = []byte("leafa"), []byte("sk") },
		"more":         func(g *given) { g.more[1] = []byte("twO") },
		"no more":      func(g *given) { g.more = nil },
		"leaf beside":  func(g *given) { g.leaf, g.more = nil, append(g.more, g.leaf) },
		"less":         func(g *given) { g.more = g.more[:1] },
		"joined":       func(g *given) { g.more = [][]byte{[]byte("onetwo")} },
	} {
		for _, kind := range []string{kindVCEK, kindVLEK} {
			g := base()
			edit(&g)
			key := g.hash(kind)
			if other, ok := seen[key]; ok {
				t.Errorf("%s %s has the key of %s", kind, name, other)
			}
			seen[key] = kind + " " + name
		}
	}
}

// TestOnlySuccessesAreRemembered: whatever a host makes up takes no place.
func TestOnlySuccessesAreRemembered(t *testing.T) {
	v, err := New(nil, Options{CacheSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	report := make([]byte, snp.ReportSize)
	report[0] = 3
	for i := range 10 {
		ev := Evidence{Report: report, Certs: [][]byte{{byte(i)}}, CRLs: [][]byte{{byte(i)}}}
		got, err := v.Verify(ev, Expectations{Now: time.Now()})
		if err != nil || got.OK {
			t.Fatalf("got %v, %v, want a refusal", got, err)
		}
		v.take(&lists{}, []byte{byte(i)}, v.roots.anchors[0])
	}
	if len(v.chains.byKey) != 0 || len(v.seen.byKey) != 0 {
		t.Errorf("got %d chains and %d lists remembered, want none", len(v.chains.byKey), len(v.seen.byKey))
	}
}
