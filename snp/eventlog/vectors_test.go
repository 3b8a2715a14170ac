package eventlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

var update = flag.Bool("update", false, "write tests/vectors/eventlog anew")

const vectorDir = "../../tests/vectors/eventlog"

// vector is one file. Expect is ok, parse or verify.
type vector struct {
	Name    string  `json:"name"`
	Note    string  `json:"note"`
	Expect  string  `json:"expect"`
	Entries []Entry `json:"entries,omitempty"`
	Excerpt string  `json:"excerpt"`
}

func (v vector) MarshalJSON() ([]byte, error) {
	type plain vector
	return json.Marshal(struct {
		plain
		Entries []map[string]any `json:"entries,omitempty"`
	}{plain(v), entriesAsJSON(v.Entries)})
}

// entriesAsJSON are entries with the names they have in CBOR, digests in hex.
func entriesAsJSON(list []Entry) []map[string]any {
	var out []map[string]any
	for _, e := range list {
		var m map[string]any
		if err := cbor.Unmarshal(e.encode(), &m); err != nil {
			panic(err)
		}
		if d, ok := m["digest"].([]byte); ok {
			m["digest"] = hex.EncodeToString(d)
		}
		out = append(out, m)
	}
	return out
}

func (x Excerpt) clone() Excerpt {
	entries := make([][]byte, len(x.Entries))
	copy(entries, x.Entries)
	x.Entries = entries
	return x
}

// chained sets the head to what the entries lead to, so that a vector has one fault only.
func (x Excerpt) chained() Excerpt {
	x.Head = x.Base
	for _, e := range x.Entries {
		x.Head = step(x.Head, e)
	}
	return x
}

// story is a short log that has one entry of most kinds.
func story() *Log {
	digest := bytes.Repeat([]byte{0xd1}, 32)
	key := strings.Repeat("c", 64)
	l := New(Entry{Version: "0.1.0", Cmdline: "console=ttyS0 quiet", Digest: digest, Defaults: []string{"judge=auto", "strict_api=false"}}, Limits{})
	for _, e := range []Entry{
		{Kind: KindRequestRefused, Request: "CreateSandboxRequest", Rule: "no policy is bound"},
		{Kind: KindPolicy, Verdict: Allowed, Digest: digest, Detail: "carrier=SetPolicy judge=compiled"},
		{Kind: KindSandboxCreated, Container: key},
		{Kind: KindDecision, Verdict: Allowed, Request: "CreateContainerRequest", Point: "mount_device", Target: "/run/mounts/scsi/m0", Digest: digest, Decision: "2"},
		{Kind: KindDecision, Verdict: Allowed, Request: "CreateContainerRequest", Point: "create_container", Container: key, Digest: digest, Decision: "3"},
		{Kind: KindContainerCreated, Container: key, Digest: digest, Decision: "3"},
		{Kind: KindContainerStarted, Container: key},
		{
			Kind: KindDecision, Verdict: Refused, Request: "ExecProcessRequest", Point: "exec_in_container", Container: key, Rule: "invalid command",
			Field: "process.args", Digest: digest, Decision: "4",
		},
		{Kind: KindFragmentLoaded, Point: "load_fragment", Decision: "5", Issuer: "did:x509:0:sha256:x::subject:CN:y", Feed: "registry.example/f", SVN: "7", Digest: digest},
		{Kind: KindDecision, Verdict: Allowed, Request: "StatsContainerRequest", Point: "get_properties", Count: 4096},
		{Kind: KindContainerExited, Container: key, Code: 137},
		{Kind: KindPoisoned, Rule: "a failed request could not be undone"},
	} {
		l.Append(e)
	}
	return l
}

// folded is a log that has lost its beginning.
func folded() *Log {
	l := New(Entry{Version: "0.1.0", Defaults: []string{"judge=auto"}}, Limits{Entries: minEntries})
	for range minEntries {
		l.Append(Entry{Kind: KindDecision, Verdict: Refused, Point: "exec_in_container", Rule: "invalid command"})
	}
	return l
}

// byHand is an excerpt of one entry, written down from the description in the package's documentation: the entry is
// {"seq": 0, "kind": "start", "version": "1"}, its SHA-256 and the head were made with another program.
var byHand = strings.Join([]string{
	"a5",                                // map of 5
	"64" + "62617365", "5820" + zeros32, // "base": 32 bytes
	"64" + "68656164", "5820" + "4558aa5550fc105ef1507325dca2d7d25b1e9837cccb4587eb2fade44ea5b867", // "head"
	"65" + "6669727374", "00", // "first": 0
	"65" + "6c6162656c", "74" + "636c6f69737465722f6576656e746c6f672f7631", // "label": "cloister/eventlog/v1"
	"67" + "656e7472696573", "81", // "entries": array of 1
	"581b",                // the entry, a byte string
	"a3",                  // map of 3
	"63" + "736571", "00", // "seq": 0
	"64" + "6b696e64", "65" + "7374617274", // "kind": "start"
	"67" + "76657273696f6e", "61" + "31", // "version": "1"
}, "")

const zeros32 = "0000000000000000000000000000000000000000000000000000000000000000"

func (v *vector) from(x Excerpt) { v.Excerpt = hex.EncodeToString(x.Encode()) }

func allVectors() []vector {
	l := story()
	good := l.Excerpt()
	entries, err := good.Replay()
	if err != nil {
		panic(err)
	}
	tail := folded().Excerpt()
	tailEntries, err := tail.Replay()
	if err != nil {
		panic(err)
	}
	out := []vector{
		{Name: "by-hand", Note: "one entry", Expect: "ok", Entries: []Entry{{Kind: KindStart, Version: "1"}}, Excerpt: byHand},
		{Name: "story", Note: "a container starts, a process is refused in it, it ends", Expect: "ok", Entries: entries},
		{Name: "folded", Note: "the first entries are folded into base, a summary has taken their place", Expect: "ok", Entries: tailEntries},
	}
	out[1].from(good)
	out[2].from(tail)
	foreign := New(Entry{Version: "0.2.0"}, Limits{}).Excerpt()
	add := func(name, note, expect string, change func(x *Excerpt)) {
		x := good.clone()
		change(&x)
		v := vector{Name: name, Note: note, Expect: expect}
		v.from(x)
		out = append(out, v)
	}
	entry := func(name, note string, doc any) {
		add(name, note, "verify", func(x *Excerpt) {
			b, err := deterministic.Marshal(doc)
			if err != nil {
				panic(err)
			}
			x.Entries[3] = b
			*x = x.chained()
		})
	}
	add("last-dropped", "the newest entry is not there", "verify", func(x *Excerpt) { x.Entries = x.Entries[:len(x.Entries)-1] })
	add("first-dropped", "entry 0 is not there, first says so", "verify", func(x *Excerpt) { x.Entries, x.First = x.Entries[1:], 1 })
	add("cut-in-front", "the first ten entries are not there, base is the head after them, and no summary says so", "verify", func(x *Excerpt) {
		for _, e := range x.Entries[:10] {
			x.Base = step(x.Base, e)
		}
		x.Entries, x.First = x.Entries[10:], 10
	})
	add("middle-dropped", "the refused process is not there, and the head is that of the rest", "verify", func(x *Excerpt) {
		x.Entries = append(x.Entries[:8:8], x.Entries[9:]...)
		*x = x.chained()
	})
	add("exchanged", "two entries in the other order, and the head is that of this order", "verify", func(x *Excerpt) {
		x.Entries[4], x.Entries[5] = x.Entries[5], x.Entries[4]
		*x = x.chained()
	})
	add("start-replaced", "entry 0 of another log", "verify", func(x *Excerpt) { x.Entries[0] = foreign.Entries[0] })
	add("renumbered", "first is 1", "verify", func(x *Excerpt) { x.First = 1 })
	add("base-of-a-complete-log", "a base that is not zero before entry 0", "verify", func(x *Excerpt) { x.Base[0] = 1; *x = x.chained() })
	add("base-of-a-folded-log", "a base of zero before a later entry", "verify", func(x *Excerpt) {
		x.Entries, x.First = x.Entries[1:], 1
		*x = x.chained()
	})
	add("head", "one bit of the head", "verify", func(x *Excerpt) { x.Head[31] ^= 1 })
	add("no-entries", "nothing but a head", "verify", func(x *Excerpt) { x.Base, x.First, x.Entries = x.Head, 13, nil })
	entry("entry-kind-unknown", "a kind that is not in the table", map[string]any{"seq": 3, "kind": "process-environment"})
	entry("entry-start-again", "a second start", map[string]any{"seq": 3, "kind": "start"})
	entry("entry-other-field", "a field that the kind does not have", map[string]any{"seq": 3, "kind": "sandbox-created", "rule": "x"})
	entry("entry-unknown-field", "a field that no kind has", map[string]any{"seq": 3, "kind": "decision", "env": []string{"A=b"}})
	entry("entry-long-text", "a text beyond its bound", map[string]any{"seq": 3, "kind": "decision", "rule": strings.Repeat("x", maxText+1)})
	entry("entry-short-digest", "a digest of 31 bytes", map[string]any{"seq": 3, "kind": "decision", "digest": make([]byte, 31)})
	entry("entry-wide-number", "the number in more bytes than it needs", cbor.RawMessage(append([]byte{0xa2, 0x63, 's', 'e', 'q', 0x18, 3, 0x64}, "kind\x68decision"...)))
	add("entry-empty", "an entry of no bytes", "parse", func(x *Excerpt) { x.Entries[3] = nil })
	raw := func(name, note string, doc any) {
		b, err := deterministic.Marshal(doc)
		if err != nil {
			panic(err)
		}
		out = append(out, vector{Name: name, Note: note, Expect: "parse", Excerpt: hex.EncodeToString(b)})
	}
	document := func(change func(m map[string]any)) map[string]any {
		m := map[string]any{"label": domain, "base": good.Base[:], "first": 0, "entries": good.Entries, "head": good.Head[:]}
		change(m)
		return m
	}
	raw("label", "another label", document(func(m map[string]any) { m["label"] = "cloister/eventlog/v2" }))
	raw("no-label", "no label", document(func(m map[string]any) { delete(m, "label") }))
	raw("member-more", "a member that is not known", document(func(m map[string]any) { m["nonce"] = 1 }))
	raw("member-case", "a member in upper case", document(func(m map[string]any) { m["Head"] = m["head"]; delete(m, "head") }))
	raw("base-short", "a base of 31 bytes", document(func(m map[string]any) { m["base"] = make([]byte, 31) }))
	raw("head-text", "a head that is text", document(func(m map[string]any) { m["head"] = zeros32[:32] }))
	raw("first-negative", "a negative number", document(func(m map[string]any) { m["first"] = -1 }))
	raw("entries-null", "null in place of a list", document(func(m map[string]any) { m["entries"] = nil }))
	raw("entries-numbers", "an entry as an array of numbers", document(func(m map[string]any) { m["entries"] = []any{[]int{1, 2}} }))
	b := good.Encode()
	text := func(name, note string, b []byte) {
		out = append(out, vector{Name: name, Note: note, Expect: "parse", Excerpt: hex.EncodeToString(b)})
	}
	text("trailing", "a byte behind the document", append(bytes.Clone(b), 0))
	text("cut", "the last byte is missing", b[:len(b)-1])
	text("indefinite", "a map of indefinite length", append(append([]byte{0xbf}, b[1:]...), 0xff))
	text("long-head", "the map's length in two bytes", append([]byte{0xb8, 5}, b[1:]...))
	text("nothing", "no bytes", nil)
	return out
}

// TestVectorFiles: the files are what is made here, none more and none fewer.
func TestVectorFiles(t *testing.T) {
	want := map[string][]byte{}
	for _, v := range allVectors() {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if want[v.Name+".json"] != nil {
			t.Fatalf("two vectors are called %s", v.Name)
		}
		want[v.Name+".json"] = append(b, '\n')
	}
	found, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if want[filepath.Base(f)] == nil {
			t.Errorf("%s: is not made here", filepath.Base(f))
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
			t.Errorf("%s: differs from what is made here, %v: go test ./snp/eventlog -update", name, err)
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
			var v struct {
				Expect, Excerpt string
				Entries         []map[string]any
			}
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(v.Excerpt)
			if err != nil {
				t.Fatal(err)
			}
			x, err := Parse(raw)
			if v.Expect == "parse" {
				if err == nil {
					t.Fatal("parses")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			entries, err := x.Replay()
			if v.Expect == "verify" {
				if err == nil {
					t.Fatal("verifies")
				}
				return
			}
			if err != nil || v.Expect != "ok" {
				t.Fatalf("got %v, want %s", err, v.Expect)
			}
			got, err := json.Marshal(entriesAsJSON(entries))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := json.Marshal(v.Entries); err != nil || string(got) != string(want) {
				t.Errorf("got entries %s, want %s", got, want)
			}
			if !bytes.Equal(x.Encode(), raw) {
				t.Error("what was read is written another way")
			}
		})
	}
}

// TestByHand: what this package writes is what the description says, worked out without it.
func TestByHand(t *testing.T) {
	x := New(Entry{Version: "1"}, Limits{}).Excerpt()
	if got := hex.EncodeToString(x.Encode()); got != byHand {
		t.Errorf("got %s\nwant %s", got, byHand)
	}
}
