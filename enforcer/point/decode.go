package point

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// DecodeInput reads the input of a point from JSON, with the Rego names as keys. It is for tools and recorded cases: the
// agent builds its inputs from typed requests. Unknown keys are an error, so a misspelt field is not silently empty.
func DecodeInput(point Point, data []byte) (Input, error) {
	row, ok := pointRows[point]
	if !ok {
		return nil, fmt.Errorf("decode input: enforcement point rule %s does not exist", Quote(string(point)))
	}
	target := reflect.New(reflect.TypeOf(row.Input))
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(target.Interface()); err != nil {
		return nil, fmt.Errorf("decode input of %s: %w", point, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode input of %s: data after the input", point)
	}
	return target.Elem().Interface().(Input), nil
}
