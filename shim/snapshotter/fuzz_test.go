package snapshotter

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzAccountsOfEROFS: whatever an image holds, reading user names from it ends, and what is taken is bounded.
func FuzzAccountsOfEROFS(f *testing.F) {
	f.Add([]byte("not an image"))
	f.Fuzz(func(t *testing.T, image []byte) {
		a, err := accountsOfEROFS(bytes.NewReader(image))
		for _, name := range accountNames {
			switch got := a[name]; {
			case got == nil:
				t.Fatalf("nothing about %s", name)
			case err != nil && (got.Present || !got.Hidden):
				t.Errorf("%s: got %+v with error %v, want it hidden", name, got, err)
			case len(got.content) > maxAccounts || got.Present && !got.Hidden:
				t.Errorf("%s: got %d bytes, hidden %v", name, len(got.content), got.Hidden)
			}
		}
	})
}

// FuzzReadFacts: a file of facts that somebody damaged is an error or harmless; what is taken is written the same.
func FuzzReadFacts(f *testing.F) {
	digits := strings.Repeat("a", 64)
	f.Add([]byte(`{"diff_id":"sha256:` + digits + `","disks":{"ext4":{"file":"ext4-1.disk","root":"` + digits + `","size":4}},"blobs":[],"accounts":{"passwd":{},"group":{}}}`))
	f.Add([]byte(`{"diff_id":"sha256:` + digits + `","disks":{"ext4":{"file":"../../x","root":"` + digits + `","size":4}},"accounts":{"passwd":{},"group":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := filepath.Join(t.TempDir(), digits)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{factsFile: text, "ext4-1.disk": []byte("disk")} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := readFacts(dir)
		if err != nil {
			return
		}
		for format, d := range got.Disks {
			if strings.ContainsRune(d.File, '/') || format != "ext4" {
				t.Errorf("got disk %+v of format %q", d, format)
			}
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxFacts {
			return
		}
		if err := writeFacts(dir, got); err != nil {
			t.Fatal(err)
		}
		if back, err := readFacts(dir); err != nil || !reflect.DeepEqual(back.Disks, got.Disks) || back.DiffID != got.DiffID {
			t.Errorf("read again: got %+v, %v, want %+v", back, err, got)
		}
	})
}
