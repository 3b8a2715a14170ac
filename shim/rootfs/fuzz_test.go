package rootfs

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzParseManifest: what is taken is well formed, and written and read again it is the same.
func FuzzParseManifest(f *testing.F) {
	root := strings.Repeat("a", 64)
	f.Add([]byte(`{"layers":[{"diff_id":"sha256:` + root + `","ext4":{"path":"/l/a","root":"` + root + `"},"erofs":{"path":"/l/b","root":"` + root + `"}}]}`))
	f.Add([]byte(`{"layers":[{"erofs":{"path":"/l/../b","root":"` + root + `"}}]}`))
	f.Add([]byte(`{"layers":null}{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseManifest(text)
		if err != nil {
			if len(r.Layers) > 0 {
				t.Errorf("got %+v with error %v", r, err)
			}
			return
		}
		for i, l := range r.Layers {
			if l.Ext4 == nil && l.EROFS == nil {
				t.Errorf("layer %d: taken without a disk", i)
			}
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxManifest { // JSON may write a byte of a path as six
			return
		}
		back, err := ParseManifest(again)
		if err != nil || len(back.Layers) != len(r.Layers) || len(r.Layers) > 0 && !reflect.DeepEqual(back, r) {
			t.Errorf("read again: got %+v, %v, want %+v", back, err, r)
		}
	})
}

// FuzzParseSidecar: the root of what is taken has its one form.
func FuzzParseSidecar(f *testing.F) {
	root := strings.Repeat("b", 64)
	f.Add([]byte(`{"roothash":"` + root + `","hashoffset":4096}`))
	f.Add([]byte(`{"roothash":"` + strings.ToUpper(root) + `","hashoffset":4096}`))
	f.Add([]byte(`{"roothash":"` + root + `","hashoffset":-1}`))
	f.Add([]byte(`{"roothash":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseSidecar(text)
		if err == nil && (len(got) != 64 || strings.Trim(got, "0123456789abcdef") != "") {
			t.Errorf("got root %q", got)
		}
	})
}
