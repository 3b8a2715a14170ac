package signature

import (
	"fmt"
	"strings"
	"unicode"
)

// NotSigned refuses an image that no required signature was found for.
type NotSigned struct {
	Reference string
	Digest    string   // of the manifest
	Wanted    []string // what each requirement takes
	Found     []string // what was there, and why each of it does not count
}

const shownFindings = 8

// Error is one line. Of many findings it shows the first.
func (e *NotSigned) Error() string {
	found := "nothing"
	if len(e.Found) > 0 {
		found = strings.Join(e.Found[:min(len(e.Found), shownFindings)], " | ")
		if more := len(e.Found) - shownFindings; more > 0 {
			found += fmt.Sprintf(" | and %d more", more)
		}
	}
	return fmt.Sprintf("image %s (%s) has no required signature: want %s; found %s",
		quote(e.Reference), e.Digest, strings.Join(e.Wanted, " or "), found)
}

// maxCause bounds what is shown of one cause: libraries repeat a stranger's bytes.
const maxCause = 400

// oneLine makes an error safe to print, whatever bytes of a stranger it repeats.
func oneLine(err error) string {
	text := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return text
}
