package boot

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAsRefusal(t *testing.T) {
	denied := status.Error(codes.PermissionDenied,
		"ExecProcessRequest is blocked by policy: exec_in_container: invalid command: args, container web [decision 7f3a]\npolicyDecision<eyJ9>policyDecision")
	r, ok := AsRefusal(errors.Join(errors.New("other"), errWrap{denied}))
	if !ok {
		t.Fatal("got no refusal")
	}
	want := Refusal{
		Request: "ExecProcessRequest", Point: "exec_in_container", Decision: "7f3a", Next: nextStep(Refusal{Point: "exec_in_container"}),
		Sentence: "ExecProcessRequest is blocked by policy: exec_in_container: invalid command: args, container web [decision 7f3a]",
	}
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	for name, err := range map[string]error{
		"nil": nil, "plain": errors.New("x"), "other-code": status.Error(codes.Internal, "A is blocked by policy: b"),
		"empty-join": errors.Join(errors.New("a"), errors.New("b")),
	} {
		if _, ok := AsRefusal(err); ok {
			t.Errorf("%s: got a refusal", name)
		}
	}
}

type errWrap struct{ error }

func (e errWrap) Unwrap() error { return e.error }
