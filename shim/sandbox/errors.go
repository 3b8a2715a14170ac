package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/shim/boot"
)

// The ends of a pod.
var (
	errStopped = errors.New("the pod was stopped")
	errHung    = errors.New("the agent does not answer")
	errCut     = errors.New("the connection to the agent ended")
)

// maxMessage is how much of an agent's message is passed on, in bytes: it is the guest's word.
const maxMessage = 1024

// classes are containerd's errors for the agent's codes.
var classes = map[codes.Code]error{
	codes.InvalidArgument:    errdefs.ErrInvalidArgument,
	codes.NotFound:           errdefs.ErrNotFound,
	codes.AlreadyExists:      errdefs.ErrAlreadyExists,
	codes.FailedPrecondition: errdefs.ErrFailedPrecondition,
	codes.PermissionDenied:   errdefs.ErrPermissionDenied,
	codes.Unimplemented:      errdefs.ErrNotImplemented,
	codes.ResourceExhausted:  errdefs.ErrResourceExhausted,
	codes.Unavailable:        errdefs.ErrUnavailable,
	codes.DeadlineExceeded:   context.DeadlineExceeded,
	codes.Canceled:           context.Canceled,
	codes.Internal:           errdefs.ErrInternal,
}

// classError is one line with the class that containerd's clients branch on.
type classError struct {
	text  string
	class error
}

func (e *classError) Error() string { return e.text }
func (e *classError) Unwrap() error { return e.class }

func fault(class error, format string, args ...any) error {
	return &classError{oneLine(fmt.Sprintf(format, args...)), class}
}

// lineError is an error whose text is one line: it ends up in a pod's events.
type lineError struct{ error }

func (e lineError) Error() string { return oneLine(e.error.Error()) }
func (e lineError) Unwrap() error { return e.error }

func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// answer makes the agent's error what containerd and the people behind it are told: one line, never the policy's own document. Other errors pass.
func (p *Pod) answer(what string, err error) error {
	if err == nil {
		return nil
	}
	if r, ok := boot.AsRefusal(err); ok {
		if p.config.Metrics != nil {
			p.config.Metrics.Refusal(r.Point)
		}
		return fault(errdefs.ErrPermissionDenied, "%s: %s", cut(r.Sentence), r.Next)
	}
	if st, ok := status.FromError(err); ok {
		if class := classes[st.Code()]; class != nil {
			return fault(class, "%s: %s", what, cut(st.Message()))
		}
		return fmt.Errorf("%s: %s", what, cut(st.Message()))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// cut is the first line of a message, bounded and printable.
func cut(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
}

// dead is how an agent says that a process has ended already (agent API contract, section 1.4).
const dead = "ESRCH: No such process"

// gone tells whether the agent says that a process or container is not there any more: what a signal or a removal wants.
func gone(err error) bool {
	return errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), dead)
}

// unsure tells whether the agent may have done what it was asked all the same: it gave no answer of its own.
func unsure(err error) bool {
	var own *classError
	return !errors.As(err, &own) || errdefs.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
