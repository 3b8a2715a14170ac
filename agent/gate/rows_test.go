package gate

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cloister-cc/cloister/agent/api"
)

// Every method of every service has one row, and every row is a method with that request message: an RPC that is added
// without being judged fails here, and at run time is refused.
func TestRowsAreTheServices(t *testing.T) {
	want := map[string]string{}
	for _, f := range []protoreflect.FileDescriptor{api.File_agent_proto, api.File_health_proto, api.File_cloister_proto} {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				want[string(s.FullName())+"/"+string(m.Name())] = string(m.Input().Name())
			}
		}
	}
	for _, r := range Rows {
		input, ok := want[r.Method]
		if !ok {
			t.Errorf("row %s: no service has this method, or it has two rows", r.Method)
			continue
		}
		if r.Message != input {
			t.Errorf("row %s: got message %s, want %s", r.Method, r.Message, input)
		}
		if (r.Way == Decided) != (len(r.Points) > 0) {
			t.Errorf("row %s: way %v with %d points", r.Method, r.Way, len(r.Points))
		}
		if (r.Way == Refused) != (r.Why != "") {
			t.Errorf("row %s: a refused method says why, and only that", r.Method)
		}
		delete(want, r.Method)
	}
	for m := range want {
		t.Errorf("method %s has no row", m)
	}
}

// What is admitted before a policy is bound, and nothing else (docs/architecture.md).
func TestUnboundAdmitsFour(t *testing.T) {
	g := New(Options{})
	open := map[string]bool{
		"grpc.Health/Check": true, "grpc.Health/Version": true,
		"grpc.AgentService/GetGuestDetails": true, "grpc.AgentService/SetPolicy": true,
	}
	for _, r := range Rows {
		if _, err := g.Admit(r.Method); (err == nil) != open[r.Method] {
			t.Errorf("%s before a policy: got %v, want admitted %v", r.Method, err, open[r.Method])
		}
	}
}
