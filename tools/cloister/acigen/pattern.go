package acigen

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxPattern bounds a pattern of a document, in bytes.
const maxPattern = 4 << 10

// flags is a group that sets flags; what only looks like one is grouped for nothing.
var flags = regexp.MustCompile(`\(\?[imsU-]`)

// closed returns a pattern that means the same between whatever stands before and after it. Agents anchor a pattern without
// grouping it: an alternative, a flag that changes what "$" means or a quotation would escape the name and an anchor, so those
// are grouped. Any other pattern stays as the document has it.
func closed(pattern string) (string, error) {
	if len(pattern) > maxPattern {
		return "", fmt.Errorf("the pattern has %d bytes, want at most %d", len(pattern), maxPattern)
	}
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		return "", err
	}
	group := "(?:" + pattern + ")"
	in, err := syntax.Parse("^"+group+"$", syntax.Perl)
	if err != nil {
		return "", errors.New(`a quotation (\Q) has no end (\E)`)
	}
	if pattern == "" {
		return pattern, nil
	}
	out, err := syntax.Parse("^"+pattern+"$", syntax.Perl)
	if err != nil || !out.Equal(in) || flags.MatchString(pattern) {
		return group, nil
	}
	return pattern, nil
}
