package point

import (
	"strconv"
	"unicode/utf8"
)

const quoteLimit = 128

// Quote quotes a host's string and cuts it, so that it can neither end a line nor fill a log.
func Quote(s string) string {
	cut := false
	for len(s) > quoteLimit {
		cut = true
		s = s[:quoteLimit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	quoted := strconv.QuoteToASCII(s)
	for len(quoted) > quoteLimit {
		cut = true
		s = s[:len(s)-1]
		quoted = strconv.QuoteToASCII(s)
	}
	if cut {
		return quoted + "..."
	}
	return quoted
}

// QuoteLine leaves plain short words as they are and quotes everything else.
func QuoteLine(s string) string {
	if len(s) > quoteLimit {
		return Quote(s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' {
			return Quote(s)
		}
	}
	return s
}
