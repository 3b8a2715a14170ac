package images

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/images.md shows a lock file as it is written, every member that there is, and the bounds of the code.
func TestDocs(t *testing.T) {
	text := string(must(os.ReadFile("../../../docs/images.md"))(t))
	_, example, _ := strings.Cut(text, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	l, err := ParseLock([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	// Short lists stand on one line in the document.
	written := strings.Join(strings.Fields(string(must(l.marshal())(t))), "")
	if want := strings.Join(strings.Fields(example), ""); written != want {
		t.Errorf("the example would be written as\n%s\nwant\n%s", written, want)
	}
	entry := reflect.TypeFor[lockEntry]()
	for i := range entry.NumField() {
		if member, _, _ := strings.Cut(entry.Field(i).Tag.Get("json"), ","); member != "" && !strings.Contains(text, "| `"+member+"` | ") {
			t.Errorf("member %q is not in the table", member)
		}
	}
	for _, row := range []string{
		fmt.Sprintf("| manifest, index | %d MiB |", maxManifest>>20),
		fmt.Sprintf("| configuration | %d MiB |", maxConfig>>20),
		fmt.Sprintf("| `index.json` of a layout | %d MiB |", maxLayoutIndex>>20),
		fmt.Sprintf("| layers of an image | %d |", maxLayers),
		fmt.Sprintf("| a layer as it is stored | %d GiB |", int64(maxLayerBlob)>>30),
		fmt.Sprintf("| entries of an archive | %d,000 |", maxEntries/1000),
		fmt.Sprintf("| the lock file | %d MiB |", maxLock>>20),
	} {
		if !strings.Contains(text, row) {
			t.Errorf("the document lacks the row %q", row)
		}
	}
}
