package tree

import (
	"strconv"
	"strings"
)

// Hides says that the value, or anything in it, is secret.
func (n *Node) Hides() bool {
	if n.Secret {
		return true
	}
	for _, item := range n.Items {
		if item.Hides() {
			return true
		}
	}
	for i := range n.Members {
		if n.Members[i].Value.Hides() {
			return true
		}
	}
	return false
}

// maxQuoted is how much of a value an error shows, in bytes.
const maxQuoted = 128

// Quote is a scalar as errors show it: in quotes and not longer than is readable; "(secret)" where it must not be shown.
func (n *Node) Quote() string {
	s := n.Text
	switch {
	case n.Hides():
		return "(secret)"
	case n.Kind != String && n.Kind != Number && n.Kind != Bool:
		return n.Kind.String()
	case len(s) > maxQuoted:
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return strconv.Quote(s)
}
