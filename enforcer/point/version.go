package point

import (
	"strconv"
	"strings"
)

// Version is MAJOR.MINOR.PATCH of an api or framework version.
type Version [3]int

// ParseVersion reads MAJOR.MINOR.PATCH. The contract's versions never have more, so a suffix is not guessed at.
func ParseVersion(text string) (Version, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Version{}, false
	}
	var v Version
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return Version{}, false
		}
		v[i] = int(n)
	}
	return v, true
}

// Less orders versions.
func (v Version) Less(other Version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}
