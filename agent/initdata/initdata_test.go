package initdata

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// disk wraps payload bytes as a disk with the given length field.
func disk(length uint64, payload []byte) []byte {
	out := append([]byte(magic), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(out[8:], length)
	out = append(out, payload...)
	for len(out)%sectorSize != 0 {
		out = append(out, 0)
	}
	return out
}

func pack(t testing.TB, raw string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestSpeed) // some inputs are many MiB
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(image []byte) (*Document, error) {
	return Read(bytes.NewReader(image), int64(len(image)))
}

const minimal = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"policy.rego\" = '''\npackage policy\n'''\n"

func TestReadDigests(t *testing.T) {
	for algorithm, sum := range map[string]func([]byte) []byte{
		"sha256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
		"sha384": func(b []byte) []byte { s := sha512.Sum384(b); return s[:] },
		"sha512": func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
	} {
		t.Run(algorithm, func(t *testing.T) {
			raw := strings.Replace(minimal, "sha256", algorithm, 1)
			payload := pack(t, raw)
			doc, err := read(disk(uint64(len(payload)), payload))
			if err != nil {
				t.Fatal(err)
			}
			want := sum([]byte(raw))
			if !bytes.Equal(doc.Digest, want) {
				t.Errorf("digest got %x, want %x", doc.Digest, want)
			}
			if got := doc.HostData(); !bytes.Equal(got[:], want[:32]) {
				t.Errorf("host data got %x, want %x", got, want[:32])
			}
			if got := doc.Data[PolicyKey]; got != "package policy\n" {
				t.Errorf("policy got %q", got)
			}
			if string(doc.Raw) != raw {
				t.Errorf("raw got %q, want %q", doc.Raw, raw)
			}
		})
	}
}

// TestKnownVector reads the published example disk: length 0x24, then a gzip member of the text "some content".
func TestKnownVector(t *testing.T) {
	image, err := os.ReadFile(filepath.Join("testdata", "some-content.img"))
	if err != nil {
		t.Fatal(err)
	}
	head := []byte{0x69, 0x6e, 0x69, 0x74, 0x64, 0x61, 0x74, 0x61, 0x24, 0, 0, 0, 0, 0, 0, 0, 0x1f, 0x8b}
	if !bytes.HasPrefix(image, head) {
		t.Fatalf("vector starts with % x, want % x", image[:len(head)], head)
	}
	raw, err := unpack(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != "some content" {
		t.Errorf("content got %q, want %q", raw, "some content")
	}
	if _, err := read(image); !errors.Is(err, ErrMalformed) {
		t.Errorf("a text that is no document: got %v, want %v", err, ErrMalformed)
	}
}

func TestReadRefusesDisk(t *testing.T) {
	good := pack(t, minimal)
	n := uint64(len(good))
	bomb := pack(t, strings.Repeat("#", MaxUnpacked+1))
	cases := []struct {
		name  string
		image []byte
		want  string
	}{
		{"empty", nil, "device size"},
		{"header-cut", disk(n, good)[:15], "device size"},
		{"wrong-magic", append([]byte("Initdata"), disk(n, good)[8:]...), "magic"},
		{"length-zero", disk(0, good), "payload length"},
		{"length-beyond-device", disk(513, good), "payload length"},
		{"length-huge", disk(1<<63, good), "payload length"},
		{"length-short", disk(n-1, good), "gzip payload"},
		{"length-long", disk(n+1, good), "bytes after its end"},
		{"second-member", disk(2*n, append(bytes.Clone(good), good...)), "bytes after its end"},
		{"not-gzip", disk(16, []byte("0123456789abcdef")), "gzip header"},
		{"checksum-flipped", disk(n, flip(good, len(good)-8)), "gzip payload"},
		{"bomb", disk(uint64(len(bomb)), bomb), "unpacked size"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			doc, err := read(c.image)
			if doc != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want an error about %q", doc, err, c.want)
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1
	return out
}

func TestParseRefuses(t *testing.T) {
	cases := []struct{ name, doc, want string }{
		{"no-version", "algorithm = \"sha256\"\n[data]\n", "version"},
		{"other-version", strings.Replace(minimal, "0.1.0", "0.2.0", 1), "version"},
		{"algorithm-md5", strings.Replace(minimal, "sha256", "md5", 1), "algorithm"},
		{"algorithm-upper-case", strings.Replace(minimal, "sha256", "SHA256", 1), "algorithm"},
		{"algorithm-missing", "version = \"0.1.0\"\n[data]\n", "algorithm"},
		{"unknown-field", "extra = 1\n" + minimal, "TOML"},
		{"unknown-table", minimal + "[more]\na = 'b'\n", "TOML"},
		{"duplicate-key", minimal + "'policy.rego' = 'x'\n", "TOML"},
		{"data-not-strings", strings.Replace(minimal, "'''\npackage policy\n'''", "7", 1), "TOML"},
		{"data-nested", minimal + "[data.deeper]\na = 'b'\n", "TOML"},
		{"path-key", minimal + "'../x' = ''\n", "entry name"},
		{"absolute-key", minimal + "'/etc/x' = ''\n", "entry name"},
		{"empty-key", minimal + "'' = ''\n", "entry name"},
		{"not-utf8", minimal + "# \xff\n", "UTF-8"},
		{"brackets", minimal + "x = " + strings.Repeat("[", maxItems+1), "items"},
		{"dots", minimal + strings.Repeat("a.", maxItems+1) + "a = 1", "items"},
		{"many-lines", strings.Repeat("a=1\n", maxItems+1), "items"},
		{"many-keys", "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n" + uniqueKeys(MaxEntries+1), "entries"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			doc, err := Parse([]byte(c.doc))
			if doc != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want an error about %q", doc, err, c.want)
			}
		})
	}
}

func uniqueKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("y", i%64) + "-" + string(rune('a'+i/64)) + "=''\n")
	}
	return b.String()
}

// TestParseErrorKeepsDocumentOut: the text of a refusal reaches the console, the document may hold secrets.
func TestParseErrorKeepsDocumentOut(t *testing.T) {
	_, err := Parse([]byte("version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\nkey = \"hunter2\" oops\n"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the document's text", err)
	}
}

func TestPolicyWithManyStructuralCharactersIsNotCounted(t *testing.T) {
	policy := strings.Repeat("a[b].c = {\"d\": \"e\"} # '''\"\n", 10000)
	doc, err := Build("sha256", map[string]string{PolicyKey: policy})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Data[PolicyKey] != policy {
		t.Error("policy changed on its way through the document")
	}
}

func TestBuildReadsBack(t *testing.T) {
	data := map[string]string{
		PolicyKey:         "\n\npackage policy\n\"quotes\" \"\"\" '''\\ back\\\\slash\ttab\r\nend\"",
		"fragment.1.cose": "AAECAw==",
		"empty":           "",
		"controls":        "\x00\x01\x7f\u0085ü",
	}
	for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
		built, err := Build(algorithm, data)
		if err != nil {
			t.Fatal(err)
		}
		var image bytes.Buffer
		if err := WriteDisk(&image, built.Raw); err != nil {
			t.Fatal(err)
		}
		if image.Len()%sectorSize != 0 {
			t.Errorf("disk size got %d, want a multiple of %d", image.Len(), sectorSize)
		}
		got, err := read(image.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got.Data, data) || !bytes.Equal(got.Digest, built.Digest) || got.Algorithm != algorithm {
			t.Errorf("%s: read back %+v, want %+v", algorithm, got, built)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"bad-key":  {"a/b": ""},
		"not-utf8": {"a": "\xff"},
	} {
		if _, err := Build("sha256", data); err == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
	if _, err := Build("sha1", nil); err == nil {
		t.Error("sha1: got nil, want an error")
	}
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		image string
		want  bool
	}{"initdata": {"initdata\x00", true}, "short": {"init", false}, "empty": {"", false}, "other": {"cloister", false}} {
		got, err := Probe(strings.NewReader(c.image))
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
	if _, err := Probe(failing{}); err == nil {
		t.Error("failing device: got nil, want an error")
	}
}

// failing is a device whose every read fails.
type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

// onceReader fails a byte that is read twice.
type onceReader struct {
	io.ReaderAt
	seen map[int64]bool
	t    *testing.T
}

func (r *onceReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	for i := range int64(n) {
		if r.seen[off+i] {
			r.t.Errorf("byte %d was read twice", off+i)
		}
		r.seen[off+i] = true
	}
	return n, err
}

func TestReadReadsEachByteOnce(t *testing.T) {
	payload := pack(t, minimal)
	image := disk(uint64(len(payload)), payload)
	if _, err := Read(&onceReader{bytes.NewReader(image), map[int64]bool{}, t}, int64(len(image))); err != nil {
		t.Fatal(err)
	}
}
