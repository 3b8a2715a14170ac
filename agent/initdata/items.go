package initdata

import "bytes"

// maxItems bounds what the TOML parser may have to build: two items an entry (the key and its line) and some for the head.
const maxItems = 4 * MaxEntries

// countItems counts the characters outside strings and comments that make a TOML parser allocate: 64 MiB of "a=1\n" or of
// nested brackets would otherwise become gigabytes of nodes before any limit on entries could be checked. It need not agree
// with the parser on invalid documents: what it protects is memory, not meaning.
func countItems(doc []byte) int {
	n := 0
	for i := 0; i < len(doc) && n <= maxItems; {
		switch c := doc[i]; c {
		case '#':
			end := bytes.IndexByte(doc[i:], '\n')
			if end < 0 {
				return n
			}
			i += end
		case '"', '\'':
			n++
			i = skipString(doc, i)
		case '=', ',', '.', '[', '{':
			n++
			i++
		default:
			i++
		}
	}
	return n
}

// skipString returns the index after the string that opens at doc[i].
func skipString(doc []byte, i int) int {
	quote := doc[i]
	if triple := []byte{quote, quote, quote}; bytes.HasPrefix(doc[i:], triple) {
		return skipMultiline(doc, i+3, triple)
	}
	for i++; i < len(doc); i++ {
		switch {
		case doc[i] == '\\' && quote == '"':
			i++
		case doc[i] == quote, doc[i] == '\n':
			return i + 1
		}
	}
	return len(doc)
}

// skipMultiline returns the index after the closing delimiter; up to two more quotes belong to the string's own end.
func skipMultiline(doc []byte, i int, delimiter []byte) int {
	quote := delimiter[0]
	for i < len(doc) {
		switch {
		case doc[i] == '\\' && quote == '"':
			i += 2
		case doc[i] == quote && bytes.HasPrefix(doc[i:], delimiter):
			i += len(delimiter)
			for extra := 0; extra < 2 && i < len(doc) && doc[i] == quote; extra++ {
				i++
			}
			return i
		default:
			i++
		}
	}
	return len(doc)
}
