package tree

import "unicode/utf8"

// Fold returns a name with the letters A to Z in lower case. No other letter is folded: what only looks like a known name, as
// U+017F does like s and U+212A like k, is another name.
func Fold(s string) string {
	for i := range len(s) {
		if upper(s[i]) {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

// EqualFold says whether two names are the same but for the case of A to Z.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// ASCII says that a name has no other characters.
func ASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Fold returns the first member of a name, without regard to the case of A to Z.
func (n *Node) Fold(name string) *Node {
	for i := range n.Members {
		if EqualFold(n.Members[i].Name, name) {
			return n.Members[i].Value
		}
	}
	return nil
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

func lower(c byte) byte {
	if upper(c) {
		return c + 'a' - 'A'
	}
	return c
}
