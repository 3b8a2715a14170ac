package task

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

// fault is one line with the class that containerd's clients branch on.
type fault struct {
	class error
	text  string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.class }

func fail(class error, format string, args ...any) error {
	return &fault{class, fmt.Sprintf(format, args...)}
}

func notFound(name sandbox.Process) error {
	return fail(errdefs.ErrNotFound, "no %s", describe(name))
}

func describe(name sandbox.Process) string {
	if name.Exec != "" {
		return fmt.Sprintf("process %.128q of container %.128q", name.Exec, name.Container)
	}
	return fmt.Sprintf("container %.128q", name.Container)
}
