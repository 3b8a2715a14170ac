package entry

import (
	"bytes"
	"hash/maphash"
)

// table finds values by the bytes they were written with. It keeps where in the text those are instead of a copy: most of
// a policy is repetition, and keys of its own would cost as much as the text. Table and text are garbage after the read.
type table[T any] struct {
	slots []slot[T] // open addressing, a power of two
	used  int
}

type slot[T any] struct {
	hash       uint64 // never 0 in a slot that is taken
	start, end uint32
	value      T
}

// hash is seeded by the process, so that nobody can write a text whose spans collide.
func hash(seed maphash.Seed, span []byte) uint64 { return maphash.Bytes(seed, span) | 1 }

func (t *table[T]) find(text, span []byte, h uint64) (value T, ok bool) {
	if len(t.slots) == 0 {
		return value, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := h >> 1 & mask; t.slots[i].hash != 0; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.hash == h && bytes.Equal(text[s.start:s.end], span) {
			return s.value, true
		}
	}
	return value, false
}

// add stores the value of a span that find does not know.
func (t *table[T]) add(s slot[T]) {
	if t.used*4 >= len(t.slots)*3 {
		old := t.slots
		t.slots = make([]slot[T], max(16, 2*len(old)))
		for _, s := range old {
			if s.hash != 0 {
				t.put(s)
			}
		}
	}
	t.put(s)
	t.used++
}

func (t *table[T]) put(s slot[T]) {
	mask := uint64(len(t.slots) - 1)
	i := s.hash >> 1 & mask
	for t.slots[i].hash != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}
