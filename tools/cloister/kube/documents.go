package kube

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Limits. The API server takes no object above three MiB.
const (
	maxFile      = 64 << 20
	maxDocument  = 3 << 20
	maxDocuments = 4096
)

// document is one YAML document of a file.
type document struct {
	start int    // offset in the file
	data  []byte // as it stands there
	json  []byte
}

// split takes a file apart at the lines that separate YAML documents. Such a line, in the first column, separates wherever it
// stands: no scalar may hold it.
func split(file []byte) ([]document, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("file is larger than %d bytes", maxFile)
	}
	var out []document
	start, offset := 0, 0
	for line := range bytes.Lines(file) {
		if isMarker(line, "---") && offset > start {
			out = append(out, document{start: start, data: file[start:offset]})
			start = offset
		}
		offset += len(line)
		if isMarker(line, "...") {
			out = append(out, document{start: start, data: file[start:offset]})
			start = offset
		}
	}
	out = append(out, document{start: start, data: file[start:]})
	var content []document
	for _, d := range out {
		if hasContent(d.data) {
			content = append(content, d)
		}
	}
	if len(content) > maxDocuments {
		return nil, fmt.Errorf("more than %d documents", maxDocuments)
	}
	return content, nil
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(bytes.TrimRight(rest, "\r\n")) == 0 || rest[0] == ' ' || rest[0] == '\t')
}

// hasContent tells whether there is more than comments and the marker.
func hasContent(data []byte) bool {
	for line := range bytes.Lines(data) {
		if isMarker(line, "---") {
			line = line[len("---"):]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !isMarker(line, "...") {
			return true
		}
	}
	return false
}

// read fills in the JSON, which is what the document says.
func (d *document) read() error {
	if len(d.data) > maxDocument {
		return fmt.Errorf("is larger than %d bytes", maxDocument)
	}
	var err error
	if d.json, err = yaml.YAMLToJSONStrict(d.data); err != nil {
		// The parser quotes the mapping that it means, which may be a Secret's.
		first, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  "), " in:\n")
		return errors.New(clip(first))
	}
	return nil
}

// decode reads JSON strictly: unknown, repeated and differently spelt members are errors.
func decode[T any](raw []byte) (*T, error) {
	var out T
	strict, err := kjson.UnmarshalStrict(raw, &out)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, errors.Join(strict...)
	}
	return &out, nil
}
