package layer

import (
	"io"
	"strings"
	"testing"
)

// broken stands for a converter's mistake: what it reads and writes panics.
type broken struct{ io.ReadWriteSeeker }

func (broken) Read([]byte) (int, error)  { panic("index out of range") }
func (broken) Write([]byte) (int, error) { panic("index out of range") }

func TestConverterThatPanics(t *testing.T) {
	for name, err := range map[string]error{
		"ext4": writeExt4(broken{}, broken{}), "erofs": writeEROFS(t.Context(), newDirectory(), broken{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "cannot take this layer: index out of range") {
			t.Errorf("%s: got %v, want the panic as an error", name, err)
		}
	}
}
