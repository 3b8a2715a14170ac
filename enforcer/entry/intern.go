package entry

import (
	"bytes"
	"hash/maphash"
)

// table finds values by the bytes they were written with. It keeps where in the text those are instead of a copy: most of
// a policy is repetition, and keys of its own would cost as much as the text. Table and text are garbage after the read.
type table[T any] struct {
	slots  []slot // open addressing, a power of two; no pointers, so that the collector passes it by
	values []T
}

type slot struct {
	hash       uint32 // never 0 in a slot that is taken
	start, end uint32
	value      uint32
}

// hash is seeded by the process, so that nobody can write a text whose spans collide.
func hash(seed maphash.Seed, span []byte) uint32 { return uint32(maphash.Bytes(seed, span)>>32) | 1 }

func (t *table[T]) find(text, span []byte, h uint32) (value T, ok bool) {
	if len(t.slots) == 0 {
		return value, false
	}
	mask := uint32(len(t.slots) - 1)
	for i := h >> 1 & mask; t.slots[i].hash != 0; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.hash == h && bytes.Equal(text[s.start:s.end], span) {
			return t.values[s.value], true
		}
	}
	return value, false
}

// add stores the value of the span from start to end, which find does not know.
func (t *table[T]) add(h uint32, start, end int, value T) {
	if len(t.values)*4 >= len(t.slots)*3 {
		old := t.slots
		t.slots = make([]slot, max(16, 2*len(old)))
		for _, s := range old {
			if s.hash != 0 {
				t.put(s)
			}
		}
	}
	t.put(slot{hash: h, start: uint32(start), end: uint32(end), value: uint32(len(t.values))})
	t.values = append(t.values, value)
}

func (t *table[T]) put(s slot) {
	mask := uint32(len(t.slots) - 1)
	i := s.hash >> 1 & mask
	for t.slots[i].hash != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}
