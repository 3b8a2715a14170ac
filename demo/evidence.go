package main

import "strings"

// Lines that the report program puts around the evidence.
const (
	beginMark = "-----BEGIN CLOISTER EVIDENCE-----"
	endMark   = "-----END CLOISTER EVIDENCE-----"
)

// containerLines takes one container's lines out of the pod's log.
func containerLines(lines []string, container string) []string {
	var own []string
	for _, line := range lines {
		name, text, found := strings.Cut(line, " | ")
		if found && strings.TrimRight(name, " ") == container {
			own = append(own, text)
		}
	}
	return own
}

// between joins what stands between the first begin and the end after it. The log may have broken a long line in two; the
// evidence itself is one line.
func between(lines []string, begin, end string) (string, bool) {
	var b strings.Builder
	inside := false
	for _, line := range lines {
		switch {
		case inside && line == end:
			return b.String() + "\n", true
		case inside:
			b.WriteString(line)
		case line == begin:
			inside = true
		}
	}
	return "", false
}

func hasPrefix(lines []string, prefix string) bool {
	for _, line := range lines {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
