package nodeinstall

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
)

var versionLine = regexp.MustCompile(`(?m)^[ \t]*version[ \t]*=[ \t]*[0-9]+[^\n]*(?:\n|$)`)

// withImport adds the one line to the main file's text: an import of path, below its version. No other byte changes, and what was read must be read again.
func withImport(f *file, path string) ([]byte, error) {
	at := versionLine.FindIndex(f.text)
	line := fmt.Sprintf("imports = [%q] # added by cloister node install\n", path)
	by := refuse("add this line below its version by hand, and install again: "+line[:len(line)-1], "no place for an import was found in %q", f.path)
	if at == nil {
		return nil, by
	}
	var b bytes.Buffer
	b.Write(f.text[:at[1]])
	if at[1] > 0 && f.text[at[1]-1] != '\n' {
		b.WriteByte('\n')
	}
	b.WriteString(line)
	b.Write(f.text[at[1]:])
	// The version's line may have been text of something else.
	again, err := parseFile(f.path, b.Bytes())
	if err != nil || len(again.imports) != 1 || again.imports[0] != path {
		return nil, by
	}
	delete(again.values, "imports")
	if want := clone(f.values); again.version != f.version || !reflect.DeepEqual(again.values, without(want, "imports")) {
		return nil, by
	}
	return b.Bytes(), nil
}

func without(m map[string]any, key string) map[string]any {
	delete(m, key)
	return m
}

// importMark knows the line again.
var importMark = regexp.MustCompile(`^imports = \["[^"\n]*"\] # added by cloister node install\n?$`)
