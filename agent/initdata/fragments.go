package initdata

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the fragments of a document: each is evaluated before the guest answers.
const (
	MaxFragments     = 64
	MaxFragment      = 4 << 20
	MaxFragmentBytes = 32 << 20
)

const fragmentPrefix = "fragment."

// fragmentKey has one spelling a number: two entries can not claim one place in the order.
var fragmentKey = regexp.MustCompile(`^fragment\.(0|[1-9][0-9]{0,5})\.cose$`)

// Fragments returns the signed fragments in the document, fragment.<n>.cose in base64, in the order of their numbers. An entry whose name
// only begins like theirs is an error: passing it over would enforce less than the document says.
func (d *Document) Fragments() ([][]byte, error) {
	byNumber := map[int]string{}
	for key := range d.Data {
		if !strings.HasPrefix(key, fragmentPrefix) {
			continue
		}
		match := fragmentKey.FindStringSubmatch(key)
		if match == nil {
			return nil, fmt.Errorf("entry name %.128q: want fragment.<n>.cose: %w", key, ErrMalformed)
		}
		n, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, fmt.Errorf("entry name %.128q: %w", key, ErrMalformed)
		}
		byNumber[n] = key
	}
	if len(byNumber) > MaxFragments {
		return nil, fmt.Errorf("got %d fragments, want at most %d: %w", len(byNumber), MaxFragments, ErrMalformed)
	}
	var fragments [][]byte
	total := 0
	for _, n := range slices.Sorted(maps.Keys(byNumber)) {
		key := byNumber[n]
		raw, err := base64.StdEncoding.Strict().DecodeString(d.Data[key])
		if err != nil {
			return nil, fmt.Errorf("%s: not base64: %w", key, ErrMalformed)
		}
		if total += len(raw); len(raw) > MaxFragment || total > MaxFragmentBytes {
			return nil, fmt.Errorf("%s: got %d bytes (%d with those before it), want at most %d (%d): %w",
				key, len(raw), total, MaxFragment, MaxFragmentBytes, ErrMalformed)
		}
		fragments = append(fragments, raw)
	}
	return fragments, nil
}
