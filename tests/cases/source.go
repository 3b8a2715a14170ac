package cases

import (
	"encoding/hex"
	"math/rand/v2"
)

// source is where all that is random comes from, so that a seed decides everything.
type source struct{ *rand.Rand }

// chance is true in p of 100 cases.
func (s *source) chance(p int) bool { return s.IntN(100) < p }

// id is 64 hexadecimal digits, as container ids and root hashes are.
func (s *source) id() string {
	var b [32]byte
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return hex.EncodeToString(b[:])
}

func pick[T any](s *source, list ...T) T { return list[s.IntN(len(list))] }

// some returns a copy of list without about one in `one in` of its entries.
func some[T any](s *source, list []T, dropPercent int) []T {
	out := make([]T, 0, len(list))
	for _, v := range list {
		if !s.chance(dropPercent) {
			out = append(out, v)
		}
	}
	return out
}

func shuffled[T any](s *source, list []T) []T {
	out := append(make([]T, 0, len(list)), list...)
	s.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// without returns list without entry i.
func without[T any](list []T, i int) []T {
	out := append(make([]T, 0, len(list)), list[:i]...)
	return append(out, list[i+1:]...)
}

// with returns list with v at i.
func with[T any](list []T, i int, v T) []T {
	out := append(make([]T, 0, len(list)), list...)
	out[i] = v
	return out
}

// plus returns list with more at its end, without touching list.
func plus[T any](list []T, more ...T) []T {
	return append(append(make([]T, 0, len(list)+len(more)), list...), more...)
}
