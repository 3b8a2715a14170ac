package staging

import (
	"errors"
	"fmt"
)

// What callers branch on.
var (
	// ErrInvalid marks a request refused for its form.
	ErrInvalid = errors.New("invalid copy file request")
	// ErrLimit marks a request that would exceed the bytes or entries of the area.
	ErrLimit = errors.New("staging area is full")
	// ErrIncomplete says that an entry still misses bytes.
	ErrIncomplete = errors.New("entry is incomplete")
	// ErrNotFound says that nothing was copied under a name.
	ErrNotFound = errors.New("no such entry")
)

// invalidError is a refusal for form; errors.Is(err, ErrInvalid) holds.
type invalidError struct{ text string }

func (e *invalidError) Error() string        { return e.text }
func (e *invalidError) Is(target error) bool { return target == ErrInvalid }

func invalid(format string, args ...any) error {
	return &invalidError{text: fmt.Sprintf(format, args...)}
}

// quote shows a string of the host, cut so that an answer stays an answer.
func quote(s string) string {
	const longest = 128
	if len(s) > longest {
		s = s[:longest]
	}
	return fmt.Sprintf("%q", s)
}
