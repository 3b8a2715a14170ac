package initdata

import (
	"bytes"
	"testing"
)

func FuzzRead(f *testing.F) {
	payload := pack(f, minimal)
	f.Add(disk(uint64(len(payload)), payload))
	f.Add(disk(0, nil))
	f.Add(disk(1<<63, payload))
	f.Fuzz(func(t *testing.T, image []byte) {
		doc, err := read(image)
		if (doc == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want exactly one", doc, err)
		}
		if doc != nil {
			checkDocument(t, doc)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("version = '0.1.0'\nalgorithm = 'sha512'\ndata = { a = \"\"\"\nb\"\"\", 'c.d' = '' }\n"))
	f.Add([]byte("data = [[[[{a.b.c = 1979-05-27}]]]]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := Parse(raw)
		if (doc == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want exactly one", doc, err)
		}
		if doc != nil {
			checkDocument(t, doc)
		}
	})
}

// checkDocument: an accepted document survives being built anew from its fields.
func checkDocument(t *testing.T, doc *Document) {
	again, err := Build(doc.Algorithm, doc.Data)
	if err != nil {
		t.Fatalf("build from a parsed document: %v", err)
	}
	if len(again.Data) != len(doc.Data) {
		t.Fatalf("entries got %d, want %d", len(again.Data), len(doc.Data))
	}
	for k, v := range doc.Data {
		if again.Data[k] != v {
			t.Fatalf("entry %q got %q, want %q", k, again.Data[k], v)
		}
	}
	if len(doc.Digest) < HostDataSize || bytes.Equal(doc.Digest[:HostDataSize], make([]byte, HostDataSize)) {
		t.Fatalf("digest got %x", doc.Digest)
	}
}
