package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FuzzCut: whatever a guest says becomes one bounded, printable line.
func FuzzCut(f *testing.F) {
	for _, s := range []string{
		"", "container is not running", "one\ntwo", "\x1b[31mred\x1b[0m", "\xff\xfe", "\u202egnp", strings.Repeat("é", maxMessage), "tab\tnul\x00del\x7f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cut(s)
		if len(got) > maxMessage || !utf8.ValidString(got) {
			t.Errorf("got %d bytes, valid %t, want at most %d", len(got), utf8.ValidString(got), maxMessage)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("got %q with something unprintable at %d", got, i)
		}
	})
}

func TestAnswer(t *testing.T) {
	p := &Pod{}
	for _, tc := range []struct {
		name string
		err  error
		is   func(error) bool
		text string
	}{
		{"not-found", status.Error(codes.NotFound, "process is not known\nmore"), errdefs.IsNotFound, "do: process is not known"},
		{"wrong-moment", status.Error(codes.FailedPrecondition, "not running"), errdefs.IsFailedPrecondition, "do: not running"},
		{"wrapped", fmt.Errorf("outer: %w", status.Error(codes.InvalidArgument, "bad")), errdefs.IsInvalidArgument, ""},
		{"unknown", status.Error(codes.Unknown, "strange"), func(err error) bool { return err != nil }, "do: strange"},
		{"not-a-status", errors.New("disk full"), func(err error) bool { return err != nil }, "do: disk full"},
		{"deadline", status.Error(codes.DeadlineExceeded, "late"), func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, "do: late"},
		{"nil", nil, func(err error) bool { return err == nil }, ""},
	} {
		got := p.answer("do", tc.err)
		if !tc.is(got) || tc.text != "" && got.Error() != tc.text {
			t.Errorf("%s: got %v, want %q", tc.name, got, tc.text)
		}
	}
}

// TestUnsure: an answer of the agent's own is sure; silence is not.
func TestUnsure(t *testing.T) {
	p := &Pod{}
	for code, want := range map[codes.Code]bool{
		codes.InvalidArgument: false, codes.FailedPrecondition: false, codes.Internal: false, codes.PermissionDenied: false, codes.NotFound: false,
		codes.DeadlineExceeded: true, codes.Canceled: true, codes.Unavailable: true, codes.Unknown: true,
	} {
		if got := unsure(p.answer("do", status.Error(code, "x"))); got != want {
			t.Errorf("%v: got %t, want %t", code, got, want)
		}
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, errors.New("broken pipe")} {
		if !unsure(err) {
			t.Errorf("%v: got sure, want unsure", err)
		}
	}
}
