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
// reported, with and without a file.
func FuzzConvert(f *testing.F) {
	for _, in := range fixtures(f) {
		if len(in) <= 16<<10 {
			f.Add(in, false)
			f.Add(in, true)
		}
	}
	for _, flag := range "0123456789gxSLKVZ" {
		f.Add(typed(f, byte(flag)), flag%2 == 0)
	}
	f.Add(sparse(f, "a", 1<<20), true)
	f.Add([]byte{0x1f, 0x8b, 8, 0}, false)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0}, false)
	f.Fuzz(func(t *testing.T, in []byte, other bool) {
		format := layer.Ext4
		if other {
			format = layer.EROFS
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		o := layer.Options{Workers: 1, Format: format, Limits: layer.Limits{Size: 64 << 20, Entries: 1000}}
		res, err := layer.Convert(t.Context(), bytes.NewReader(in), out, o)
		if root, rootErr := layer.Root(t.Context(), bytes.NewReader(in), o); root != res || (err == nil) != (rootErr == nil) {
			t.Errorf("root: got %+v, %v, want %+v, %v", root, rootErr, res, err)
		}
		if err != nil {
			return
		}
		img, err := verity.Inspect(out, res.Size, verity.InspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := verity.Verify(t.Context(), out, img); err != nil || img.Root != res.RootHash || img.FS != format {
			t.Errorf("got root %s of %s, %v, want %s", img.Root, img.FS, err, res.RootHash)
		}
		if other {
			listing(t, out) // every path can be read
		}
	})
}
