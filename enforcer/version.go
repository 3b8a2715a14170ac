package enforcer

import (
	"strconv"
	"strings"
)

type version [3]int

// parseVersion reads MAJOR.MINOR.PATCH. The contract's versions never have more, so a suffix is not guessed at.
func parseVersion(text string) (version, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return version{}, false
	}
	var v version
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return version{}, false
		}
		v[i] = int(n)
	}
	return v, true
}

func (v version) less(other version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}
