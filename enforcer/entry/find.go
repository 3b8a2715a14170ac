package entry

import "bytes"

// found is a list that the fast reader has read, and where its literal is in the text.
type found struct {
	name       string
	start, end int
	containers []*Container
	external   []*ExternalProcess
}

// findLists walks the text at top level and reads the definitions of containers and external processes that begin a line.
// It gives up, and finds nothing, where it could be wrong about what is a string. Nothing depends on its being right: what
// it found counts only if the engine's parser then finds an empty list of that name at the same place of the skeleton.
func findLists(text []byte) []found {
	if len(text) > maxText {
		return nil
	}
	r := newReader(text)
	var lists []found
	tried := map[string]bool{}
	depth := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '#':
			i = lineEnd(text, i)
		case c == '"':
			end := stringEnd(text, i+1)
			if end < 0 || bytes.IndexByte(text[i:end], '\n') >= 0 {
				return nil
			}
			i = end + 1
		case c == '`', c == '$': // raw strings and template strings hold quotes and newlines
			return nil
		case c == '[', c == '{', c == '(':
			depth++
			i++
		case c == ']', c == '}', c == ')':
			depth--
			i++
		case letter(c):
			start := i
			for i < len(text) && (letter(text[i]) || digit(text[i])) {
				i++
			}
			if depth != 0 || start > 0 && text[start-1] != '\n' {
				continue
			}
			name := string(text[start:i])
			if name != "containers" && name != "external_processes" {
				continue
			}
			// One attempt a name: an attempt may go over the whole text, and a text may have a million of them.
			if tried[name] {
				return nil
			}
			tried[name] = true
			list, ok := r.definition(name, i)
			if !ok {
				continue
			}
			if !restOfLineEmpty(text, list.end) {
				return nil
			}
			lists = append(lists, list)
			i = list.end
		default:
			i++
		}
	}
	return lists
}

// definition reads ` := [...]` behind the name of a list.
func (r *reader) definition(name string, pos int) (list found, ok bool) {
	r.pos = skipBlanks(r.text, pos)
	if !r.word(":=") {
		return list, false
	}
	r.pos = skipBlanks(r.text, r.pos)
	list = found{name: name, start: r.pos}
	if name == "containers" {
		list.containers, ok = r.containerList()
	} else {
		list.external, ok = r.externalList()
	}
	list.end = r.pos
	return list, ok
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func digit(c byte) bool { return '0' <= c && c <= '9' }

func skipBlanks(text []byte, pos int) int {
	for pos < len(text) && (text[pos] == ' ' || text[pos] == '\t') {
		pos++
	}
	return pos
}

func lineEnd(text []byte, pos int) int {
	if at := bytes.IndexByte(text[pos:], '\n'); at >= 0 {
		return pos + at
	}
	return len(text)
}

// restOfLineEmpty says whether nothing but white space and a comment follows on the line.
func restOfLineEmpty(text []byte, pos int) bool {
	rest := bytes.TrimLeft(text[pos:lineEnd(text, pos)], " \t\r")
	return len(rest) == 0 || rest[0] == '#'
}

// skeleton is the text with the literals of the lists replaced by empty ones.
type skeleton struct {
	text   string
	source []byte
	// literals are the offsets of the empty lists in text, in the order of lists.
	literals []int
	lists    []found
}

func newSkeleton(source []byte, lists []found) *skeleton {
	s := &skeleton{source: source, lists: lists}
	var b bytes.Buffer
	at := 0
	for i := range lists {
		b.Write(source[at:lists[i].start])
		s.literals = append(s.literals, b.Len())
		b.WriteString("[]")
		at = lists[i].end
	}
	b.Write(source[at:])
	s.text = b.String()
	return s
}

// line is the line of the source that an offset of the skeleton is in.
func (s *skeleton) line(offset int) int {
	for i := len(s.lists) - 1; i >= 0; i-- {
		if offset > s.literals[i] {
			offset += s.lists[i].end - (s.literals[i] + len("[]"))
			break
		}
	}
	offset = min(max(offset, 0), len(s.source))
	return 1 + bytes.Count(s.source[:offset], []byte("\n"))
}
