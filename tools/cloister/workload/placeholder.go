package workload

import "regexp"

// The words that the platform replaces by an address of its certificate service when it starts a container.
var placeholder = regexp.MustCompile(`^===(CONFIDENTIAL\.THIM\.ENDPOINT|VIRTUALNODE2\.CC\.THIM\..+)===$`)

// Placeholder returns the wildcard that stands for a value which the platform replaces by one of its own, and any other value
// as it is.
func Placeholder(t Text) Text {
	if t.Wildcard || !placeholder.MatchString(t.Value) {
		return t
	}
	return Text{Value: ".*", Wildcard: true, Secret: t.Secret, Origin: t.Origin}
}
