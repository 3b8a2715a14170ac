package policydoc

import (
	"strconv"
	"strings"
)

// Version is MAJOR.MINOR.PATCH.
type Version [3]int

// ParseVersion reads a version of the contract; those have three numbers and nothing else.
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

// Less says that v is before other.
func (v Version) Less(other Version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}
