package identity_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp/identity"
)

// byHand is a preimage worked out on paper from RFC 8949: each line is one item. It shares nothing with the encoder but the names.
var byHand = strings.Join([]string{
	"a8",                               // map of 8, keys by their encoded bytes: shorter ones first
	"64 61726773",                      // "args"
	"58 20 ", strings.Repeat("cc", 32), // bytes(32)
	"65 6c6162656c", // "label"
	"74 636c6f69737465722f6964656e746974792f7631", // "cloister/identity/v1", 20 bytes
	"65 6e6f6e6365",                 // "nonce"
	"50 ", strings.Repeat("11", 16), // bytes(16)
	"66 6c6179657273", // "layers"
	"82",              // array(2)
	"58 20 ", strings.Repeat("01", 32),
	"58 20 ", strings.Repeat("02", 32),
	"66 706f6c696379", // "policy"
	"58 20 ", strings.Repeat("aa", 32),
	"67 636c61696d6564",  // "claimed"
	"a3",                 // map(3)
	"62 6964", "62 6331", // "id": "c1"
	"65 696d616765", "63 726566", // "image": "ref"
	"65 6e616d6573", "81", "63 776562", // "names": ["web"]
	"67 656e7472696573",         // "entries"
	"82",                        // array(2)
	"a1", "65 696e646578", "00", // {"index": 0}
	"a2", "65 696e646578", "19 0100", // {"index": 256,
	"68 667261676d656e74",      // "fragment":
	"a3", "63 73766e", "61 31", // {"svn": "1",
	"64 66656564", "61 66", // "feed": "f",
	"66 697373756572", "61 69", // "issuer": "i"}}
	"69 6576656e745f6c6f67", // "event_log"
	"58 20 ", strings.Repeat("bb", 32),
}, "")

func handPreimage() *identity.Preimage {
	p := &identity.Preimage{
		Entries: []identity.Entry{{Index: 0}, {Index: 256, Fragment: &identity.Fragment{Issuer: "i", Feed: "f", SVN: "1"}}},
		Layers:  make([][32]byte, 2),
		Nonce:   bytes.Repeat([]byte{0x11}, 16),
		Claimed: identity.Claimed{ID: "c1", Names: []string{"web"}, Image: "ref"},
	}
	for to, b := range map[*[32]byte]byte{&p.PolicyDigest: 0xAA, &p.EventHead: 0xBB, &p.Args: 0xCC, &p.Layers[0]: 1, &p.Layers[1]: 2} {
		copy(to[:], bytes.Repeat([]byte{b}, 32))
	}
	return p
}

func TestWorkedOutByHand(t *testing.T) {
	want, err := hex.DecodeString(strings.ReplaceAll(byHand, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := handPreimage().Encode()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("encode: got %x, %v\nwant %x", got, err, want)
	}
	p, err := identity.Parse(want)
	if diff := cmp.Diff(p, handPreimage()); err != nil || diff != "" {
		t.Errorf("parse: %v\n%s", err, diff)
	}
	if identity.ReportData(want) != sha512.Sum512(want) {
		t.Error("REPORT_DATA is not the SHA-512")
	}
}

func TestArgsDigest(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		cbor string
	}{
		"none":     {nil, "80"},
		"empty":    {[]string{}, "80"},
		"two":      {[]string{"/bin/w", ""}, "82" + "66" + hex.EncodeToString([]byte("/bin/w")) + "60"},
		"not-join": {[]string{"/bin/", "w"}, "82" + "65" + hex.EncodeToString([]byte("/bin/")) + "61" + "77"},
		"long":     {[]string{strings.Repeat("a", 24)}, "81" + "7818" + strings.Repeat("61", 24)},
	} {
		b, err := hex.DecodeString(c.cbor)
		if err != nil {
			t.Fatal(err)
		}
		if got := identity.ArgsDigest(c.argv); got != sha256.Sum256(b) {
			t.Errorf("%s: got %x, want the SHA-256 of %s", name, got, c.cbor)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", identity.MaxText+1)
	for name, c := range map[string]struct {
		change func(p *identity.Preimage)
		text   string
	}{
		"nonce-short":    {func(p *identity.Preimage) { p.Nonce = p.Nonce[:15] }, "got 15 bytes, want 16 to 64"},
		"nonce-long":     {func(p *identity.Preimage) { p.Nonce = make([]byte, 65) }, "got 65 bytes"},
		"unsorted":       {func(p *identity.Preimage) { p.Entries = []identity.Entry{{Index: 2}, {Index: 1}} }, "sorted"},
		"own-behind":     {func(p *identity.Preimage) { p.Entries[0], p.Entries[1] = p.Entries[1], p.Entries[0] }, "sorted"},
		"twice":          {func(p *identity.Preimage) { p.Entries = []identity.Entry{{Index: 1}, {Index: 1}} }, "unique"},
		"entries":        {func(p *identity.Preimage) { p.Entries = make([]identity.Entry, identity.MaxEntries+1) }, "at most"},
		"layers":         {func(p *identity.Preimage) { p.Layers = make([][32]byte, identity.MaxLayers+1) }, "at most"},
		"names":          {func(p *identity.Preimage) { p.Claimed.Names = make([]string, identity.MaxNames+1) }, "at most"},
		"name-long":      {func(p *identity.Preimage) { p.Claimed.Names = []string{long} }, "4097 bytes"},
		"issuer-long":    {func(p *identity.Preimage) { p.Entries[1].Fragment.Issuer = long }, "4097 bytes"},
		"image-not-utf8": {func(p *identity.Preimage) { p.Claimed.Image = "\xff" }, "UTF-8"},
		"too-large": {func(p *identity.Preimage) {
			p.Entries = nil
			for i := range 400 {
				p.Entries = append(p.Entries, identity.Entry{Index: uint32(i), Fragment: &identity.Fragment{Issuer: long[1:]}})
			}
		}, "want at most 1048576"},
	} {
		p := handPreimage()
		c.change(p)
		if b, err := p.Encode(); err == nil || b != nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %d bytes, %v, want an error with %q", name, len(b), err, c.text)
		}
	}
}

func TestSortEntries(t *testing.T) {
	fragment := &identity.Fragment{Issuer: "i", Feed: "f", SVN: "2"}
	got := identity.SortEntries([]identity.Entry{
		{Index: 1, Fragment: fragment},
		{Index: 7},
		{Index: 1, Fragment: &identity.Fragment{Issuer: "i", Feed: "f", SVN: "1"}},
		{Index: 3},
		{Index: 7},
		{Index: 0, Fragment: &identity.Fragment{Issuer: "a", Feed: "z", SVN: "9"}},
		{Index: 1, Fragment: &identity.Fragment{Issuer: "i", Feed: "f", SVN: "2"}},
	})
	want := []identity.Entry{
		{Index: 3},
		{Index: 7},
		{Index: 0, Fragment: &identity.Fragment{Issuer: "a", Feed: "z", SVN: "9"}},
		{Index: 1, Fragment: &identity.Fragment{Issuer: "i", Feed: "f", SVN: "1"}},
		{Index: 1, Fragment: fragment},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
}

// TestEveryByteIsBound: no byte of a preimage can change and leave the fields as they were.
func TestEveryByteIsBound(t *testing.T) {
	good, err := handPreimage().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		p, err := identity.Parse(b)
		if err == nil && cmp.Equal(p, handPreimage()) {
			t.Errorf("byte %d: another encoding of the same fields was taken", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, err := handPreimage().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte{0xBF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := identity.Parse(b)
		if err != nil {
			if p != nil {
				t.Fatal("an error came with a result")
			}
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("got %x, %v from %x", again, err, b)
		}
	})
}
