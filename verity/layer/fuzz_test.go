package layer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// FuzzConvert: a layer is whatever a registry sends. It is refused, or becomes a disk that verifies and has the root that was
// reported.
func FuzzConvert(f *testing.F) {
	for _, in := range fixtures(f) {
		if len(in) <= 16<<10 {
			f.Add(in)
		}
	}
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		res, err := layer.Convert(t.Context(), bytes.NewReader(in), out, layer.Options{Workers: 1})
		if err != nil {
			return
		}
		img, err := verity.Inspect(out, res.Size, verity.InspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := verity.Verify(t.Context(), out, img); err != nil || img.Root != res.RootHash {
			t.Errorf("got root %s, %v, want %s", img.Root, err, res.RootHash)
		}
	})
}
