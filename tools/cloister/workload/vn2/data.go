package vn2

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

// dataName is what a ConfigMap or Secret is found by.
type dataName struct{ kind, space, name string }

// datum is one value of a ConfigMap or Secret.
type datum struct {
	key    string
	text   string
	binary bool // the bytes are not UTF-8: no variable can hold them
	origin workload.Origin
}

func (f *finding) store(kind string, v shape.Value) map[string]datum {
	name := dataName{kind, v.Get("metadata").Get("namespace").Known(), v.Get("metadata").Get("name").Known()}
	if f.data[name] != nil {
		v.Errorf("%s %q is there twice", kind, cut(name.name))
	}
	f.data[name] = map[string]datum{}
	return f.data[name]
}

func plain(into map[string]datum, v shape.Value) {
	for _, m := range v.MapItems() {
		into[m.Name] = datum{key: m.Name, text: m.Value.Known(), origin: m.Value.Origin()}
	}
}

func encoded(into map[string]datum, v shape.Value) {
	for _, m := range v.MapItems() {
		raw, err := base64.StdEncoding.DecodeString(m.Value.Known())
		if err != nil {
			m.Value.Errorf("want base64: %v", err)
		}
		into[m.Name] = datum{key: m.Name, text: string(raw), binary: !utf8.Valid(raw), origin: m.Value.Origin()}
	}
}

func (f *finding) configMap(v shape.Value) {
	if v.Check() {
		plain(f.store("ConfigMap", v), v.Get("data"))
	}
}

func (f *finding) secret(v shape.Value) {
	if v.Check() {
		d := f.store("Secret", v)
		encoded(d, v.Get("data"))
		plain(d, v.Get("stringData"))
	}
}
