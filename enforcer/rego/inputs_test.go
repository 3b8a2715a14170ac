package rego

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/point"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sample fills every field of an input with something, so that no field can be forgotten in value.
func sample(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			sample(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.String:
		v.SetString(name + " <&> \u00e9")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Uint32:
		v.SetUint(uint64(len(name)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		sample(v.Elem(), name)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"a":[1]}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		sample(v.Index(0), name+"0")
		sample(v.Index(1), name+"1")
	}
}

// TestInputsGolden pins the document a policy sees for each point, and that it is what encoding/json would write.
func TestInputsGolden(t *testing.T) {
	for _, row := range point.Rows() {
		t.Run(string(row.Point), func(t *testing.T) {
			if row.Input.Point() != row.Point {
				t.Fatalf("input %T says %s", row.Input, row.Input.Point())
			}
			full := reflect.New(reflect.TypeOf(row.Input)).Elem()
			sample(full, "")
			in := full.Interface().(point.Input)
			doc, err := ast.JSON(InputValue(in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(doc, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "inputs", string(row.Point)+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("(-golden +got)\n%s", diff)
			}
			decoded, err := point.DecodeInput(row.Point, want)
			if err != nil {
				t.Fatal(err)
			}
			if InputValue(decoded).Compare(InputValue(in)) != 0 {
				t.Errorf("got %v after decoding, want %v", InputValue(decoded), InputValue(in))
			}
			viaJSON, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			parsed := ast.MustParseTerm(string(viaJSON))
			if parsed.Value.Compare(InputValue(in)) != 0 {
				t.Errorf("encoding/json sees another document: %s", viaJSON)
			}
		})
	}
}

// TestEmptyInputsHaveNoNull: a policy that counts a list must not find null because the request left it out.
func TestEmptyInputsHaveNoNull(t *testing.T) {
	for _, row := range point.Rows() {
		object := InputValue(row.Input).(ast.Object)
		object.Foreach(func(k, v *ast.Term) {
			if isNull(v) && k.Value.String() != `"header_svn"` && k.Value.String() != `"registryChanges"` {
				t.Errorf("%s: %s is null", row.Point, k)
			}
		})
	}
}

func TestDecodeInputRefuses(t *testing.T) {
	for name, c := range map[string]struct{ name, text string }{
		"unknown-point": {"mount_everything", "{}"},
		"unknown-field": {"mount_device", `{"targets": "/a"}`},
		"wrong-type":    {"mount_device", `{"target": 1}`},
		"two-documents": {"mount_device", `{} {}`},
		"no-document":   {"mount_device", ``},
	} {
		if in, err := point.DecodeInput(point.Point(c.name), []byte(c.text)); err == nil || in != nil {
			t.Errorf("%s: got %v, %v", name, in, err)
		}
	}
}

// TestFrameworkHasEveryPoint: each rule of the table is a rule of the framework, so that no policy is told of one that is not there.
func TestFrameworkHasEveryPoint(t *testing.T) {
	modules, err := frameworkModules()
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, m := range modules {
		for _, r := range m.Rules {
			rules[r.Head.Name.String()] = true
		}
	}
	for _, row := range point.Rows() {
		if !rules[string(row.Point)] {
			t.Errorf("the framework has no rule %s", row.Point)
		}
	}
}

// TestBuiltinsExist: a name in the list that the engine does not know is a typing error that takes a function away.
func TestBuiltinsExist(t *testing.T) {
	known := map[string]bool{}
	for _, b := range capabilities().Builtins {
		if b.Nondeterministic {
			t.Errorf("%s does not answer the same each time", b.Name)
		}
		known[b.Name] = true
	}
	for _, name := range pureBuiltins {
		if !known[name] {
			t.Errorf("the engine has no %s", name)
		}
	}
}

// TestPanicIsRefusal: whatever the engine trips over, the answer is an error, never a crash of the agent.
func TestPanicIsRefusal(t *testing.T) {
	j, err := New(t.Context(), "package policy\napi_version := \"0.12.0\"\nmount_device := {\"allowed\": true}", Options{EvalTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	q := j.state.program.queries[point.MountDevice]
	q.compiler = nil
	j.state.program.queries[point.MountDevice] = q
	d, err := j.Decide(t.Context(), point.RowByName(point.MountDevice), point.MountDeviceInput{})
	if err == nil || d != nil || !strings.Contains(err.Error(), "engine panic") {
		t.Errorf("got %v, %v", d, err)
	}
}
