package snp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestBundleRoundTrip(t *testing.T) {
	want := NewBundle(Evidence{Report: patterned(3), Certs: []byte{1, 2}})
	want.Policy, want.Carrier, want.Initdata = []byte("package policy"), CarrierInitdata, []byte("version")
	want.CRLs, want.UVMEndorsement, want.EventLog, want.Preimage = [][]byte{{3}, {4}}, []byte{5}, []byte{6}, []byte{7}
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
		{"empty", "", "unexpected end"},
		{"not json", "hello", "invalid character"},
		{"array", "[]", "cannot unmarshal array"},
		{"trailing", text + "{}", "after top-level value"},
		{"unknown member", strings.Replace(text, `"version"`, `"extra":1,"version"`, 1), "extra"},
		{"repeated member", strings.Replace(text, `"version"`, `"report":"AAAA","version"`, 1), "duplicate"},
		{"other case", strings.Replace(text, `"version"`, `"Policy":"AAAA","version"`, 1), "Policy"},
		{"other version", strings.Replace(text, `"version":1`, `"version":2`, 1), "version 2"},
		{"other type", strings.Replace(text, "sev-snp", "tdx", 1), "tdx"},
		{"other carrier", strings.Replace(text, `"version"`, `"carrier":"pigeon","version"`, 1), "pigeon"},
		{"short report", `{"version":1,"type":"sev-snp","report":"AAAA"}`, "3 bytes"},
		{"empty crl", strings.Replace(text, `"version"`, `"crls":[""],"version"`, 1), "crls: entry 0"},
		{"many crls", strings.Replace(text, `"version"`, `"crls":[`+strings.Repeat(`"AAAA",`, 16)+`"AAAA"],"version"`, 1), "17 revocation lists"},
		{"long crl", strings.Replace(text, `"version"`, `"crls":["`+long(1<<20)+`"],"version"`, 1), "crls: entry 0"},
		{"long table", strings.Replace(text, `"certs":null`, `"certs":"`+long(256<<10)+`"`, 1), "certs: got"},
		{"long endorsement", strings.Replace(text, `"version"`, `"uvm_endorsement":"`+long(4<<20)+`","version"`, 1), "uvm_endorsement: got"},
		{"long event log", strings.Replace(text, `"version"`, `"event_log":"`+long(16<<20)+`","version"`, 1), "event_log: got"},
		{"long preimage", strings.Replace(text, `"version"`, `"preimage":"`+long(1<<20)+`","version"`, 1), "preimage: got"},
		{"long", strings.Repeat(" ", 97<<20), "101711872 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := ParseBundle([]byte(c.text))
			if b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// long is base64 of a little more than n bytes.
func long(n int) string { return strings.Repeat("AAAA", n/3+1) }

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
		if err != nil || !cmp.Equal(again, b, cmpopts.EquateEmpty()) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
