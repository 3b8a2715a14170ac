package point_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// eachString visits every string an input can hold.
func eachString(v reflect.Value, visit func(reflect.Value)) {
	switch v.Kind() {
	case reflect.String:
		visit(v)
	case reflect.Struct:
		for i := range v.NumField() {
			eachString(v.Field(i), visit)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		eachString(v.Index(0), visit)
	}
}

// TestEveryStringIsChecked: a field that is added to an input and not to the check would let through what the others do not.
func TestEveryStringIsChecked(t *testing.T) {
	for _, row := range point.Rows() {
		t.Run(string(row.Point), func(t *testing.T) {
			in := reflect.New(reflect.TypeOf(row.Input)).Elem()
			n := 0
			eachString(in, func(reflect.Value) { n++ })
			if err := point.Check(in.Interface().(point.Input)); err != nil {
				t.Fatalf("empty strings: %v", err)
			}
			for bad := range n {
				at := 0
				eachString(in, func(s reflect.Value) {
					s.SetString("x")
					if at == bad {
						s.SetString("a\xffb")
					}
					at++
				})
				if err := point.Check(in.Interface().(point.Input)); !errors.Is(err, point.ErrInput) {
					t.Errorf("string %d of %d: got %v", bad, n, err)
				}
			}
		})
	}
}

func TestInputsAreBounded(t *testing.T) {
	for name, in := range map[string]point.Input{
		"bytes":   point.ExecExternalInput{ArgList: []string{strings.Repeat("a", point.MaxInputBytes+1)}},
		"strings": point.ExecExternalInput{EnvList: make([]string, point.MaxInputStrings+1)},
		"mounts":  point.CreateContainerInput{Mounts: make([]point.Mount, point.MaxInputStrings)},
	} {
		if err := point.Check(in); !errors.Is(err, point.ErrInput) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
