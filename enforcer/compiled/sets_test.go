package compiled

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// words are capabilities the kernel knows and some it does not.
func words(rnd *rand.Rand) []string {
	known := aci.PrivilegedCapabilities()
	var list []string
	for range rnd.IntN(12) {
		if rnd.IntN(2) == 0 {
			list = append(list, known[rnd.IntN(len(known))])
		} else {
			list = append(list, fmt.Sprintf("X%d", rnd.IntN(6)))
		}
	}
	return list
}

func model(names []string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// TestCapSetIsASet holds the bits to a map, over sets of known and unknown names, in any order, with duplicates.
func TestCapSetIsASet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		a, b := words(rnd), words(rnd)
		if rnd.IntN(4) == 0 {
			b = append(slices.Clone(a), b[:min(len(b), 1)]...)
			rnd.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
		}
		sa, sb, ma, mb := newCapSet(a), newCapSet(b), model(a), model(b)
		both := maps.Clone(ma)
		maps.DeleteFunc(both, func(n string, _ bool) bool { return !mb[n] })
		if sa.size() != len(ma) || sa.equal(sb) != maps.Equal(ma, mb) {
			t.Fatalf("%q, %q: got size %d, equal %t", a, b, sa.size(), sa.equal(sb))
		}
		if x := sa.intersect(sb); x.size() != len(both) || !x.equal(newCapSet(slices.Collect(maps.Keys(both)))) {
			t.Fatalf("%q, %q: got an intersection of %d, want %d", a, b, x.size(), len(both))
		}
		for _, n := range append(a, b...) {
			if sa.has(n) != ma[n] {
				t.Fatalf("%q has %s: got %t", a, n, sa.has(n))
			}
		}
	}
}

// TestCapSetsKeepTheFiveApart: a name that moves from one set to another makes other sets.
func TestCapSetsKeepTheFiveApart(t *testing.T) {
	sets := func(i int) *capSets {
		var lists [5][]string
		lists[i] = []string{"CAP_KILL"}
		return newCapSets(&point.Capabilities{Bounding: lists[0], Effective: lists[1], Inheritable: lists[2], Permitted: lists[3], Ambient: lists[4]})
	}
	for i := range 5 {
		for j := range 5 {
			if got := sets(i).equal(sets(j)); got != (i == j) {
				t.Errorf("%d and %d: equal is %t", i, j, got)
			}
			if got := sets(i).intersect(sets(j)).size(); got != map[bool]int{true: 1}[i == j] {
				t.Errorf("%d and %d: got %d in common", i, j, got)
			}
		}
	}
	// Only a privileged container inherits any by default.
	if unprivilegedCaps.size() != 3*14 || privilegedCaps.size() != 4*41 {
		t.Errorf("got default sets of %d and %d", unprivilegedCaps.size(), privilegedCaps.size())
	}
}

func TestSameOptionsIsOfSetsWithEqualCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		n := rnd.IntN(5)
		if rnd.IntN(10) == 0 {
			n = 30 + rnd.IntN(10) // above where sets are made
		}
		a, b := make([]string, n), make([]string, n)
		for i := range a {
			a[i], b[i] = fmt.Sprint(rnd.IntN(4)), fmt.Sprint(rnd.IntN(4))
		}
		if rnd.IntN(2) == 0 {
			b = slices.Clone(a)
			slices.Reverse(b)
		}
		if rnd.IntN(8) == 0 && n > 0 {
			b = b[1:]
		}
		want := len(a) == len(b) && maps.Equal(model(a), model(b))
		if got := sameOptions(a, b); got != want {
			t.Fatalf("%q, %q: got %t, want %t", a, b, got, want)
		}
	}
}

func TestBitset(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 200} {
		b, all := newBitset(n), newBitset(n)
		for i := range n {
			all.set(i)
			if i%3 == 0 {
				b.set(i)
			}
		}
		for i := range n {
			if b.has(i) != (i%3 == 0) || !all.has(i) {
				t.Errorf("%d of %d: got %t", i, n, b.has(i))
			}
		}
		if got, want := b.count(all), (n+2)/3; got != want {
			t.Errorf("%d: got %d, want %d", n, got, want)
		}
	}
}
