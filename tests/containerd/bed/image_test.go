package bed

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// TestLayerTar: each directory comes once, before what is in it.
func TestLayerTar(t *testing.T) {
	data, err := layerTar([]File{{"srv/layer/1", 0o644, []byte("one")}, {"srv/top", 0o600, nil}, {"empty/", 0, nil}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name)
	}
	if want := []string{"srv/", "srv/layer/", "srv/layer/1", "srv/top", "empty/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDeepImageHas30Layers(t *testing.T) {
	if n := len(deepLayers()); n != 27 {
		t.Errorf("got %d layers above the client's three, want 27", n)
	}
}
