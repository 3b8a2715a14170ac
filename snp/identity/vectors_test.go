package identity_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/identity/internal/vectors"
)

var update = flag.Bool("update", false, "write tests/vectors/identity anew")

const vectorDir = "../../tests/vectors/identity"

// TestVectorFiles: the files are the generator's, none more and none fewer.
func TestVectorFiles(t *testing.T) {
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for _, v := range all {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want[v.Name+".json"] = append(b, '\n')
	}
	if len(want) != len(all) {
		t.Fatalf("got %d names for %d vectors", len(want), len(all))
	}
	found, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if want[filepath.Base(f)] == nil {
			t.Errorf("%s: the generator does not make it", filepath.Base(f))
		}
	}
	for name, b := range want {
		path := filepath.Join(vectorDir, name)
		if *update {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: differs from what the generator makes, %v: go test ./snp/identity -update", name, err)
		}
	}
}

// TestVectors reads the files as anybody else would.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d vectors, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v vectors.Vector
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			doc, err := hex.DecodeString(v.CBOR)
			if err != nil {
				t.Fatal(err)
			}
			p, err := identity.Parse(doc)
			switch v.Expect {
			case vectors.ExpectParse:
				if err == nil {
					t.Fatal("accepted")
				}
			case vectors.ExpectOK:
				if err != nil {
					t.Fatal(err)
				}
				checkFields(t, v, p)
				if data := identity.ReportData(doc); hex.EncodeToString(data[:]) != v.ReportData {
					t.Errorf("REPORT_DATA got %x, want %s", data, v.ReportData)
				}
			default:
				t.Errorf("got expect %q", v.Expect)
			}
		})
	}
}

func checkFields(t *testing.T, v vectors.Vector, p *identity.Preimage) {
	t.Helper()
	args := identity.ArgsDigest(v.Fields.Argv)
	texts := [][2]string{
		{hex.EncodeToString(p.PolicyDigest[:]), v.Fields.Policy},
		{hex.EncodeToString(p.Args[:]), v.Fields.Args},
		{hex.EncodeToString(args[:]), v.Fields.Args},
		{hex.EncodeToString(p.EventHead[:]), v.Fields.EventLog},
		{hex.EncodeToString(p.Nonce), v.Fields.Nonce},
		{p.Claimed.ID, v.Fields.Claimed.ID},
		{p.Claimed.Image, v.Fields.Claimed.Image},
	}
	if len(p.Layers) != len(v.Fields.Layers) || len(p.Entries) != len(v.Fields.Entries) || len(p.Claimed.Names) != len(v.Fields.Claimed.Names) {
		t.Fatalf("got %d layers, %d entries, %d names, want %d, %d, %d", len(p.Layers), len(p.Entries), len(p.Claimed.Names),
			len(v.Fields.Layers), len(v.Fields.Entries), len(v.Fields.Claimed.Names))
	}
	for i, l := range p.Layers {
		texts = append(texts, [2]string{hex.EncodeToString(l[:]), v.Fields.Layers[i]})
	}
	for i, n := range p.Claimed.Names {
		texts = append(texts, [2]string{n, v.Fields.Claimed.Names[i]})
	}
	for i, pair := range texts {
		if pair[0] != pair[1] {
			t.Errorf("field %d: got %q, want %q", i, pair[0], pair[1])
		}
	}
	for i, e := range p.Entries {
		w := v.Fields.Entries[i]
		if e.Index != w.Index || (e.Fragment == nil) != (w.Fragment == nil) || (e.Fragment != nil && vectors.Fragment(*e.Fragment) != *w.Fragment) {
			t.Errorf("entry %d: got %+v, want %+v", i, e, w)
		}
	}
}
