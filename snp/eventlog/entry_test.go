package eventlog_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloister-cc/cloister/snp/eventlog"
)

// full has every field filled with something that must not get out.
func full(kind string) eventlog.Entry {
	e := eventlog.Entry{Kind: kind}
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case v.Type().Field(i).Name == "Kind":
		case f.Kind() == reflect.String:
			f.SetString("hunter2")
		case f.Type() == reflect.TypeFor[[]byte]():
			f.SetBytes([]byte(strings.Repeat("hunter2!", 4)))
		case f.Type() == reflect.TypeFor[[]string]():
			f.Set(reflect.ValueOf([]string{"hunter2"}))
		case f.CanInt():
			f.SetInt(77)
		case f.CanUint():
			f.SetUint(77)
		}
	}
	return e
}

// last is the newest entry, as a map of its fields.
func last(t *testing.T, l *eventlog.Log) map[string]any {
	t.Helper()
	x := l.Excerpt()
	var m map[string]any
	if err := cbor.Unmarshal(x.Entries[len(x.Entries)-1], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestKindsKeepOnlyTheirFields: whatever is put into an entry, each kind has the fields of its row and no other.
func TestKindsKeepOnlyTheirFields(t *testing.T) {
	for _, k := range eventlog.Kinds() {
		if k.Doc == "" {
			t.Errorf("%s: no doc", k.Name)
		}
		l := eventlog.New(eventlog.Entry{}, eventlog.Limits{})
		if k.Name == eventlog.KindStart {
			l = eventlog.New(full(k.Name), eventlog.Limits{})
		} else {
			l.Append(full(k.Name))
		}
		want := []string{"kind", "seq"}
		for _, f := range k.Fields {
			want = append(want, string(f))
		}
		slices.Sort(want)
		var got []string
		for f := range last(t, l) {
			got = append(got, f)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got fields %v, want %v", k.Name, got, want)
		}
		x := l.Excerpt()
		if err := x.Verify(); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
}

// TestNoKindHasAFieldForSecrets is the list of all fields there are: whoever adds one says here that it is no place for secrets.
func TestNoKindHasAFieldForSecrets(t *testing.T) {
	allowed := []string{
		"seq", "kind", "point", "request", "container", "target", "verdict", "rule", "field", "decision", "digest", "issuer", "feed", "svn",
		"code", "count", "version", "cmdline", "defaults", "counts", "detail",
	}
	typ := reflect.TypeFor[eventlog.Entry]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("cbor"), ",")
		if !slices.Contains(allowed, name) {
			t.Errorf("field %q of an entry is not on the list", name)
		}
	}
	if typ.NumField() != len(allowed) {
		t.Errorf("got %d fields, want %d", typ.NumField(), len(allowed))
	}
}

func TestUnknownKindSaysNothing(t *testing.T) {
	l := eventlog.New(eventlog.Entry{}, eventlog.Limits{})
	l.Append(full("exec-with-arguments"))
	got := last(t, l)
	if len(got) != 2 || got["kind"] != eventlog.KindUnknown {
		t.Errorf("got %v, want a number and kind unknown", got)
	}
}

func TestLongTextIsCutWithAMark(t *testing.T) {
	l := eventlog.New(eventlog.Entry{Cmdline: strings.Repeat("é", 4000), Defaults: slices.Repeat([]string{strings.Repeat("d", 200)}, 100)}, eventlog.Limits{})
	l.Append(eventlog.Entry{Kind: eventlog.KindDecision, Container: strings.Repeat("c", 1000), Rule: "a\xffb", Detail: strings.Repeat("\xff", 5000)})
	x := l.Excerpt()
	entries, err := x.Replay()
	if err != nil {
		t.Fatal(err)
	}
	s, d := entries[0], entries[1]
	if len(s.Cmdline) > 2048 || !strings.HasSuffix(s.Cmdline, "é…") || len(s.Defaults) != 64 || s.Defaults[63] != "…" || len(s.Defaults[0]) > 128 {
		t.Errorf("got a command line of %d bytes, %d defaults", len(s.Cmdline), len(s.Defaults))
	}
	if len(d.Container) != 256 || !strings.HasSuffix(d.Container, "c…") || d.Rule != "a?b" || len(d.Detail) > 1024 {
		t.Errorf("got %d bytes %q, rule %q, detail of %d bytes", len(d.Container), d.Container[250:], d.Rule, len(d.Detail))
	}
}

func TestParseEntryRefuses(t *testing.T) {
	det, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"kind-not-known":   map[string]any{"seq": 1, "kind": "other"},
		"field-not-known":  map[string]any{"seq": 1, "kind": "decision", "argv": "x"},
		"other-case":       map[string]any{"seq": 1, "kind": "decision", "Rule": "x"},
		"field-of-another": map[string]any{"seq": 1, "kind": "sandbox-created", "rule": "x"},
		"empty-field":      map[string]any{"seq": 1, "kind": "decision", "rule": ""},
		"long-text":        map[string]any{"seq": 1, "kind": "decision", "rule": strings.Repeat("x", 257)},
		"short-digest":     map[string]any{"seq": 1, "kind": "decision", "digest": []byte{1}},
		"counted-once":     map[string]any{"seq": 1, "kind": "decision", "count": 1},
		"negative-number":  map[string]any{"seq": -1, "kind": "decision"},
		"no-number":        map[string]any{"kind": "decision"},
		"array":            []any{1, "decision"},
		"tagged":           cbor.Tag{Number: 1, Content: map[string]any{"seq": 1, "kind": "decision"}},
	} {
		b, err := det.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := eventlog.ParseEntry(b); err == nil {
			t.Errorf("%s: got %+v, want an error", name, e)
		}
	}
	good, err := det.Marshal(map[string]any{"seq": 1, "kind": "decision", "rule": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eventlog.ParseEntry(good); err != nil {
		t.Errorf("the same without a fault: %v", err)
	}
	if _, err := eventlog.ParseEntry(make([]byte, eventlog.MaxEntry+1)); err == nil {
		t.Error("an entry beyond its bound parses")
	}
}
