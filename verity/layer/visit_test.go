package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/verity/layer"
)

// TestVisit: every entry that was taken is shown with its content, and looking at it changes nothing.
func TestVisit(t *testing.T) {
	in := makeTar(t, dir("etc"), entry{name: "etc/passwd", body: []byte("root")}, entry{name: "blob", body: noise(9000, 1)}, entry{name: "etc/.wh.group"})
	for _, format := range []layer.Format{layer.Ext4, layer.EROFS} {
		want, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		got, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{Format: format, Visit: func(h *tar.Header, content io.Reader) error {
			text, err := io.ReadAll(io.LimitReader(content, 4)) // of the blob, less than there is
			seen[h.Name] = string(text)
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: got %+v with a visitor, want %+v", format, got, want)
		}
		if diff := cmp.Diff(map[string]string{"etc": "", "etc/passwd": "root", "blob": string(noise(9000, 1)[:4]), "etc/.wh.group": ""}, seen); diff != "" {
			t.Errorf("%s: entries seen (-want +got):\n%s", format, diff)
		}
	}
}

// TestVisitorRefuses: what a visitor refuses is no layer.
func TestVisitorRefuses(t *testing.T) {
	no := errors.New("not this one")
	_, err := layer.Root(t.Context(), bytes.NewReader(makeTar(t, dir("etc"))), layer.Options{Visit: func(*tar.Header, io.Reader) error { return no }})
	if !errors.Is(err, no) {
		t.Errorf("got error %v, want the visitor's", err)
	}
}
