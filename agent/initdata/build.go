package initdata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Build writes a document of the given entries and returns it as its own parser reads it, so that what is launched is
// known to be readable in the guest. Entries are sorted: the digest depends on nothing but algorithm and content.
func Build(algorithm string, data map[string]string) (*Document, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "version = %s\nalgorithm = %s\n\n[data]\n", quote(Version), quote(algorithm))
	for _, key := range slices.Sorted(maps.Keys(data)) {
		value := data[key]
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("build initdata: entry %.128q is not UTF-8", key)
		}
		fmt.Fprintf(&b, "%s = %s\n", quote(key), quoteMultiline(value))
	}
	doc, err := Parse([]byte(b.String()))
	if err != nil {
		return nil, fmt.Errorf("build initdata: %w", err)
	}
	return doc, nil
}

// quote writes a basic string.
func quote(s string) string { return `"` + escape(s, false) + `"` }

// quoteMultiline keeps lines as lines, so that a person can read the policy in the document. TOML drops a line feed right
// after the opening delimiter.
func quoteMultiline(s string) string { return `"""` + "\n" + escape(s, true) + `"""` }

func escape(s string, keepLines bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n' && keepLines, r == '\t':
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
