package snp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBundleRoundTrip(t *testing.T) {
	want := NewBundle(Evidence{Report: patterned(3), Certs: []byte{1, 2}})
	want.Policy, want.Carrier, want.Initdata = []byte("package policy"), CarrierInitdata, []byte("version")
	b, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseBundle(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("round trip (-want +got):\n%s", d)
	}
}

func TestParseBundleRefuses(t *testing.T) {
	good, err := NewBundle(Evidence{Report: patterned(3)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "EOF"},
		{"not json", "hello", "invalid character"},
		{"trailing", text + "{}", "more after"},
		{"unknown member", strings.Replace(text, `"version"`, `"extra":1,"version"`, 1), "extra"},
		{"other version", strings.Replace(text, `"version":1`, `"version":2`, 1), "version 2"},
		{"other type", strings.Replace(text, "sev-snp", "tdx", 1), "tdx"},
		{"other carrier", strings.Replace(text, `"version"`, `"carrier":"pigeon","version"`, 1), "pigeon"},
		{"short report", `{"version":1,"type":"sev-snp","report":"AAAA"}`, "3 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := ParseBundle([]byte(c.text))
			if b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzParseBundle(f *testing.F) {
	good, err := NewBundle(Evidence{Report: patterned(3), Certs: []byte{1}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"type":"sev-snp","report":null,"carrier":"initdata"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBundle(data)
		if err != nil {
			if b != nil {
				t.Fatal("an error came with a bundle")
			}
			return
		}
		out, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseBundle(out)
		if err != nil || !cmp.Equal(again.Evidence(), b.Evidence()) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
