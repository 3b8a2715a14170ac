package aci

// MaxNesting bounds how deep a text that goes to the engine's parser may nest. The parser recurses, and a stack that overflows ends
// the process without a chance to refuse.
const MaxNesting = 1000

// Nesting returns how deep the brackets of a text nest. It counts brackets in strings and comments too: the limit is far above what a
// tool writes, and a count that cannot be fooled by quoting is worth more than an exact one.
func Nesting[Text string | []byte](text Text) int {
	depth, deepest := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}
