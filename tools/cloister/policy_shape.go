package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// shapeError says where a JSON document is not what was expected.
type shapeError struct {
	path   string // as in input.mounts[0].type; empty for the document itself
	offset int64  // of the offending value or key
	text   string
}

func (e *shapeError) Error() string {
	if e.path == "" {
		return e.text
	}
	return e.path + ": " + e.text
}

// checkShape holds a JSON document against a Go type exactly: keys as the tags spell them, none unknown, none twice. What
// encoding/json would guess at (it takes "argLIST" for "argList") would be a request other than the one written down. null
// is an absent value. A key whose type is json.RawMessage may hold anything.
func checkShape(doc []byte, t reflect.Type) error {
	c := &shapeCheck{doc: doc, dec: json.NewDecoder(bytes.NewReader(doc))}
	c.dec.UseNumber()
	if err := c.value(t, ""); err != nil {
		return err
	}
	if _, err := c.dec.Token(); !errors.Is(err, io.EOF) {
		return &shapeError{offset: c.next(), text: "more data after the value"}
	}
	return nil
}

type shapeCheck struct {
	doc []byte
	dec *json.Decoder
}

// next is the offset of the next token.
func (c *shapeCheck) next() int64 {
	at := c.dec.InputOffset()
	for at < int64(len(c.doc)) && strings.IndexByte(" \t\r\n,:", c.doc[at]) >= 0 {
		at++
	}
	return at
}

var rawType = reflect.TypeFor[json.RawMessage]()

func (c *shapeCheck) value(t reflect.Type, path string) error {
	at := c.next()
	if t == rawType {
		var raw json.RawMessage
		return c.syntax(c.dec.Decode(&raw), at)
	}
	tok, err := c.dec.Token()
	if err != nil {
		return c.syntax(err, at)
	}
	if tok == nil {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct && tok == json.Delim('{'):
		return c.object(t, path)
	case t.Kind() == reflect.Slice && tok == json.Delim('['):
		return c.array(t.Elem(), path)
	}
	if text := mismatch(t, tok); text != "" {
		return &shapeError{path: path, offset: at, text: text}
	}
	return nil
}

func (c *shapeCheck) array(t reflect.Type, path string) error {
	for i := 0; c.dec.More(); i++ {
		if err := c.value(t, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return c.end()
}

func (c *shapeCheck) object(t reflect.Type, path string) error {
	seen := map[string]bool{}
	for c.dec.More() {
		at := c.next()
		tok, err := c.dec.Token()
		if err != nil {
			return c.syntax(err, at)
		}
		key, _ := tok.(string)
		inner := strings.TrimPrefix(path+"."+printable(key), ".")
		field, ok := jsonField(t, key)
		switch {
		case !ok:
			return &shapeError{path: inner, offset: at, text: "unknown field, want " + strings.Join(jsonFields(t), ", ")}
		case seen[key]:
			return &shapeError{path: inner, offset: at, text: "given twice"}
		}
		seen[key] = true
		if err := c.value(field.Type, inner); err != nil {
			return err
		}
	}
	return c.end()
}

// end takes the closing bracket.
func (c *shapeCheck) end() error {
	at := c.next()
	_, err := c.dec.Token()
	return c.syntax(err, at)
}

func (c *shapeCheck) syntax(err error, at int64) error {
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return &shapeError{offset: syntax.Offset, text: "not JSON: " + syntax.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &shapeError{offset: int64(len(c.doc)), text: "not JSON: it ends early"}
	}
	return &shapeError{offset: at, text: err.Error()}
}

func jsonField(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); tagName(f) == key && key != "" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func jsonFields(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name := tagName(t.Field(i)); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{"none"}
	}
	return names
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// mismatch compares a token with a type that is not a struct or slice that matched.
func mismatch(t reflect.Type, tok json.Token) string {
	want, ok := "", false
	switch t.Kind() {
	case reflect.String:
		want = "a string"
		_, ok = tok.(string)
	case reflect.Bool:
		want = "true or false"
		_, ok = tok.(bool)
	case reflect.Slice:
		want = "a list"
	case reflect.Struct:
		want = "an object"
	case reflect.Int, reflect.Int64:
		want = "a whole number"
		n, is := tok.(json.Number)
		if is {
			_, err := strconv.ParseInt(string(n), 10, t.Bits())
			ok = err == nil
		}
	case reflect.Uint32:
		want = "a whole number from 0 to 4294967295"
		n, is := tok.(json.Number)
		if is {
			_, err := strconv.ParseUint(string(n), 10, 32)
			ok = err == nil
		}
	default:
		want = "nothing"
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("got %s, want %s", tokenName(tok), want)
}

func tokenName(tok json.Token) string {
	switch tok := tok.(type) {
	case string:
		return "a string"
	case bool:
		return strconv.FormatBool(tok)
	case json.Number:
		return fmt.Sprintf("%.32s", tok)
	case json.Delim:
		if tok == '[' {
			return "a list"
		}
		return "an object"
	}
	return "null"
}

// lineOf is the line of an offset, from 1.
func lineOf(doc []byte, offset int64) int {
	return 1 + bytes.Count(doc[:min(max(offset, 0), int64(len(doc)))], []byte("\n"))
}
