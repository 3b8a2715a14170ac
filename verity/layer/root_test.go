package layer_test

import (
	"archive/tar"
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/verity/layer"
)

// The roots that ACI's tools give (confcom contract, section 2.6).
func TestRootKnown(t *testing.T) {
	var nsswitch bytes.Buffer
	w := tar.NewWriter(&nsswitch)
	h := &tar.Header{Name: "etc/nsswitch.conf", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3, ModTime: time.Unix(1700000000, 0), Format: tar.FormatUSTAR}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"empty":    {make([]byte, 1024), "8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25"},
		"nsswitch": {nsswitch.Bytes(), "8a1556eb44be81010330b90c4d22a24637d8247ef938b0f71801a29bfdbd0dbf"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := layer.Root(t.Context(), bytes.NewReader(c.in), layer.Options{Format: layer.Ext4})
			if err != nil {
				t.Fatal(err)
			}
			if got.RootHash.String() != c.want {
				t.Errorf("root hash: got %s, want %s", got.RootHash, c.want)
			}
		})
	}
}

func TestRootLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	in := fixtures(t)["plain"]
	want, _ := convert(t, in)
	got, err := layer.Root(t.Context(), bytes.NewReader(in), layer.Options{})
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
