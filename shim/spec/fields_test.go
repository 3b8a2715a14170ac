package spec

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
)

func load(t *testing.T, name string) *specs.Spec {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// input is a create of the container that kubelet makes, with its files copied.
func input(t *testing.T, name string) Input {
	t.Helper()
	s := load(t, name)
	in := Input{Spec: s, SandboxID: "pod", ContainerID: "one", Copies: map[string]string{}}
	copies, err := Copied(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range copies {
		in.Copies[m.Destination] = "/run/kata-containers/shared/containers/one-0011223344556677-" + strings.ReplaceAll(m.Destination, "/", "_")
	}
	return in
}

func TestFieldsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range []any{specs.Spec{}, specs.Process{}, specs.User{}, specs.Root{}, specs.Mount{}, specs.Linux{}, specs.LinuxResources{}, specs.LinuxMemory{}, specs.LinuxCPU{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(i).Name
			seen[name] = true
			if fields[name] == "" {
				t.Errorf("field %s has no entry", name)
			}
		}
	}
	for name := range fields {
		if !seen[name] {
			t.Errorf("entry %s is of no field", name)
		}
	}
}

// TestFieldsFate sets each field to something that the base does not have and looks at what became of it.
func TestFieldsFate(t *testing.T) {
	changes := map[string]any{
		"Spec.Hooks":                    &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/x"}}},
		"Process.OOMScoreAdj":           ptr(7),
		"Linux.Sysctl":                  map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"},
		"Linux.Namespaces":              []specs.LinuxNamespace{{Type: "pid", Path: ""}, {Type: "ipc", Path: "/proc/1/ns/ipc"}, {Type: "network"}},
		"Linux.Seccomp":                 &specs.LinuxSeccomp{DefaultAction: specs.ActAllow},
		"LinuxResources.Pids":           &specs.LinuxPids{Limit: ptr(int64(9))},
		"LinuxMemory.Swap":              ptr(int64(1) << 30),
		"Mount.Destination":             "/elsewhere",
		"Mount.Type":                    "bind",
		"Mount.Source":                  "/var/lib/kubelet/pods/0f6a3c9e-5c1d-4b8e-9d1a-2b7c4e5f6a70/volumes/kubernetes.io~empty-dir/other",
		"LinuxResources.HugepageLimits": []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2 << 20}},
	}
	base, baseNotes := create(t, input(t, "kubelet-container.json"))
	for name, fate := range fields {
		if fate == parts || name == "Mount.Type" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			in := input(t, "kubelet-container.json")
			field := target(in.Spec, name)
			if v, ok := changes[name]; ok {
				field.Set(reflect.ValueOf(v))
			} else {
				fill(t, field)
			}
			got, notes, err := Create(in)
			if fate == refused {
				var re *RefusedError
				if !errors.As(err, &re) {
					t.Errorf("got %v, want a refusal", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if same := proto.Equal(got, base); same != (fate != sent) {
				t.Errorf("the request is the same: %t; want it %s", same, fate)
			}
			if more := len(notes) > len(baseNotes); more != (fate == noted) && name != "LinuxResources.Unified" {
				t.Errorf("got notes %v, want one of it: %t", notes, fate == noted)
			}
			if _, err := container.Parse(got.OCI); err != nil && name != "Mount.Options" {
				t.Errorf("the agent does not take the form: %v", err)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func create(t *testing.T, in Input) (*api.CreateContainerRequest, []Note) {
	t.Helper()
	got, notes, err := Create(in)
	if err != nil {
		t.Fatal(err)
	}
	return got, notes
}

// target is the field of a specification by its name in the table.
func target(s *specs.Spec, name string) reflect.Value {
	kind, field, _ := strings.Cut(name, ".")
	at := map[string]any{
		"Spec": s, "Process": s.Process, "User": &s.Process.User, "Root": s.Root, "Linux": s.Linux, "LinuxResources": s.Linux.Resources,
		"LinuxMemory": s.Linux.Resources.Memory, "LinuxCPU": s.Linux.Resources.CPU,
		"Mount": &s.Mounts[slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/cache" })],
	}[kind]
	return reflect.ValueOf(at).Elem().FieldByName(field)
}

// fill sets a value to another one than it has.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("/other")
		if strings.Contains(v.String(), "=") {
			v.SetString("OTHER=1")
		}
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(5)
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		v.SetUint(5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if k := v.Elem().Kind(); k != reflect.Struct {
			fill(t, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		e := v.Index(0)
		switch e.Interface().(type) {
		case string:
			e.SetString("OTHER=1")
		case specs.POSIXRlimit:
			e.Set(reflect.ValueOf(specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Hard: 5, Soft: 5}))
		case uint32:
			e.SetUint(5)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("other"), reflect.Zero(v.Type().Elem()))
	default:
		t.Fatalf("no other value for %s", v.Type())
	}
}
